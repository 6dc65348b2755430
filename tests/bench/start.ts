/** `npm run bench -- start`: from opening the page to the first text when nothing is there yet, against the download alone. */
import { statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { BackendChoice } from '../../web/api.ts';
import { DEFAULT_MODEL } from '../browser/support/models.ts';
import { BenchError } from './bench-error.ts';
import { openBrowser } from './browser.ts';
import { loadAverage, machine } from './machine.ts';
import { modelFile } from './model-file.ts';
import { wholeAboveZero } from './options.ts';
import { record, writeResults } from './results.ts';
import { type BenchServer, startOurServer } from './servers.ts';
import { slowLink } from './slow-link.ts';
import { renderStart, type StartResult, type StartRow } from './start-report.ts';

const RATES = '10,25,50';

const USAGE = `Usage: npm run bench -- start [options]

  --rates LIST       MB/s at which the server's bytes come (default ${RATES})
  --backend B        auto, wasm or webgpu (default auto, as the page has it)
  --rounds N         (default 3)
  --quick            one round
  --model NAME       a file in models/ without .gguf (default ${DEFAULT_MODEL})
  --record           also write the table into docs/benchmarks.md
  --help             print this text`;

interface Options {
  rates: number[];
  backend: BackendChoice;
  rounds: number;
  model: string;
  record: boolean;
}

export async function main(args: string[]): Promise<void> {
  const options = parseStartOptions(args);
  if (options === 'help') {
    console.log(USAGE);
    return;
  }
  const { directory, path } = modelFile(options.model);
  const loadBefore = loadAverage();
  const rows: StartRow[] = options.rates.map((rate) => ({ rate, downloadMs: [], openToTextMs: [] }));
  const server = await startOurServer(directory);
  try {
    for (let round = 0; round < options.rounds; round++) {
      for (const row of rows) {
        say(`round ${round + 1} of ${options.rounds}: ${row.rate} MB/s …`);
        await measure(server, options, row);
      }
    }
  } finally {
    await server.close();
  }
  const result: StartResult = {
    ...{ benchmark: 'start', date: new Date().toISOString(), machine: machine(), loadBefore },
    ...{ model: options.model, backend: options.backend, bytes: statSync(path).size, rounds: options.rounds, rows },
  };
  console.log(`\n${renderStart(result)}\nAll figures: ${writeResults('start', result)}`);
  if (options.record) say(`Written into ${record('start', renderStart(result))}.`);
}

const say = (line: string): void => console.error(line);

/** Reads the command line; gives `help` where the usage was asked for. Throws BenchError. */
export function parseStartOptions(args: string[]): Options | 'help' {
  const wrong = (problem: string) => new BenchError(`${problem}\n\n${USAGE}`);
  const given = readFlags(args, wrong);
  if (given.help) return 'help';
  const { backend } = given;
  if (backend !== 'auto' && backend !== 'wasm' && backend !== 'webgpu')
    throw wrong(`--backend must be auto, wasm or webgpu, not "${backend}".`);
  return {
    backend,
    rates: given.rates.split(',').map((rate) => wholeAboveZero('--rates', rate, wrong)),
    rounds: wholeAboveZero('--rounds', given.rounds ?? (given.quick ? '1' : '3'), wrong),
    model: given.model.replace(/\.gguf$/, ''),
    record: given.record,
  };
}

function readFlags(args: string[], wrong: (problem: string) => BenchError) {
  try {
    return parseArgs({
      args,
      options: {
        rates: { type: 'string', default: RATES },
        backend: { type: 'string', default: 'auto' },
        rounds: { type: 'string' },
        quick: { type: 'boolean', default: false },
        model: { type: 'string', default: DEFAULT_MODEL },
        record: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error));
  }
}

/** The file alone, then the page in a browser that has never seen it, both over the same slow link. */
async function measure({ url }: BenchServer, { model, backend }: Options, row: StartRow): Promise<void> {
  const link = await slowLink(url, row.rate * 1e6);
  try {
    const browser = await openBrowser('about:blank', { gpu: false });
    try {
      const started = performance.now();
      await download(`${link.url}/models/${encodeURIComponent(`${model}.gguf`)}`);
      row.downloadMs.push(performance.now() - started);
      const opened = performance.now();
      await browser.page.goto(`${link.url}/host.html`);
      await browser.page.evaluate(
        async (asked) => {
          await window.edgevisor.ready;
          await window.edgevisor.load(asked);
          await window.edgevisor.generate({
            ...{ messages: [{ role: 'user', content: 'Hello' }], maxTokens: 1, temperature: 0, ignoreEos: true },
          });
        },
        { model, backend },
      );
      row.openToTextMs.push(performance.now() - opened);
    } finally {
      await browser.close();
    }
  } finally {
    await link.close();
  }
}

async function download(url: string): Promise<void> {
  const response = await fetch(url);
  if (!response.ok || !response.body) throw new BenchError(`${url} answered ${response.status}.`);
  for await (const _ of response.body);
}
