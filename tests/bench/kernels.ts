/** `npm run bench -- kernels`: where the time of a step goes on the WASM backend, without page, server or sampling. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ensureKernels } from '../../scripts/build.ts';
import type { HyperParameters } from '../../web/model/types.ts';
import { DEFAULT_MODEL } from '../browser/support/models.ts';
import { startViteServer } from '../browser/support/servers.ts';
import { BenchError } from './bench-error.ts';
import { openBrowser } from './browser.ts';
import type { NodeRequest } from './kernels/in-node.ts';
import type { WorkerAnswer, WorkerRequest } from './kernels/in-worker.ts';
import { type KernelsRequest, type KernelsTimes, KINDS, weightMacs } from './kernels/measure.ts';
import { describeMachine, loadAverage, machine } from './machine.ts';
import { modelFile } from './model-file.ts';
import type { BenchPage } from './page.ts';
import { writeResults } from './results.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

const USAGE = `Usage: npm run bench -- kernels [options]

  --browser       in Chromium, by Vite, instead of node
  --threads 1,2   numbers of threads; only in the browser (default 1)
  --simd S        relaxed, plain or both (default both)
  --model NAME    a file in models/ without .gguf (default ${DEFAULT_MODEL})
  --rounds N      steps of each kind (default 20)
  --batch N       positions of a prefill step (default 64, as the engine has it)
  --position N    tokens in the KV cache before a decode step (default 128)
  --help          print this text`;

interface Measured {
  threads: number;
  plain: boolean;
  hyper: HyperParameters;
  times: KernelsTimes;
}

type Variant = Pick<Measured, 'threads' | 'plain'>;
type Measure = (variant: Variant, request: KernelsRequest) => Promise<Pick<Measured, 'hyper' | 'times'>>;

export async function main(args: string[]): Promise<void> {
  const flags = readFlags(args);
  if (flags.help) {
    console.log(USAGE);
    return;
  }
  const request = { batch: flags.batch, position: flags.position, rounds: flags.rounds };
  await ensureKernels();
  const loadBefore = loadAverage();
  const measured: Measured[] = [];
  await withMeasure(flags, async (measure) => {
    for (const threads of flags.threads)
      for (const plain of flags.plains)
        measured.push({ threads, plain, ...(await measure({ threads, plain }, request)) });
  });
  console.log(
    `${flags.model}, ${flags.browser ? 'Chromium' : `node ${process.version}`}, ${flags.rounds} rounds; median and best in ms, GMAC/s at the best.`,
  );
  console.log(describeMachine(machine(), loadBefore));
  console.log(`\nDecode, one token at position ${flags.position}:\n\n${phaseTable(measured, 'decode', 1)}`);
  console.log(`\nPrefill, ${flags.batch} tokens at once:\n\n${phaseTable(measured, 'prefill', flags.batch)}`);
  const report = { benchmark: 'kernels', machine: machine(), loadBefore, ...flags, measured };
  console.log(`\nAll figures: ${writeResults('kernels', report)}`);
}

/** A row a kind of operation, three columns a variant: median and best time, and speed of the products at the best. */
function phaseTable(measured: Measured[], phase: 'decode' | 'prefill', count: number): string {
  const heads = ['operations'];
  const rows: string[][] = KINDS.map((kind) => [kind]);
  for (const { times, hyper, threads, plain } of measured) {
    const name = `${plain ? 'plain' : 'relaxed'} ${threads}`;
    heads.push(`${name}, ms`, 'best', 'GMAC/s');
    for (const [i, kind] of KINDS.entries()) {
      const { median, low } = summarize(times[phase][kind]);
      const macs = weightMacs(hyper, kind, count);
      rows[i]!.push(median.toFixed(2), low.toFixed(2), macs > 0 ? (macs / low / 1e6).toFixed(1) : '');
    }
  }
  return table(heads, rows);
}

async function withMeasure(
  { browser, model }: { browser: boolean; model: string },
  work: (measure: Measure) => Promise<void>,
): Promise<void> {
  if (!browser) {
    await work(({ plain }, request) => measureInNode({ path: modelFile(model).path, plain, ...request }));
    return;
  }
  const server = await startViteServer();
  try {
    const { page, close } = await openBrowser(`${server.url}/tests/browser/support/blank.html`, { gpu: false });
    try {
      await work((variant, request) => measureInPage(page, { url: `/models/${model}.gguf`, ...variant, ...request }));
    } finally {
      await close();
    }
  } finally {
    await server.close();
  }
}

async function measureInPage(page: BenchPage, request: WorkerRequest): Promise<Pick<Measured, 'hyper' | 'times'>> {
  const answer = await page.evaluate(
    (asked) =>
      new Promise<WorkerAnswer>((resolve, reject) => {
        const worker = new Worker('/tests/bench/kernels/in-worker.ts', { type: 'module' });
        worker.onerror = ({ message }) => reject(new Error(`The measuring Worker failed: ${message}`));
        worker.onmessage = ({ data }: MessageEvent<WorkerAnswer>) => {
          worker.terminate();
          resolve(data);
        };
        worker.postMessage(asked);
      }),
    request,
  );
  if ('error' in answer) throw new Error(`Measuring in Chromium failed: ${answer.error}`);
  return answer;
}

function measureInNode(request: NodeRequest): Promise<Pick<Measured, 'hyper' | 'times'>> {
  const execArgv = ['--experimental-wasm-relaxed-simd', '--import', 'tsx'];
  const child = fork(fileURLToPath(new URL('./kernels/in-node.ts', import.meta.url)), {
    execArgv,
    // Typed arrays and infinities stay what they are.
    serialization: 'advanced',
  });
  return new Promise((resolve, reject) => {
    child.once('message', (measured) => resolve(measured as Pick<Measured, 'hyper' | 'times'>));
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`The measuring process ended with exit code ${code}.`)));
    child.send(request);
  });
}

function readFlags(args: string[]) {
  const values = parse(args);
  const simd = values.simd ?? 'both';
  const plains = { relaxed: [false], plain: [true], both: [false, true] }[simd];
  if (!plains) throw new BenchError(`--simd must be relaxed, plain or both, not "${simd}".\n\n${USAGE}`);
  const threads = (values.threads ?? '1').split(',').map((text) => whole('--threads', text));
  const browser = values.browser ?? false;
  if (!browser && threads.some((n) => n !== 1)) throw new BenchError('In node there is one thread: use --browser.');
  return {
    ...{ help: values.help ?? false, browser, threads, plains },
    model: values.model ?? DEFAULT_MODEL,
    rounds: whole('--rounds', values.rounds ?? '20'),
    batch: whole('--batch', values.batch ?? '64'),
    position: whole('--position', values.position ?? '128'),
  };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        browser: { type: 'boolean' },
        threads: { type: 'string' },
        simd: { type: 'string' },
        model: { type: 'string' },
        rounds: { type: 'string' },
        batch: { type: 'string' },
        position: { type: 'string' },
        help: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw new BenchError(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
  }
}

function whole(flag: string, text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1) throw new BenchError(`${flag} takes whole numbers above 0, not "${text}".`);
  return value;
}
