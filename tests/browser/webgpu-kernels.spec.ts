import type { RandomShape, TileKind } from '../kernels/random-model.ts';
import type { Case } from './kernels/compare.ts';
import { expect, test } from './support/test.ts';

/** f32 against float64 sums, and now and then a key or value that the two round apart. */
const TOLERANCE = 2e-4;

const SMALL: RandomShape = { layers: 2, dim: 64, heads: 4, kvHeads: 2, headDim: 16, ffn: 96, vocab: 70 };
const GROUPED: RandomShape = { layers: 2, dim: 192, heads: 3, kvHeads: 1, headDim: 64, ffn: 160, vocab: 101 };
const WIDE_HEADS: RandomShape = { ...SMALL, dim: 96, heads: 6, kvHeads: 6, headDim: 80, ffn: 32, ropeLayout: 'halves' };
const QWEN: RandomShape = { ...SMALL, kvHeads: 4, headDim: 40, ropeLayout: 'halves', bias: true, headNorm: true };
const PART_ROPE: RandomShape = { ...SMALL, ropeDims: 8 };
const LIKE_SMOLLM: RandomShape = { ...GROUPED, dim: 576, heads: 9, kvHeads: 3, ffn: 1536, vocab: 203 };

const MIXED: TileKind[] = ['q4', 'q8', 'f32', 'q8-16', 'q4', 'q4', 'q8', 'bf16'];
/** What GPUs choose: columns cut into slices, several teams of tokens. */
const SLICED = {
  processor: false,
  bundle: 8,
  vector: { groups: 1, slices: 8 },
  matrix: { groups: 2, tokens: 8, teams: 2 },
  ...{ rowThreads: 128, headThreads: 64, chunk: 16 },
};

const CASES: Record<string, Case> = {
  q4: { shape: SMALL, kinds: ['q4'], pieces: 1 },
  'q4 with halves, sliced': { shape: GROUPED, kinds: ['q4'], pieces: 1, halves: true, tuning: SLICED },
  'q4, whatever is measured as fastest': { shape: SMALL, kinds: ['q4', 'q8'], pieces: 1, tuning: 'measure' },
  'q8, sliced': { shape: GROUPED, kinds: ['q8'], pieces: 1, tuning: SLICED },
  'q8 in blocks of 16': { shape: SMALL, kinds: ['q8-16'], pieces: 1 },
  'q8 with minima': { shape: GROUPED, kinds: ['q8-mins'], pieces: 1 },
  f32: { shape: SMALL, kinds: ['f32'], pieces: 1 },
  'f16, sliced': { shape: GROUPED, kinds: ['f16'], pieces: 1, tuning: SLICED },
  bf16: { shape: SMALL, kinds: ['bf16'], pieces: 1 },
  'matrices in three tiles': { shape: GROUPED, kinds: ['q4'], pieces: 3, halves: true },
  'a kind for every matrix, default limits': { shape: GROUPED, kinds: MIXED, pieces: 2, defaultLimits: true },
  'heads wider than blocks': { shape: WIDE_HEADS, kinds: ['q4', 'q8'], pieces: 1 },
  'biases and head norms': { shape: QWEN, kinds: ['q8'], pieces: 1 },
  'rope on a part of the head': { shape: PART_ROPE, kinds: ['f32'], pieces: 1 },
  'the default model, two layers': {
    shape: LIKE_SMOLLM,
    kinds: [...Array(7).fill('q4'), 'q8'],
    pieces: 1,
    halves: true,
  },
};

for (const [name, one] of Object.entries(CASES)) {
  test(`WebGPU equals the reference: ${name}`, async ({ sharedModulePage: page }) => {
    const result = await page.evaluate(async (one) => {
      const module = '/tests/browser/kernels/compare.ts';
      const { compare } = (await import(module)) as typeof import('./kernels/compare.ts');
      return compare(one);
    }, one);
    for (const [what, error] of Object.entries(result.errors)) expect(error, what).toBeLessThan(TOLERANCE);
    expect(result.kv, 'keys and values').toBeLessThan(TOLERANCE);
  });
}

