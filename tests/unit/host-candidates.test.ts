import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mergeCandidates, selectCandidates } from '../../web/device/candidates.ts';
import { expNegative, logPositive } from '../../web/device/exponential.ts';
import type { Want } from '../../web/host/runner.ts';

/** Few different values, so that ties are common. */
const logitsOf = fc
  .array(fc.integer({ min: -40, max: 40 }), { minLength: 1, maxLength: 200 })
  .map((values) => Float32Array.from(values, (value) => value / 4));
const wantOf = fc.record({
  positions: fc.constant('last' as const),
  top: fc.integer({ min: 1, max: 250 }),
  temperature: fc.constantFrom(0, 0.3, 1, 2),
  penalty: fc.option(
    fc.record({
      ids: fc.uint32Array({ max: 220, maxLength: 20 }),
      factor: fc.constantFrom(0.5, 1.1, 2),
    }),
    { nil: undefined },
  ),
});

/** The definition, without a thought for speed. */
function plain(logits: Float32Array, want: Want) {
  const penalised = logits.slice();
  for (const id of new Set(want.penalty?.ids ?? [])) {
    const logit = penalised[id];
    if (logit !== undefined) penalised[id] = logit > 0 ? logit / want.penalty!.factor : logit * want.penalty!.factor;
  }
  const order = [...penalised.keys()].sort((a, b) => penalised[b]! - penalised[a]! || a - b).slice(0, want.top);
  const t = want.temperature || 1;
  const max = Math.max(...penalised) / t;
  const sum = penalised.reduce((total, logit) => total + Math.exp(logit / t - max), 0);
  return { ids: order, logits: order.map((id) => penalised[id]!), logSumExp: max + Math.log(sum) };
}

function cut(logits: Float32Array, cuts: number[]) {
  const at = [0, ...cuts.map((c) => c % (logits.length + 1)).sort((a, b) => a - b), logits.length];
  return at.slice(1).map((end, i) => ({ row: at[i]!, logits: logits.subarray(at[i], end) }));
}

describe('candidates', () => {
  it('are the best by definition, ties by id, with the sum over all', () => {
    fc.assert(
      fc.property(logitsOf, wantOf, (logits, want) => {
        const got = selectCandidates([{ row: 0, logits }], want);
        const expected = plain(logits, want);
        expect([...got.ids]).toEqual(expected.ids);
        expect([...got.logits]).toEqual(expected.logits);
        expect(got.logSumExp).toBeCloseTo(expected.logSumExp, 10);
      }),
    );
  });

  it('of several parts, in any order, and merged from several members, are those of the whole', () => {
    fc.assert(
      fc.property(logitsOf, wantOf, fc.array(fc.nat(), { maxLength: 4 }), (logits, want, cuts) => {
        const whole = selectCandidates([{ row: 0, logits }], want);
        const parts = cut(logits, cuts);
        const inParts = selectCandidates(parts.toReversed(), want);
        const merged = mergeCandidates(
          parts.map((part) => selectCandidates([part], want)),
          want.top,
        );
        for (const other of [inParts, merged]) {
          expect([...other.ids]).toEqual([...whole.ids]);
          expect([...other.logits]).toEqual([...whole.logits]);
          expect(other.logSumExp).toBeCloseTo(whole.logSumExp, 11);
        }
      }),
    );
  });

  it('say so when a logit is not a number', () => {
    const want: Want = { positions: 'last', top: 3, temperature: 1 };
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const broken = selectCandidates([{ row: 0, logits: Float32Array.of(1, bad, 2) }], want);
      expect(broken.logSumExp).toBeNaN();
      const fine = selectCandidates([{ row: 3, logits: Float32Array.of(1, 2) }], want);
      expect(mergeCandidates([fine, broken], 3).logSumExp).toBeNaN();
    }
    const nothing = selectCandidates([{ row: 0, logits: new Float32Array(4).fill(Number.NaN) }], want);
    expect(nothing.logSumExp).toBeNaN();
    expect(nothing.ids.length).toBe(0);
  });

  it('pass over a member that owns no vocabulary', () => {
    const want: Want = { positions: 'last', top: 2, temperature: 1 };
    const whole = selectCandidates([{ row: 0, logits: Float32Array.of(1, 3, 2) }], want);
    expect(mergeCandidates([selectCandidates([], want), whole], 2)).toEqual(whole);
  });
});

describe('exponential', () => {
  it('is e^x to twelve digits', () => {
    fc.assert(
      fc.property(fc.double({ min: -690, max: 0, noNaN: true }), (x) => {
        expect(Math.abs(expNegative(x) / Math.exp(x) - 1)).toBeLessThan(1e-12);
      }),
    );
    expect([expNegative(0), expNegative(-1e9), expNegative(Number.NEGATIVE_INFINITY)]).toEqual([1, 0, 0]);
    expect(expNegative(Number.NaN)).toBeNaN();
  });

  it('has a logarithm to fifteen digits', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-6, max: 1e9, noNaN: true }), (x) => {
        expect(Math.abs(logPositive(x) - Math.log(x))).toBeLessThan(1e-14 * Math.max(1, Math.abs(Math.log(x))));
      }),
    );
  });
});
