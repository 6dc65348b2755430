/** `npm run fuzz`: hostile input for everything that takes input from others. See `docs/security.md`. */
import { parseArgs } from 'node:util';
import { runTarget } from './run-target.ts';
import { moduleOf, TARGETS } from './targets.ts';

const DEFAULT_RUNS = 100_000;

const USAGE = [
  'Usage: npm run fuzz -- [--runs N] [--only NAME[,NAME]] [--seed N]',
  '',
  ...Object.entries(TARGETS).map(([name, { about }]) => `  ${name.padEnd(14)}${about}`),
  '',
  `By default ${DEFAULT_RUNS} cases each, from a seed that is drawn and printed.`,
].join('\n');

class UsageError extends Error {}

function wholeNumber(text: string | undefined, name: string, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--${name} takes a whole number.\n\n${USAGE}`);
  return Number(text);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string' },
      only: { type: 'string' },
      seed: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const chosen = (values.only?.split(',') ?? Object.keys(TARGETS)).map((name) => {
    const entry = TARGETS[name];
    if (!entry) throw new UsageError(`There is no target "${name}".\n\n${USAGE}`);
    return { name, ...entry };
  });
  const runs = wholeNumber(values.runs, 'runs', DEFAULT_RUNS);
  const seed = wholeNumber(values.seed, 'seed', Math.floor(Math.random() * 1e9));
  console.log(`${runs} cases each, seed ${seed}`);
  let failed = 0;
  for (const { name, memoryMb } of chosen) {
    const { failure, seconds, grownBytes, longestMs, cases } = await runTarget(moduleOf(name), memoryMb, runs, seed);
    const facts = `${cases} cases, ${seconds.toFixed(1)} s, +${Math.round(grownBytes / 2 ** 20)} MiB, longest ${Math.round(longestMs)} ms`;
    console.log(`${failure ? 'FAILED' : 'ok    '} ${name.padEnd(14)} ${facts}`);
    if (!failure) continue;
    failed++;
    console.log(`${failure}\nAgain: npm run fuzz -- --only ${name} --seed ${seed} --runs ${runs}`);
  }
  if (failed > 0) process.exitCode = 1;
}

main().catch((error: unknown) => {
  console.error(error instanceof UsageError ? error.message : error);
  process.exitCode = 1;
});
