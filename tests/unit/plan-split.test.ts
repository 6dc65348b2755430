import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { apportion } from '../../web/plan/apportion.ts';
import { checkPlan, kvHeadsOf } from '../../web/plan/inspect.ts';
import { count, normalize } from '../../web/plan/ranges.ts';
import { parseRatios } from '../../web/plan/ratios.ts';
import { groupSize, headUnit, lcm, type ModelShape } from '../../web/plan/shape.ts';
import { makePlan } from '../../web/plan/split.ts';
import type { Member, Plan } from '../../web/plan/types.ts';
import { layouts } from './plan-arbitraries.ts';
import { LLAMA_3B, SMOLLM2 } from './plan-models.ts';

function plan(text: string, shape: ModelShape, devices: number): Plan {
  const room = [...Array(devices).keys()];
  return makePlan(parseRatios(text, { devices, layers: shape.layers }), shape, room, 1);
}

const sizes = (members: Member[]) => members.map(({ qHeads, ffn, vocab }) => [count(qHeads), count(ffn), count(vocab)]);

/** The examples of docs/plan.md. */
describe('worked examples', () => {
  test('SmolLM2, 2:3:3', () => {
    expect(plan('2:3:3', SMOLLM2, 3)).toEqual({
      epoch: 1,
      stages: [
        {
          layers: [0, 30],
          members: [
            { device: 0, qHeads: [[0, 3]], ffn: [[0, 384]], vocab: [[0, 12288]] },
            { device: 1, qHeads: [[3, 6]], ffn: [[384, 960]], vocab: [[12288, 30720]] },
            { device: 2, qHeads: [[6, 9]], ffn: [[960, 1536]], vocab: [[30720, 49152]] },
          ],
        },
      ],
    });
  });

  test('SmolLM2, 1@14*1:1@16', () => {
    expect(plan('1@14*1:1@16', SMOLLM2, 3)).toEqual({
      epoch: 1,
      stages: [
        { layers: [0, 14], members: [{ device: 0, qHeads: [[0, 9]], ffn: [[0, 1536]], vocab: [] }] },
        {
          layers: [14, 30],
          members: [
            { device: 1, qHeads: [[0, 6]], ffn: [[0, 768]], vocab: [[0, 24576]] },
            { device: 2, qHeads: [[6, 9]], ffn: [[768, 1536]], vocab: [[24576, 49152]] },
          ],
        },
      ],
    });
  });

  test('SmolLM2, four members on three KV heads: KV heads are divided and kept by each owner', () => {
    const { members } = plan('1:1:1:1', SMOLLM2, 4).stages[0];
    expect(members.map(({ qHeads }) => qHeads)).toEqual([[[0, 3]], [[3, 5]], [[5, 7]], [[7, 9]]]);
    expect(members.map(({ qHeads }) => kvHeadsOf(qHeads, SMOLLM2))).toEqual([[[0, 1]], [[1, 2]], [[1, 3]], [[2, 3]]]);
    expect(sizes(members)).toEqual([
      [3, 384, 12288],
      [2, 384, 12288],
      [2, 384, 12288],
      [2, 384, 12288],
    ]);
  });

  test('Llama-3.2-3B, 2:3:3', () => {
    expect(sizes(plan('2:3:3', LLAMA_3B, 3).stages[0].members)).toEqual([
      [6, 2048, 32064],
      [9, 3072, 48096],
      [9, 3072, 48096],
    ]);
  });

  test('Llama-3.2-3B, 1:1:1: where EdgeVisor rounds every share, the remainders go to the largest', () => {
    expect(sizes(plan('1:1:1', LLAMA_3B, 3).stages[0].members)).toEqual([
      [9, 2752, 42752],
      [9, 2720, 42752],
      [6, 2720, 42752],
    ]);
  });

  test('a small share may hold no heads, and 0 owns nothing', () => {
    expect(sizes(plan('1:9', SMOLLM2, 2).stages[0].members)).toEqual([
      [0, 160, 4928],
      [9, 1376, 44224],
    ]);
    expect(plan('0:1', SMOLLM2, 2).stages[0].members[0]).toEqual({ device: 0, qHeads: [], ffn: [], vocab: [] });
  });

  test('heads of 16 move in pairs, and the last block of the vocabulary may be short', () => {
    const shape = { ...SMOLLM2, heads: 6, kvHeads: 2, headDim: 16, vocab: 100 };
    expect(plan('1:1', shape, 2).stages[0].members.map(({ qHeads, vocab }) => [qHeads, vocab])).toEqual([
      [[[0, 4]], [[0, 64]]],
      [[[4, 6]], [[64, 100]]],
    ]);
  });
});

