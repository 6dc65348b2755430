import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { changeBytes, diffPlans } from '../../web/plan/diff.ts';
import { type Embedding, kvBytes, type Part, planBytes, type Sizes } from '../../web/plan/holdings.ts';
import { applyMove, type Move } from '../../web/plan/moves.ts';
import { each } from '../../web/plan/ranges.ts';
import { parseRatios } from '../../web/plan/ratios.ts';
import { type ModelShape, matrixSize } from '../../web/plan/shape.ts';
import { makePlan } from '../../web/plan/split.ts';
import type { Plan } from '../../web/plan/types.ts';
import { layouts, movesFor } from './plan-arbitraries.ts';
import { SMOLLM2 } from './plan-models.ts';

function plan(text: string, devices: number, epoch = 1): Plan {
  const room = [...Array(devices).keys()];
  return makePlan(parseRatios(text, { devices, layers: SMOLLM2.layers }), SMOLLM2, room, epoch);
}

function follow(before: Plan, move: Move): Plan {
  const result = applyMove(before, move, SMOLLM2);
  if ('refused' in result) throw new Error(result.refused);
  return result.plan;
}

/** Four bytes a weight. */
const f32: Sizes = {
  matrixBytes: (role) => matrixSize(role, SMOLLM2).rows * matrixSize(role, SMOLLM2).cols * 4,
  positions: 100,
};

describe('what travels', () => {
  test('one KV head of SmolLM2: its rows and columns in every layer, and its KV from the giver', () => {
    const before = plan('2:3:3', 3);
    const [, , two] = diffPlans(before, follow(before, { kind: 1, from: 0, to: 2 }), SMOLLM2);
    expect(two.needs.slice(0, 4)).toEqual([
      { role: 'q', layer: 0, rows: [0, 192], cols: [0, 576] },
      { role: 'k', layer: 0, rows: [0, 64], cols: [0, 576] },
      { role: 'v', layer: 0, rows: [0, 64], cols: [0, 576] },
      { role: 'o', layer: 0, rows: [0, 576], cols: [0, 192] },
    ]);
    expect(two.needs.length).toBe(4 * 30);
    expect(two.kvNeeds).toEqual([...Array(30).keys()].map((layer) => ({ layer, kvHead: 0, sources: [0] })));
    expect([two.releases, two.kvReleases]).toEqual([[], []]);
    expect(changeBytes(two, SMOLLM2, f32)).toEqual({
      weightBytes: 30 * 576 * (192 + 64 + 64 + 192) * 4,
      kvBytes: 30 * 100 * 2 * (4 + 2 * 64),
    });
  });

  test('the giver keeps what it shares: a divided KV head is not copied to who has it', () => {
    const before = plan('1:1:1:1', 4);
    const [zero, one, two] = diffPlans(before, follow(before, { kind: 1, from: 2, to: 1 }), SMOLLM2);
    expect([zero.needs, zero.kvNeeds, zero.releases, zero.kvReleases]).toEqual([[], [], [], []]);
    expect(one.kvNeeds).toEqual([]);
    expect(one.needs.slice(0, 2)).toEqual([
      { role: 'q', layer: 0, rows: [320, 384], cols: [0, 576] },
      { role: 'o', layer: 0, rows: [0, 576], cols: [320, 384] },
    ]);
    expect(two.kvReleases).toEqual([...Array(30).keys()].map((layer) => ({ layer, kvHead: 1 })));
  });

  test('all holders of a KV head are named as sources', () => {
    const before = plan('1:1:1:1', 4);
    const next = makePlan(parseRatios('1@30', { devices: 1, layers: 30 }), SMOLLM2, [7], 2);
    const seven = diffPlans(before, next, SMOLLM2).find(({ device }) => device === 7)!;
    expect(seven.kvNeeds.slice(0, 3).map(({ sources }) => sources)).toEqual([[0], [1, 2], [2, 3]]);
  });

  test('layers move whole, with the KV of both sides’ heads', () => {
    const before = plan('1@14*1:1@16', 3);
    const [zero, one, two] = diffPlans(before, follow(before, { from: 0, to: 1, layers: 1 }), SMOLLM2);
    expect(zero.releases.map(({ role, layer }) => [role, layer])).toEqual(
      ['q', 'k', 'v', 'o', 'gate', 'up', 'down'].map((role) => [role, 13]),
    );
    expect(one.needs[0]).toEqual({ role: 'q', layer: 13, rows: [0, 384], cols: [0, 576] });
    expect(one.kvNeeds).toEqual([
      { layer: 13, kvHead: 0, sources: [0] },
      { layer: 13, kvHead: 1, sources: [0] },
    ]);
    expect(two.kvNeeds).toEqual([{ layer: 13, kvHead: 2, sources: [0] }]);
  });

  test('the first plan brings everything, embedding included, and copies no KV from anyone', () => {
    const [zero, one] = diffPlans(undefined, plan('1:1', 2), SMOLLM2, { device: 0, tied: false });
    expect(zero.needs.slice(-2)).toEqual([
      { role: 'embedding', layer: 0, rows: [0, 49152], cols: [0, 576] },
      { role: 'head', layer: 0, rows: [0, 24576], cols: [0, 576] },
    ]);
    expect(one.needs.at(-1)).toEqual({ role: 'head', layer: 0, rows: [24576, 49152], cols: [0, 576] });
    expect(one.kvNeeds[0]).toEqual({ layer: 0, kvHead: 2, sources: [] });
  });

  test('a tied head is not fetched where the embedding lies', () => {
    const [zero, one] = diffPlans(undefined, plan('1:1', 2), SMOLLM2, { device: 0, tied: true });
    expect(zero.needs.filter(({ layer, role }) => layer === 0 && ['embedding', 'head'].includes(role))).toHaveLength(1);
    expect(one.needs.at(-1)?.role).toBe('head');
  });
});

