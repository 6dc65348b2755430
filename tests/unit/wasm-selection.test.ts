/** The best logits out of blocks, against a search of all of them. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeBest } from '../../web/device/best.ts';
import { selectCandidates } from '../../web/device/candidates.ts';
import { selectBest } from '../../web/device/wasm/selection.ts';

const BLOCK = 256;

/** What the kernel says of whole vectors of logits, in plain JavaScript. */
function summaryOf(logits: Float32Array, temperature: number): Float32Array {
  const whole = logits.subarray(0, logits.length - (logits.length % 4));
  const blocks: number[] = [];
  for (let at = 0; at < whole.length; at += BLOCK) {
    const block = whole.subarray(at, at + BLOCK);
    const peak = Math.max(...block);
    blocks.push(
      peak,
      block.reduce((sum, logit) => sum + Math.exp((logit - peak) / (temperature || 1)) || 0, 0),
    );
  }
  return Float32Array.from(blocks);
}

/** Few different values, so that most are ties, within blocks and between them. */
const rows = fc.record({
  length: fc.integer({ min: 1, max: 2000 }),
  values: fc.array(fc.integer({ min: -40, max: 40 }), { minLength: 1, maxLength: 30 }),
  seed: fc.integer(),
  odd: fc.array(fc.tuple(fc.nat(), fc.constantFrom(Number.NaN, -Infinity, Infinity, -0)), { maxLength: 3 }),
  top: fc.integer({ min: 0, max: 64 }),
  temperature: fc.constantFrom(0, 0.3, 1, 2),
});

test('are those that a search of the whole row finds', () => {
  fc.assert(
    fc.property(rows, ({ length, values, seed, odd, top, temperature }) => {
      const logits = Float32Array.from(
        { length },
        (_, i) => values[Math.imul(i + 1, seed | 1) % values.length] ?? -50 + i / 64,
      );
      for (const [at, value] of odd) logits[at % length] = value;
      const words = selectBest(logits, summaryOf(logits, temperature), { top, temperature });
      const actual = decodeBest(words, temperature, (row) => row);
      const expected = selectCandidates([{ row: 0, logits }], { positions: 'last', top, temperature });
      expect([...actual.ids]).toEqual([...expected.ids]);
      expect([...actual.logits]).toEqual([...expected.logits]);
      if (Number.isNaN(expected.logSumExp)) expect(actual.logSumExp).toBeNaN();
      else expect(Math.abs(actual.logSumExp - expected.logSumExp)).toBeLessThan(1e-6);
    }),
    { numRuns: 500 },
  );
});