describe('any model, any layout', () => {
  test('covers everything exactly once, at whole blocks', () => {
    fc.assert(
      fc.property(layouts, ({ shape, ratios, devices }) => {
        const made = makePlan(ratios, shape, devices, 7);
        expect(checkPlan(made, shape)).toEqual([]);
        expect(made.epoch).toBe(7);
        expect(made.stages.flatMap(({ members }) => members.map(({ device }) => device))).toEqual(devices);
        // Counted once more, without checkPlan.
        for (const [i, { members }] of made.stages.entries()) {
          const vocab = i === made.stages.length - 1 ? shape.vocab : 0;
          for (const [total, owned] of [
            [shape.heads, members.map(({ qHeads }) => qHeads)],
            [shape.ffn, members.map(({ ffn }) => ffn)],
            [vocab, members.map((member) => member.vocab)],
          ] as const) {
            expect(owned.reduce((sum, ranges) => sum + count(ranges), 0)).toBe(total);
            expect(normalize(owned.flat())).toEqual(total === 0 ? [] : [[0, total]]);
          }
          const kv = normalize(members.flatMap(({ qHeads }) => kvHeadsOf(qHeads, shape)));
          expect(kv).toEqual([[0, shape.kvHeads]]);
        }
      }),
    );
  });

  test('weight 0 owns nothing, and nobody is a whole unit away from their exact share', () => {
    fc.assert(
      fc.property(layouts, ({ shape, ratios, devices }) => {
        const made = makePlan(ratios, shape, devices, 0);
        const granule = lcm(groupSize(shape), headUnit(shape));
        const close = (owned: number, share: number, total: number, unit: number) => {
          const units = Math.ceil(total / unit);
          // Units are dealt; whoever has the last one may miss what it lacks.
          expect(owned).toBeLessThan(unit * (share * units + 1));
          expect(owned).toBeGreaterThan(unit * (share * units - 1) - (units * unit - total));
        };
        for (const [i, { members }] of made.stages.entries()) {
          const { weights } = ratios.stages[i];
          const sum = weights.reduce((a, b) => a + b, 0);
          const sharers = weights.filter((weight) => weight > 0).length;
          const unit = sharers <= Math.ceil(shape.heads / granule) ? granule : headUnit(shape);
          for (const [m, member] of members.entries()) {
            if (weights[m] === 0) expect([member.qHeads, member.ffn, member.vocab]).toEqual([[], [], []]);
            close(count(member.qHeads), weights[m] / sum, shape.heads, unit);
            close(count(member.ffn), weights[m] / sum, shape.ffn, 32);
            if (i === made.stages.length - 1) close(count(member.vocab), weights[m] / sum, shape.vocab, 32);
          }
        }
      }),
    );
  });

  test('KV heads stay whole where members are no more than KV heads and heads fill blocks', () => {
    fc.assert(
      fc.property(layouts, ({ shape, ratios, devices }) => {
        fc.pre(headUnit(shape) === 1);
        for (const [i, { members }] of makePlan(ratios, shape, devices, 0).stages.entries()) {
          if (ratios.stages[i].weights.filter((w) => w > 0).length > shape.kvHeads) continue;
          const kept = members.reduce((sum, { qHeads }) => sum + count(kvHeadsOf(qHeads, shape)), 0);
          expect(kept).toBe(shape.kvHeads);
        }
      }),
    );
  });
});

describe('apportion', () => {
  test('is the largest remainder method', () => {
    expect(apportion(10, [1, 1, 1])).toEqual([4, 3, 3]);
    expect(apportion(8, [0, 45, 30, 25])).toEqual([0, 4, 2, 2]);
    expect(apportion(3, [1, 0, 5])).toEqual([1, 0, 2]);
    expect(apportion(0, [1, 2])).toEqual([0, 0]);
  });

  test('gives everyone of positive weight at least one where asked', () => {
    expect(apportion(5, [1, 100, 0, 1], 1)).toEqual([1, 3, 0, 1]);
  });

  test('adds up, and nobody is one or more away', () => {
    const weights = fc
      .array(fc.oneof(fc.constant(0), fc.double({ min: 1e-6, max: 1e9, noNaN: true })), { minLength: 1, maxLength: 12 })
      .filter((list) => list.some((w) => w > 0));
    fc.assert(
      fc.property(fc.nat(5000), weights, (total, list) => {
        const counts = apportion(total, list);
        const sum = list.reduce((a, b) => a + b, 0);
        expect(counts.reduce((a, b) => a + b, 0)).toBe(total);
        for (const [i, n] of counts.entries()) {
          expect(Math.abs(n - (total * list[i]) / sum)).toBeLessThan(1);
          if (list[i] === 0) expect(n).toBe(0);
        }
      }),
    );
  });
});