describe('bytes', () => {
  test('KV: a scale and headDim 16-bit integers, for K and for V', () => {
    expect(kvBytes(SMOLLM2, 3, 10)).toBe(3 * 10 * (2 * 4 + 2 * 64 * 2));
  });

  test('by purpose, for every member, and for a host that only looks tokens up', () => {
    const sizes = { ...f32, embedding: { device: 9, tied: true } };
    const [zero, one, host] = planBytes(plan('1@14*1@16', 2), SMOLLM2, sizes);
    const attention = (layers: number) => layers * 576 * (576 + 192 + 192 + 576) * 4;
    const ffn = (layers: number) => layers * 576 * 1536 * 3 * 4;
    const table = 49152 * 576 * 4;
    expect(zero).toEqual({
      device: 0,
      attention: attention(14),
      ffn: ffn(14),
      head: 0,
      embedding: 0,
      weightBytes: attention(14) + ffn(14),
      kvBytes: 14 * 3 * 100 * 264,
    });
    expect(one).toMatchObject({ device: 1, head: table, weightBytes: attention(16) + ffn(16) + table });
    expect(host).toMatchObject({ device: 9, embedding: table, weightBytes: table, kvBytes: 0 });
  });
});

/** Every held value as a string, by brute force, without the code under test: what each device must have. */
function cells(of: Plan | undefined, device: number, shape: ModelShape, embedding: Embedding): Set<string> {
  const held = new Set<string>();
  if (of && device === embedding.device) for (let row = 0; row < shape.vocab; row++) held.add(`embedding 0 ${row}`);
  for (const { layers, members } of of?.stages ?? []) {
    const member = members.find((one) => one.device === device);
    if (!member) continue;
    for (let layer = layers[0]; layer < layers[1]; layer++) {
      for (const head of each(member.qHeads)) {
        const kvHead = Math.floor((head * shape.kvHeads) / shape.heads);
        held.add(`kv ${layer} ${kvHead}`);
        for (let i = 0; i < shape.headDim; i++) {
          for (const role of ['q', 'o']) held.add(`${role} ${layer} ${head * shape.headDim + i}`);
          for (const role of ['k', 'v']) held.add(`${role} ${layer} ${kvHead * shape.headDim + i}`);
        }
      }
      for (const n of each(member.ffn)) for (const role of ['gate', 'up', 'down']) held.add(`${role} ${layer} ${n}`);
    }
    if (embedding.tied && device === embedding.device) continue;
    for (const row of each(member.vocab)) held.add(`head 0 ${row}`);
  }
  return held;
}

