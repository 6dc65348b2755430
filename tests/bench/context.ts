/** `npm run bench -- context`: decode speed by position and prefill time by length, through the page's own handle. */
import { parseArgs } from 'node:util';
import { DEFAULT_MODEL } from '../browser/support/models.ts';
import { openModel } from '../support/node-model.ts';
import { BenchError } from './bench-error.ts';
import { openBrowser } from './browser.ts';
import { type ContextEngine, type ContextResult, contextPlots, renderContext } from './context-report.ts';
import { loadAverage, machine } from './machine.ts';
import { modelFile } from './model-file.ts';
import { wholeAboveZero } from './options.ts';
import type { BenchPage } from './page.ts';
import { readPrompts } from './prompt.ts';
import { record, recordPlot, writeResults } from './results.ts';
import { startOurServer } from './servers.ts';

const LENGTHS = '128,256,512,1024,2048,4096';
const POSITIONS = '100,1000,2000,4000';
/** Prompt of the warm-up, and text that longer prompts repeat. */
const BASE_TOKENS = 128;

const USAGE = `Usage: npm run bench -- context [options]

  --lengths LIST     tokens of the prompts (default ${LENGTHS})
  --positions LIST   where to decode (default ${POSITIONS})
  --decode N         tokens decoded at each (default 16)
  --backend B        wasm, webgpu or both (default wasm)
  --threads N        of WASM (default 1)
  --model NAME       a file in models/ without .gguf (default ${DEFAULT_MODEL})
  --rounds N         (default 3)
  --quick            one round, lengths 128 and 512, positions 100 and 500
  --gpu              WebGPU on the machine's GPU instead of the software adapter
  --record           also write tables and plots into docs/
  --help             print this text`;

interface Options {
  model: string;
  lengths: number[];
  positions: number[];
  decode: number;
  backends: ('wasm' | 'webgpu')[];
  threads: number;
  rounds: number;
  gpu: boolean;
  record: boolean;
}

export async function main(args: string[]): Promise<void> {
  const options = parseContextOptions(args);
  if (options === 'help') {
    console.log(USAGE);
    return;
  }
  const { directory, path } = modelFile(options.model);
  const [base] = await readPrompts(path, [BASE_TOKENS]);
  const { hyper } = await openModel(path);
  const context = Math.max(...options.lengths, ...options.positions) + options.decode + 1;
  if (context > hyper.context)
    throw new BenchError(`${options.model} has a context of ${hyper.context} tokens, not ${context}.`);
  const ids = Array.from({ length: context }, (_, i) => base!.ids[i % base!.ids.length]!);

  const loadBefore = loadAverage();
  const server = await startOurServer(directory);
  const engines: ContextEngine[] = [];
  try {
    for (const backend of options.backends) engines.push(await measure(server.url, backend, ids, context, options));
  } finally {
    await server.close();
  }
  const result: ContextResult = {
    ...{ benchmark: 'context', date: new Date().toISOString(), machine: machine(), loadBefore },
    ...{ model: options.model, shape: hyper, rounds: options.rounds, decodeTokens: options.decode, engines },
  };
  console.log(`\n${renderContext(result)}\nAll figures: ${writeResults('context', result)}`);
  if (options.record) {
    const { decode, prefill } = contextPlots(result);
    const plots = [
      decode && recordPlot('context-decode', decode, 'Decode speed by position'),
      prefill && recordPlot('context-prefill', prefill, 'Prefill time by length'),
    ];
    const shown = plots.filter((plot) => plot !== undefined);
    say(`Written into ${record('context', renderContext(result, shown))} and docs/plots/.`);
  }
  if (engines.some(({ failure }) => failure)) process.exitCode = 1;
}

const say = (line: string): void => console.error(line);

/** Reads the command line; gives `help` where the usage was asked for. Throws BenchError. */
export function parseContextOptions(args: string[]): Options | 'help' {
  const given = readFlags(args);
  if (given.help) return 'help';
  const { backend } = given;
  if (backend !== 'wasm' && backend !== 'webgpu' && backend !== 'both')
    throw wrong(`--backend must be wasm, webgpu or both, not "${backend}".`);
  return {
    model: given.model.replace(/\.gguf$/, ''),
    lengths: ascending('--lengths', given.lengths ?? (given.quick ? '128,512' : LENGTHS)),
    positions: ascending('--positions', given.positions ?? (given.quick ? '100,500' : POSITIONS)),
    decode: positive('--decode', given.decode),
    backends: backend === 'both' ? ['wasm', 'webgpu'] : [backend],
    threads: positive('--threads', given.threads),
    rounds: positive('--rounds', given.rounds ?? (given.quick ? '1' : '3')),
    gpu: given.gpu,
    record: given.record,
  };
}