describe('what does not fit is refused', () => {
  const ratios = { stages: [{ weights: [1, 1], layers: 30 }] };
  test.each([
    [ratios, SMOLLM2, [0], 'The ratios 1:1 are for 2 devices, but 1 would compute.'],
    [ratios, SMOLLM2, [3, 3], 'A device is named twice among 3, 3.'],
    [ratios, LLAMA_3B, [0, 1], 'The ratios 1:1 are for 30 layers, but the model has 28.'],
    [
      { stages: [{ weights: [0, 0], layers: 30 }] },
      SMOLLM2,
      [0, 1],
      'The ratios 0:0 have a stage whose weights are not numbers from 0 with one above 0.',
    ],
    [ratios, { ...SMOLLM2, ffn: 100 }, [0, 1], "The model's FFN width 100 is not a multiple of 32."],
    [ratios, { ...SMOLLM2, kvHeads: 2 }, [0, 1], "The model's 9 query heads do not share its 2 KV heads evenly."],
    [ratios, { ...SMOLLM2, vocab: 0 }, [0, 1], "The model's vocabulary is 0; it must be a whole number above 0."],
  ])('%o', (layout, shape, devices, message) => {
    expect(() => makePlan(layout, shape, devices, 0)).toThrow(new RangeError(message));
  });
});

describe('checkPlan finds', () => {
  const sound = plan('1@14*1:1@16', SMOLLM2, 3);
  const broken = (change: (copy: Plan) => void): string[] => {
    const copy = structuredClone(sound);
    change(copy);
    return checkPlan(copy, SMOLLM2);
  };

  test('nothing in a sound plan', () => {
    expect(checkPlan(sound, SMOLLM2)).toEqual([]);
  });

  test.each<[string, (copy: Plan) => void, string[]]>([
    [
      'a gap',
      ({ stages }) => {
        stages[1].members[0].qHeads = [[0, 5]];
      },
      ['Stage 1: query heads 5 belong to nobody.'],
    ],
    [
      'an overlap',
      ({ stages }) => {
        stages[1].members[1].ffn = [[736, 1536]];
      },
      ['Stage 1, device 2: FFN columns 736-767 belong to someone else too.'],
    ],
    [
      'a cut inside a block',
      ({ stages }) => {
        stages[1].members[0].vocab = [[0, 24570]];
        stages[1].members[1].vocab = [[24570, 49152]];
      },
      [
        'Stage 1, device 1: vocabulary rows 0-24569 are not cut at multiples of 32.',
        'Stage 1, device 2: vocabulary rows 24570-49151 are not cut at multiples of 32.',
      ],
    ],
    [
      'ranges out of bounds',
      ({ stages }) => {
        stages[0].members[0].qHeads = [[0, 10]];
      },
      [
        'Stage 0, device 0: query heads [[0,10]] are not ascending ranges within [0, 9).',
        'Stage 0: query heads 0-8 belong to nobody.',
      ],
    ],
    [
      'ranges out of order',
      ({ stages }) => {
        stages[0].members[0].qHeads = [
          [5, 9],
          [0, 5],
        ];
      },
      [
        'Stage 0, device 0: query heads [[5,9],[0,5]] are not ascending ranges within [0, 9).',
        'Stage 0: query heads 0-8 belong to nobody.',
      ],
    ],
    [
      'vocabulary outside the last stage',
      ({ stages }) => {
        stages[0].members[0].vocab = [[0, 32]];
      },
      ['Stage 0, device 0: vocabulary rows [[0,32]] are not ascending ranges within [0, 0).'],
    ],
    [
      'a gap between stages',
      ({ stages }) => {
        stages[1].layers = [15, 30];
      },
      ['Stage 1 has layers [15, 30), but must begin at 14 and have at least one.'],
    ],
    [
      'an empty stage',
      ({ stages }) => {
        stages[1].layers = [14, 14];
      },
      [
        'Stage 1 has layers [14, 14), but must begin at 14 and have at least one.',
        'The stages end at layer 14, but the model has 30.',
      ],
    ],
    [
      'a device twice',
      ({ stages }) => {
        stages[1].members[1].device = 0;
      },
      ['Device 0 appears twice.'],
    ],
    [
      'a senseless epoch and device',
      (copy) => {
        copy.epoch = -1;
        copy.stages[0].members[0].device = 0.5;
      },
      ['Epoch -1 is not a whole number from 0.', 'Device 0.5 is not a whole number from 0.'],
    ],
  ])('%s', (_, change, faults) => {
    expect(broken(change)).toEqual(faults);
  });

  test('an empty plan', () => {
    expect(checkPlan({ epoch: 0, stages: [] }, SMOLLM2)).toEqual(['The stages end at layer 0, but the model has 30.']);
  });
});
