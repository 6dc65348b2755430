/** Runs the cases of one target, and says in shared memory which one is under way: the thread may hang in it. */

import { parentPort, workerData } from 'node:worker_threads';
import fc from 'fast-check';
import type { MakeTarget } from './target.ts';
import { CASE, type WorkerReport, type WorkerTask } from './worker-task.ts';

/** Longest value that is printed, in characters. */
const MAX_SHOWN = 2000;

const shown = (value: unknown): string => {
  const text = fc.stringify(value);
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}… (${text.length} characters)` : text;
};

async function work({ module, runs, seed, shared, show }: WorkerTask): Promise<WorkerReport> {
  const { make } = (await import(module)) as { make: MakeTarget };
  const { cases, run } = await make();
  if (show !== undefined) return { shown: shown(fc.sample(cases, { seed, numRuns: show }).at(-1)) };
  const progress = new Int32Array(shared);
  let count = 0;
  const property = fc.asyncProperty(cases, async (value) => {
    Atomics.store(progress, CASE, ++count);
    await run(value);
    Atomics.store(progress, CASE, 0);
  });
  const result = await fc.check(property, { seed, numRuns: runs, endOnFailure: false });
  Atomics.store(progress, CASE, 0);
  if (!result.failed) return { ok: true, runs: result.numRuns };
  const { errorInstance, counterexample, counterexamplePath } = result;
  const reason = errorInstance instanceof Error ? errorInstance.stack : String(errorInstance);
  return { ok: false, text: `${reason}\nCase ${counterexamplePath}: ${shown(counterexample?.[0])}` };
}

parentPort?.postMessage(await work(workerData as WorkerTask));
// What a target keeps open (a server) must not keep the thread.
process.exit(0);
