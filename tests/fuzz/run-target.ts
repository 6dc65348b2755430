/** Runs a target in a thread of its own, and ends it where a case takes too long or too much memory. */
import { Worker } from 'node:worker_threads';
import { CASE, type WorkerReport, type WorkerTask } from './worker-task.ts';

/** Processor time that one case may take, in ms: that of the clock would blame a busy machine on the case. */
const MAX_CASE_CPU_MS = 1_000;
/** Time of the clock in ms after which a case waits for something that will never come. */
const MAX_CASE_MS = 15_000;
const LOOK_MS = 50;

export interface Outcome {
  /** Undefined: no case failed. */
  failure?: string;
  /** How many were given. */
  cases: number;
  seconds: number;
  /** Most bytes of memory that the process grew by. */
  grownBytes: number;
  /** Longest time in ms that a case was seen under way, at steps of LOOK_MS. */
  longestMs: number;
}

/**
 * Gives a target so many cases of a seed. What goes wrong, in a case or in setting the target up, is the outcome's failure.
 * @param module address of a module that exports `make`
 * @param memoryMb memory that the cases may take, in MiB
 */
export async function runTarget(module: string, memoryMb: number, runs: number, seed: number): Promise<Outcome> {
  const shared = new SharedArrayBuffer(4);
  const task: WorkerTask = { module, runs, seed, shared };
  const progress = new Int32Array(shared);
  const started = performance.now();
  const before = process.memoryUsage.rss();
  const worker = startWorker(task, memoryMb);

  let killed: string | undefined;
  let longestMs = 0;
  let grownBytes = 0;
  let seen = { count: 0, at: 0, cpu: process.cpuUsage() };
  const look = setInterval(() => {
    const count = Atomics.load(progress, CASE);
    const now = performance.now();
    grownBytes = Math.max(grownBytes, process.memoryUsage.rss() - before);
    if (count === 0 || count !== seen.count) {
      seen = { count, at: now, cpu: process.cpuUsage() };
      return;
    }
    const { user, system } = process.cpuUsage(seen.cpu);
    longestMs = Math.max(longestMs, now - seen.at);
    if ((user + system) / 1000 > MAX_CASE_CPU_MS)
      killed = `Case ${count} took more than ${MAX_CASE_CPU_MS} ms of the processor.`;
    else if (now - seen.at > MAX_CASE_MS) killed = `Case ${count} was not over after ${MAX_CASE_MS} ms.`;
    if (killed) void worker.terminate();
  }, LOOK_MS);

  const report = await reportOf(worker).finally(() => clearInterval(look));
  const last = Atomics.load(progress, CASE);
  let failure = killed;
  if (!failure && 'error' in report) failure = `Case ${last}: ${report.error}`;
  if (!failure && 'ok' in report && !report.ok) failure = report.text;
  const bound = memoryMb * 2 ** 20 + THREAD_BYTES;
  if (!failure && grownBytes > bound) failure = `The process grew by ${grownBytes} bytes, where ${bound} are allowed.`;
  if (failure && last > 0) failure += `\n${await show({ ...task, show: last })}`;
  return {
    ...{ longestMs, grownBytes },
    ...(failure !== undefined && { failure }),
    cases: 'ok' in report && report.ok ? report.runs : last,
    seconds: (performance.now() - started) / 1000,
  };
}

/** What a thread takes by itself: the modules, the compiler, fast-check. */
const THREAD_BYTES = 384 * 2 ** 20;

/** A thread knows no TypeScript by itself: it takes tsx first, and then its file. */
const BOOT = `import('tsx/esm/api').then(({ register }) => (register(), import(${JSON.stringify(new URL('./worker.ts', import.meta.url).href)})))`;

function startWorker(task: WorkerTask, memoryMb: number): Worker {
  return new Worker(BOOT, { eval: true, workerData: task, resourceLimits: { maxOldGenerationSizeMb: memoryMb } });
}

/** What the thread says at its end, or the error that ended it. */
async function reportOf(worker: Worker): Promise<WorkerReport | { error: string }> {
  let report: WorkerReport | { error: string } | undefined;
  worker.on('message', (message: WorkerReport) => {
    report = message;
  });
  worker.on('error', (error: Error) => {
    report ??= { error: error.stack ?? String(error) };
  });
  await new Promise((resolve) => worker.once('exit', resolve));
  return report ?? { error: 'The thread ended without a word.' };
}

/** The value of a case, made again in a thread of its own. */
async function show(task: WorkerTask): Promise<string> {
  const report = await reportOf(startWorker(task, 1024));
  return 'shown' in report ? report.shown : 'The case could not be made again.';
}