for (const halves of [false, true]) {
  test(`WebGPU: tiles that are cut compute together what the whole ones compute${halves ? ', with halves' : ''}`, async ({
    sharedModulePage: page,
  }) => {
    const kinds: TileKind[] = halves ? ['q4'] : ['q4', 'q8', 'q8-16', 'q8-mins', 'f32', 'f16', 'bf16'];
    const results = await page.evaluate(
      async (options) => {
        const module = '/tests/browser/kernels/compare.ts';
        const { cutTiles } = (await import(module)) as typeof import('./kernels/compare.ts');
        return cutTiles(options.kinds, options.halves);
      },
      { kinds, halves },
    );
    for (const [i, { sum, first, bytes, between }] of results.entries()) {
      expect(sum, kinds[i]).toBeLessThan(TOLERANCE);
      expect(first, kinds[i]).toBeGreaterThan(0.1);
      expect(bytes, kinds[i]).toBe(1);
      expect(between, kinds[i]).toBeUndefined();
    }
  });
}

test('WebGPU equals the reference: tiles that lie side by side and across each other', async ({
  sharedModulePage: page,
}) => {
  const errors = await page.evaluate(async () => {
    const module = '/tests/browser/kernels/compare.ts';
    const { compareOddTiles } = (await import(module)) as typeof import('./kernels/compare.ts');
    return compareOddTiles();
  });
  // Nothing is rounded to fewer bits than f32 has.
  for (const error of errors) expect(error).toBeLessThan(2e-6);
});

test('timing the operations changes no bit; without timestamps nothing is timed', async ({
  sharedModulePage: page,
}) => {
  const [timed, untimed] = await page.evaluate(async (shape) => {
    const module = '/tests/browser/kernels/compare.ts';
    const { timeOperations } = (await import(module)) as typeof import('./kernels/compare.ts');
    return [await timeOperations(shape, false), await timeOperations(shape, true)];
  }, GROUPED);
  for (const { equal } of [timed, untimed]) expect(equal).toEqual([true, true]);
  expect(untimed).toMatchObject({ timesOperations: false, timed: [] });
  test.skip(!timed.timesOperations, 'this adapter has no timestamp queries');
  expect(new Set(timed.timed)).toEqual(
    new Set([
      'embed',
      ...[0, 1].flatMap((layer) =>
        ['attentionNorm', 'qkv', 'rope', 'scores', 'o', 'ffnNorm', 'gateUp', 'act', 'down'].map(
          (name) => `${name} ${layer}`,
        ),
      ),
      'head',
    ]),
  );
});

for (const [name, tuning] of [
  ['the usual choices', undefined],
  ['many invocations', SLICED],
] as const) {
  test(`WebGPU finds the candidates of the whole row of logits, ties by lowest id: ${name}`, async ({ modulePage }) => {
    const found = await modulePage.evaluate(async (tuning) => {
      const module = '/tests/browser/kernels/compare.ts';
      const { findBest } = (await import(module)) as typeof import('./kernels/compare.ts');
      return findBest(tuning);
    }, tuning);
    const ties = found.filter(({ expected: { logits } }) => logits.some((logit, i) => logit === logits[i + 1]));
    expect(ties.length, 'cases with ties').toBeGreaterThan(2);
    for (const { actual, expected } of found) {
      expect(actual.ids).toEqual(expected.ids);
      expect(actual.logits).toEqual(expected.logits);
      if (Number.isNaN(expected.logSumExp)) expect(actual.logSumExp).toBeNaN();
      else expect(actual.logSumExp).toBeCloseTo(expected.logSumExp, 5);
    }
    expect(found.at(-1)!.actual.logSumExp).toBeNaN();
  });
}
