import { describe, expect, test } from 'vitest';
import type { PhaseProfile } from '../../web/api.ts';
import { formatShare, formatTime, layerTableOf, linesOf } from '../../web/components/profile/profile-lines.ts';

const PHASE: PhaseProfile = {
  ...{ batches: 2, tokens: 2, totalMs: 40 },
  layers: [
    { layer: 4, ms: { down: 4, qkv: 8, wait: 2 } },
    { layer: 5, ms: { qkv: 6, down: 4 } },
  ],
  rest: { head: 10, embed: 1 },
};

describe('lines', () => {
  test('a line an operation in the order of a step, a token’s time, shares of the whole, and what is left', () => {
    expect(linesOf(PHASE)).toEqual([
      { name: 'embed', ms: 0.5, share: 0.025 },
      { name: 'qkv', ms: 7, share: 0.35 },
      { name: 'down', ms: 4, share: 0.2 },
      { name: 'wait', ms: 1, share: 0.05 },
      { name: 'head', ms: 5, share: 0.25 },
      { name: 'other', ms: 2.5, share: 0.125 },
    ]);
    expect(linesOf(PHASE).reduce((sum, { share }) => sum + share, 0)).toBe(1);
  });

  test('operations of another clock never leave less than nothing', () => {
    expect(linesOf({ ...PHASE, totalMs: 30 }).at(-1)).toEqual({ name: 'other', ms: 0, share: 0 });
  });

  test('none before there was a token', () => {
    expect(linesOf({ batches: 0, tokens: 0, totalMs: 0, layers: [], rest: {} })).toEqual([]);
  });
});

test('a row a layer, a column an operation that any layer had, with sums', () => {
  expect(layerTableOf(PHASE)).toEqual({
    columns: ['qkv', 'down', 'wait'],
    layers: [
      { layer: 4, all: 7, ms: [4, 2, 1] },
      { layer: 5, all: 5, ms: [3, 2, undefined] },
    ],
    sums: { all: 12, ms: [7, 4, 1] },
  });
});

test('times and shares keep about three digits', () => {
  expect([123.4, 12.34, 1.234, 0.1234, 0].map(formatTime)).toEqual(['123', '12.3', '1.23', '0.123', '0.000']);
  expect([1, 0.123, 0.0456, 0.0996].map(formatShare)).toEqual(['100 %', '12 %', '4.6 %', '10 %']);
});
