/** `npm run bench -- NAME`: the benchmarks, one a subcommand. They measure and never judge; see `docs/benchmarks.md`. */
import { RunError } from '../../scripts/run.ts';
import { BenchError } from './bench-error.ts';

interface Benchmark {
  summary: string;
  /** Loaded only when asked for: each pulls in browsers or peers of its own. */
  load(): Promise<{ main(args: string[]): Promise<void> }>;
}

const BENCHMARKS = new Map<string, Benchmark>([
  ['single', { summary: 'one device against wllama and native llama.cpp', load: () => import('./single.ts') }],
  ['peers', { summary: 'the same, as ratios in a table and a plot', load: () => import('./against.ts') }],
  ['context', { summary: 'decode by position, prefill by length', load: () => import('./context.ts') }],
  ['start', { summary: 'first text of a first start, over links of several rates', load: () => import('./start.ts') }],
  ['mesh', { summary: 'one model over several tabs, with links of several delays', load: () => import('./mesh.ts') }],
  ['migrate', { summary: 'random moves in the middle of an answer', load: () => import('./migrate.ts') }],
  ['kernels', { summary: 'the WASM backend alone, by kind of operation', load: () => import('./kernels.ts') }],
]);

const USAGE = [
  'Usage: npm run bench -- BENCHMARK [options]',
  '',
  ...[...BENCHMARKS].map(([name, { summary }]) => `  ${name.padEnd(10)}${summary}`),
  '',
  'Each says its options with --help.',
].join('\n');

async function main([name = '', ...args]: string[]): Promise<void> {
  const benchmark = BENCHMARKS.get(name);
  if (benchmark) {
    await (await benchmark.load()).main(args);
    return;
  }
  if (name !== '--help') throw new BenchError(`${name ? `There is no benchmark "${name}".` : 'Name one.'}\n\n${USAGE}`);
  console.log(USAGE);
}

const forPeople = [BenchError, RunError];

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(forPeople.some((kind) => error instanceof kind) ? (error as Error).message : error);
  process.exitCode = 1;
});