function cellsOfPart({ role, layer, rows, cols }: Part, shape: ModelShape): string[] {
  const byColumns = role === 'o' || role === 'down';
  const whole = matrixSize(role, shape);
  expect(byColumns ? rows : cols).toEqual([0, byColumns ? whole.rows : whole.cols]);
  return [...each([byColumns ? cols : rows])].map((n) => `${role} ${layer} ${n}`);
}

test('old holdings plus needs less releases are exactly the new holdings, and sources hold what they give', () => {
  const small = layouts
    .filter(({ shape }) => shape.layers <= 4 && shape.headDim <= 32)
    .chain((layout) =>
      fc.record({
        layout: fc.constant(layout),
        moves: fc.array(movesFor(layout.shape), { minLength: 1, maxLength: 4 }),
        embedding: fc.record({ device: fc.integer({ min: 0, max: 12 }), tied: fc.boolean() }),
      }),
    );
  fc.assert(
    fc.property(small, ({ layout: { shape, ratios, devices }, moves, embedding }) => {
      let current: Plan | undefined;
      const plans = [makePlan(ratios, shape, devices, 0)];
      for (const move of moves) {
        const result = applyMove(plans[plans.length - 1], move, shape);
        if ('plan' in result) plans.push(result.plan);
      }
      for (const next of plans) {
        const changes = diffPlans(current, next, shape, embedding);
        const all = [...Array(14).keys()];
        const old = all.map((device) => cells(current, device, shape, embedding));
        const wanted = all.map((device) => cells(next, device, shape, embedding));
        const changed = new Set(changes.map(({ device }) => device));
        for (const device of all)
          if (!changed.has(device)) expect([old[device].size, wanted[device].size]).toEqual([0, 0]);
        for (const { device, needs, kvNeeds, releases, kvReleases } of changes) {
          const held = new Set(old[device]);
          const name = ({ layer, kvHead }: { layer: number; kvHead: number }) => `kv ${layer} ${kvHead}`;
          for (const cell of [...needs.flatMap((part) => cellsOfPart(part, shape)), ...kvNeeds.map(name)]) {
            expect(held.has(cell)).toBe(false);
            held.add(cell);
          }
          for (const cell of [...releases.flatMap((part) => cellsOfPart(part, shape)), ...kvReleases.map(name)]) {
            expect(held.delete(cell)).toBe(true);
          }
          expect(held.size).toBe(wanted[device].size);
          expect([...held].filter((cell) => !wanted[device].has(cell))).toEqual([]);
          for (const need of kvNeeds) {
            expect(need.sources).toEqual(all.filter((other) => old[other].has(name(need))));
          }
        }
        current = next;
      }
    }),
    { numRuns: 60 },
  );
});

test('a change’s bytes are the difference of the holdings’ bytes where nothing is released', () => {
  const before = plan('2:3:3', 3);
  const next = follow(before, { kind: 3, from: 1, to: 0 });
  const [zero] = diffPlans(before, next, SMOLLM2);
  const [had, has] = [before, next].map((one) => planBytes(one, SMOLLM2, f32)[0]);
  expect(changeBytes(zero, SMOLLM2, f32)).toEqual({
    weightBytes: has.weightBytes - had.weightBytes,
    kvBytes: has.kvBytes - had.kvBytes,
  });
});
