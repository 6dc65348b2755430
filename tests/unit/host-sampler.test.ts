import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { selectCandidates } from '../../web/device/candidates.ts';
import { uniform } from '../../web/host/random.ts';
import { candidatesToAskFor, type Sampling, sample } from '../../web/host/sampler.ts';

const greedy: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0 };
const logitsOf = fc
  .array(fc.integer({ min: -80, max: 80 }), { minLength: 1, maxLength: 300 })
  .map((values) => Float32Array.from(values, (value) => value / 8));
const samplingOf = fc.record({
  temperature: fc.constantFrom(0.2, 0.7, 1, 1.7),
  topK: fc.constantFrom(0, 1, 3, 40, 1000),
  topP: fc.constantFrom(0, 0.1, 0.5, 0.9, 0.999, 1),
  minP: fc.constantFrom(0, 0.01, 0.1, 0.5, 1),
});
const drawOf = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });

/** Samples as the loop does; counts how often it had to ask again. */
function draw(logits: Float32Array, sampling: Sampling, u: number, first?: number) {
  let top = first ?? candidatesToAskFor(sampling, logits.length);
  for (let asked = 0; ; asked++) {
    const candidates = selectCandidates([{ row: 0, logits }], {
      positions: 'last',
      top,
      temperature: sampling.temperature,
    });
    const choice = sample(candidates, sampling, u, logits.length);
    if ('id' in choice) return { id: choice.id, asked };
    expect(choice.more).toBeGreaterThan(top);
    top = choice.more;
  }
}

/** The filters by definition, on the whole sorted vocabulary: ids that may be drawn, with their probabilities. */
function allowed(logits: Float32Array, { temperature, topK, topP, minP }: Sampling) {
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
  let weights = order.map((id) => Math.exp((logits[id]! - logits[order[0]!]!) / temperature));
  if (topK > 0) weights = weights.slice(0, topK);
  const mass = weights.reduce((a, b) => a + b);
  let sum = 0;
  let kept = 0;
  while (kept < weights.length && (kept === 0 || (sum < topP * mass && weights[kept]! >= minP)))
    sum += weights[kept++]!;
  return { ids: order.slice(0, kept), weights: weights.slice(0, kept), sum };
}

describe('sampling', () => {
  it('is greedy at temperature 0, lowest id among equals', () => {
    expect(draw(Float32Array.of(1, 5, 3, 5), greedy, 0.99)).toEqual({ id: 1, asked: 0 });
  });

  it('draws by inversion from exactly what the filters leave', () => {
    fc.assert(
      fc.property(logitsOf, samplingOf, drawOf, (logits, sampling, u) => {
        const { ids, weights, sum } = allowed(logits, sampling);
        const { id } = draw(logits, sampling, u);
        const at = ids.indexOf(id);
        expect(at).toBeGreaterThanOrEqual(0);
        const below = weights.slice(0, at).reduce((a, b) => a + b, 0);
        expect(u * sum).toBeGreaterThanOrEqual(below - 1e-9 * sum);
        expect(u * sum).toBeLessThanOrEqual(below + weights[at]! + 1e-9 * sum);
      }),
      { numRuns: 500 },
    );
  });

  it('does not depend on how many candidates it was given first', () => {
    fc.assert(
      fc.property(logitsOf, samplingOf, drawOf, fc.integer({ min: 1, max: 300 }), (logits, sampling, u, first) => {
        expect(draw(logits, sampling, u, Math.min(first, logits.length)).id).toBe(draw(logits, sampling, u).id);
      }),
    );
  });

  it('asks for more only when the probabilities are flat', () => {
    const flat = new Float32Array(5000);
    const sampling = { temperature: 1, topK: 0, topP: 0.9, minP: 0 };
    expect(draw(flat, sampling, 0.5).asked).toBeGreaterThan(0);
    const peaked = new Float32Array(5000);
    peaked[17] = 30;
    expect(draw(peaked, sampling, 0.5)).toEqual({ id: 17, asked: 0 });
  });

  it('has the frequencies of the distribution', () => {
    const logits = Float32Array.of(Math.log(5), Math.log(3), Math.log(2));
    const counts = [0, 0, 0];
    const rounds = 20_000;
    for (let i = 0; i < rounds; i++) {
      counts[draw(logits, { ...greedy, temperature: 1 }, uniform(7, i)).id]!++;
    }
    expect(counts.map((n) => n / rounds)).toEqual([
      expect.closeTo(0.5, 1),
      expect.closeTo(0.3, 1),
      expect.closeTo(0.2, 1),
    ]);
  });
});

describe('the seeded generator', () => {
  it('is SplitMix64: its published first outputs for seed 1234567', () => {
    // Reference values of the C code by Vigna, as listed on rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64.
    const outputs = [
      6457827717110365317n,
      3203168211198807973n,
      9817491932198370423n,
      4593380528125082431n,
      16408922859458223821n,
    ];
    expect(outputs.map((_, i) => uniform(1234567, i))).toEqual(
      outputs.map((output) => Number(output >> 11n) / 2 ** 53),
    );
  });

  it('takes negative and large seeds, and stays in [0, 1)', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), fc.nat(), (seed, index) => {
        const u = uniform(seed, index);
        expect(u >= 0 && u < 1).toBe(true);
      }),
    );
  });
});
