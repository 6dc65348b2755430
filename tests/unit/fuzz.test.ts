/** The short form of `npm run fuzz`: a fixed seed, few cases. And that the long form would find what it looks for. */
import { describe, expect, test } from 'vitest';
import { runTarget } from '../fuzz/run-target.ts';
import { moduleOf, TARGETS } from '../fuzz/targets.ts';

const SEED = 8;
const RUNS = 80;
const FAULTY = new URL('../fuzz/faulty.ts', import.meta.url).href;
const MEMORY_MB = 64;

describe('hostile input is taken or refused, in time and in bounds', () => {
  test.each(Object.entries(TARGETS))('%s', async (name, { memoryMb }) => {
    const { failure, cases } = await runTarget(moduleOf(name), memoryMb, RUNS, SEED);
    expect(failure).toBeUndefined();
    expect(cases).toBe(RUNS);
  });
});

describe('a case is caught that', () => {
  test.each([
    ['throws', /TypeError: a fault(.|\n)*Case .*: 7/],
    ['hangs', /^Case \d+ took more than 1000 ms of the processor\.\n7$/],
    ['grows', /heap out of memory|reaching memory limit|took more than|ERR_WORKER_OUT_OF_MEMORY|grew by/],
    ['fails later', /nobody catches this(.|\n)*7$/],
  ])('%s', async (fault, failure) => {
    const outcome = await runTarget(`${FAULTY}?fault=${encodeURIComponent(fault)}`, MEMORY_MB, 200, SEED);
    expect(outcome.failure).toMatch(failure);
  });
});