function readFlags(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        lengths: { type: 'string' },
        positions: { type: 'string' },
        decode: { type: 'string', default: '16' },
        backend: { type: 'string', default: 'wasm' },
        threads: { type: 'string', default: '1' },
        model: { type: 'string', default: DEFAULT_MODEL },
        rounds: { type: 'string' },
        quick: { type: 'boolean', default: false },
        gpu: { type: 'boolean', default: false },
        record: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error));
  }
}

const wrong = (problem: string) => new BenchError(`${problem}\n\n${USAGE}`);

const positive = (flag: string, text: string) => wholeAboveZero(flag, text, wrong);

const ascending = (flag: string, text: string): number[] =>
  text
    .split(',')
    .map((one) => positive(flag, one))
    .sort((a, b) => a - b);

async function measure(
  url: string,
  backend: 'wasm' | 'webgpu',
  ids: number[],
  context: number,
  options: Options,
): Promise<ContextEngine> {
  const { lengths, positions, decode, threads, rounds } = options;
  const engine: ContextEngine = {
    ...{ backend, threads, description: '' },
    prefill: lengths.map((length) => ({ length, ms: [] })),
    decode: positions.map((position) => ({ position, msPerToken: [] })),
  };
  const browser = await openBrowser('about:blank', { gpu: options.gpu });
  const { page } = browser;
  try {
    await page.goto(`${url}/host.html`);
    await page.evaluate(() => window.edgevisor.ready);
    const info = await page.evaluate((asked) => window.edgevisor.load(asked), {
      model: options.model,
      backend,
      threads,
      context,
    });
    if (info.backend !== backend || info.context < context)
      throw new Error(`Asked for ${backend} and a context of ${context}, got ${JSON.stringify(info)}.`);
    const status = await page.evaluate(() => window.edgevisor.status());
    engine.description = `${browser.version}, ${status.devices[0]?.backend} with ${status.devices[0]?.threads} threads, context ${context}`;
    await answer(page, ids.slice(0, BASE_TOKENS), decode, false);
    for (let round = 0; round < rounds; round++) {
      for (const one of engine.prefill) {
        say(`${backend}, round ${round + 1} of ${rounds}: prompt of ${one.length} …`);
        one.ms.push((await answer(page, ids.slice(0, one.length), 0, false)).prefillMs);
      }
      await decodeBackwards(page, ids, decode, engine.decode);
    }
  } catch (error) {
    engine.failure = error instanceof Error ? error.message : String(error);
    // A table of some rounds would not say so.
    engine.prefill = [];
    engine.decode = [];
  } finally {
    await browser.close();
  }
  return engine;
}

/** From the last position to the first: what an answer writes over, no later one needs. */
async function decodeBackwards(
  page: BenchPage,
  ids: number[],
  tokens: number,
  places: ContextEngine['decode'],
): Promise<void> {
  const last = places.at(-1)?.position ?? 0;
  await answer(page, ids.slice(0, last), 0, true);
  for (const { position, msPerToken } of places.toReversed()) {
    const timings = await answer(page, ids.slice(0, position), tokens, true);
    if (timings.cachedTokens !== position - 1)
      throw new Error(`Position ${position} was to be decoded from the cache: ${JSON.stringify(timings)}`);
    msPerToken.push(timings.decodeMs / timings.decodeTokens);
  }
}

async function answer(page: BenchPage, ids: number[], decode: number, reuse: boolean) {
  const { timings } = await page.evaluate((options) => window.edgevisor.generate(options), {
    ...{ ids, maxTokens: decode + 1, temperature: 0, ignoreEos: true, reuse },
  });
  if (timings.promptTokens !== ids.length || timings.decodeTokens !== decode)
    throw new Error(`Not the work that was asked for: ${JSON.stringify(timings)}`);
  return timings;
}
