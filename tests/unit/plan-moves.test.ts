import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkPlan, kvHeadsOf } from '../../web/plan/inspect.ts';
import type { Limits } from '../../web/plan/memory.ts';
import { ANY_STAGE, applyMove, type Move } from '../../web/plan/moves.ts';
import { nodeAt, nodeOfDevice, nodesOf } from '../../web/plan/nodes.ts';
import { count } from '../../web/plan/ranges.ts';
import { parseRatios } from '../../web/plan/ratios.ts';
import { headUnit, type ModelShape } from '../../web/plan/shape.ts';
import { makePlan } from '../../web/plan/split.ts';
import type { Plan } from '../../web/plan/types.ts';
import { layouts, movesFor } from './plan-arbitraries.ts';
import { LLAMA_3B, SMOLLM2 } from './plan-models.ts';

function plan(text: string, shape: ModelShape, devices: number): Plan {
  const room = [...Array(devices).keys()].map((i) => i + 10);
  return makePlan(parseRatios(text, { devices, layers: shape.layers }), shape, room, 4);
}

function moved(before: Plan, move: Move, shape: ModelShape, limits?: Limits): Plan {
  const result = applyMove(before, move, shape, limits);
  if ('refused' in result) throw new Error(result.refused);
  expect(checkPlan(result.plan, shape)).toEqual([]);
  return result.plan;
}

const heads = (of: Plan, stage = 0) => of.stages[stage].members.map(({ qHeads }) => qHeads);
const ffn = (of: Plan, stage = 0) => of.stages[stage].members.map((member) => member.ffn);
const three = plan('2:3:3', SMOLLM2, 3);
const hybrid = plan('1@14*1:1@16', SMOLLM2, 3);

describe('shares within a stage', () => {
  test('kind 1 moves KV heads with their query heads, from the border to the receiver', () => {
    const next = moved(plan('2:3:3', LLAMA_3B, 3), { kind: 1, from: 1, to: 0, heads: 2 }, LLAMA_3B);
    expect(heads(next)).toEqual([[[0, 12]], [[12, 15]], [[15, 24]]]);
    expect(ffn(next)).toEqual(ffn(plan('2:3:3', LLAMA_3B, 3)));
    expect(next.epoch).toBe(5);
    expect(heads(moved(plan('2:3:3', LLAMA_3B, 3), { kind: 1, from: 1, to: 2 }, LLAMA_3B))).toEqual([
      [[0, 6]],
      [[6, 12]],
      [[12, 24]],
    ]);
  });

  test('kind 2 moves FFN columns', () => {
    const next = moved(three, { kind: 2, from: 2, to: 1 }, SMOLLM2);
    expect(ffn(next)).toEqual([[[0, 384]], [[384, 1216]], [[1216, 1536]]]);
    expect(heads(next)).toEqual(heads(three));
  });

  test('kind 3 moves both, or one of them where the other is 0', () => {
    const both = moved(three, { kind: 3, from: 0, to: 1, ffn: 32 }, SMOLLM2);
    expect([heads(both)[1], ffn(both)[1]]).toEqual([[[0, 6]], [[352, 960]]]);
    expect(heads(moved(three, { kind: 3, from: 0, to: 1, heads: 0, ffn: 32 }, SMOLLM2))).toEqual(heads(three));
  });

  test('any two members, not only neighbours; everything away and back', () => {
    const away = moved(three, { kind: 3, from: 0, to: 2, heads: 1, ffn: 384 }, SMOLLM2);
    expect(away.stages[0].members[0]).toMatchObject({ qHeads: [], ffn: [] });
    expect([heads(away)[2], ffn(away)[2]]).toEqual([
      [
        [0, 3],
        [6, 9],
      ],
      [
        [0, 384],
        [960, 1536],
      ],
    ]);
    const back = moved(away, { kind: 3, from: 2, to: 0, heads: 1, ffn: 384 }, SMOLLM2);
    expect(back).toEqual({ ...three, epoch: 6 });
  });

  test('ranges stay few: a piece goes where it closes a gap', () => {
    const spread = moved(three, { kind: 2, from: 0, to: 2, ffn: 64 }, SMOLLM2);
    expect(ffn(spread)[2]).toEqual([
      [320, 384],
      [960, 1536],
    ]);
    // The stray piece is the one that touches node 1 and leaves node 2 with one range.
    expect(ffn(moved(spread, { kind: 2, from: 2, to: 1, ffn: 64 }, SMOLLM2))).toEqual([
      [[0, 320]],
      [[320, 960]],
      [[960, 1536]],
    ]);
  });

  test('of two pieces equally near, the one that leaves fewer ranges moves', () => {
    const gapped = structuredClone(plan('1:1', SMOLLM2, 2));
    gapped.stages[0].members[0].ffn = [
      [0, 64],
      [640, 1536],
    ];
    gapped.stages[0].members[1].ffn = [[64, 640]];
    expect(ffn(moved(gapped, { kind: 2, from: 0, to: 1, ffn: 64 }, SMOLLM2))).toEqual([[[640, 1536]], [[0, 640]]]);
  });

  test('a divided KV head counts whole for each owner, and the owner’s part of it moves', () => {
    const four = plan('1:1:1:1', SMOLLM2, 4);
    // Node 2 has query head 5 of KV head 1 and 6 of KV head 2.
    const next = moved(four, { kind: 1, from: 2, to: 1, heads: 1 }, SMOLLM2);
    expect(heads(next)).toEqual([[[0, 3]], [[3, 6]], [[6, 7]], [[7, 9]]]);
    expect(next.stages[0].members.map(({ qHeads }) => kvHeadsOf(qHeads, SMOLLM2))).toEqual([
      [[0, 1]],
      [[1, 2]],
      [[2, 3]],
      [[2, 3]],
    ]);
  });

  test('narrow heads move in groups that fill a block of columns', () => {
    const narrow = { ...SMOLLM2, heads: 8, kvHeads: 8, headDim: 16 };
    const halves = plan('1:1', narrow, 2);
    expect(applyMove(halves, { kind: 1, from: 0, to: 1, heads: 1 }, narrow)).toEqual({
      refused:
        '1 KV heads of node 0 cannot move: heads of 16 values move in groups of 2, which fill blocks of 32 columns. Possible here: 2, 4.',
    });
    expect(heads(moved(halves, { kind: 1, from: 0, to: 1, heads: 2 }, narrow))).toEqual([[[0, 2]], [[2, 8]]]);
  });

  test('in a later stage nodes count on, and the stage may be named or left open', () => {
    for (const stage of [undefined, 1, ANY_STAGE]) {
      const next = moved(hybrid, { kind: 1, from: 1, to: 2, heads: 1, stage }, SMOLLM2);
      expect(heads(next, 1)).toEqual([[[0, 3]], [[3, 9]]]);
      expect(next.stages[0]).toEqual(hybrid.stages[0]);
    }
  });

  test.each<[Move, string]>([
    [{ kind: 1, from: 0, to: 0 }, 'Node 0 cannot give to itself.'],
    [{ kind: 1, from: 0, to: 3 }, 'There is no node 3; the plan has nodes 0 to 2.'],
    [{ kind: 1, from: -1, to: 1 }, 'There is no node -1; the plan has nodes 0 to 2.'],
    [{ kind: 1, from: 0, to: 1 }, 'Node 0 is in stage 0 and node 1 in stage 1; shares move within a stage.'],
    [{ kind: 1, from: 1, to: 2, stage: 0 }, 'Nodes 1 and 2 are in stage 1, not in stage 0.'],
    [{ kind: 1, from: 1, to: 2, heads: 3 }, 'Node 1 has 2 KV heads, so 3 cannot move.'],
    [{ kind: 2, from: 1, to: 2, ffn: 800 }, 'Node 1 has 768 FFN columns, so 800 cannot move.'],
    [{ kind: 2, from: 1, to: 2, ffn: 40 }, 'FFN columns move in blocks of 32; 40 is not a multiple of it.'],
    [{ kind: 1, from: 1, to: 2, heads: 0 }, 'The move names nothing to move.'],
    [{ kind: 1, from: 1, to: 2, heads: -1 }, '-1 is no number of KV heads.'],
    [{ kind: 2, from: 1, to: 2, ffn: 32.5 }, '32.5 is no number of FFN columns.'],
    [{ kind: 4 as 3, from: 1, to: 2 }, 'Kind 4 is none of 1 (heads), 2 (FFN), 3 (both).'],
  ])('refused: %o', (move, refused) => {
    expect(applyMove(hybrid, move, SMOLLM2)).toEqual({ refused });
  });
});

describe('layers between stages', () => {
  test('forward from the end, backward from the start', () => {
    expect(moved(hybrid, { from: 0, to: 2, layers: 3 }, SMOLLM2).stages.map(({ layers }) => layers)).toEqual([
      [0, 11],
      [11, 30],
    ]);
    const back = moved(hybrid, { from: 1, to: 0, layers: 15 }, SMOLLM2);
    expect(back.stages.map(({ layers }) => layers)).toEqual([
      [0, 29],
      [29, 30],
    ]);
    expect(back.stages[1].members).toEqual(hybrid.stages[1].members);
    expect(back.epoch).toBe(5);
  });

  test.each<[string, number, Move, string]>([
    [
      '1@14*1:1@16',
      3,
      { from: 0, to: 1, layers: 14 },
      'Stage 0 has 14 layers and must keep at least one, so 14 cannot move.',
    ],
    [
      '1@14*1:1@16',
      3,
      { from: 1, to: 2, layers: 1 },
      'Nodes 1 and 2 are both in stage 1; layers move between neighbouring stages.',
    ],
    [
      '1*1*1',
      3,
      { from: 0, to: 2, layers: 1 },
      'Nodes 0 and 2 are in stages 0 and 2; layers move between neighbouring stages.',
    ],
    ['1*1*1', 3, { from: 0, to: 1, layers: 0 }, 'The move names no layers.'],
    ['1*1*1', 3, { from: 0, to: 1, layers: Number.NaN }, 'NaN is no number of layers.'],
    ['1*1*1', 3, { from: 0, to: 9, layers: 1 }, 'There is no node 9; the plan has nodes 0 to 2.'],
  ])('refused: %s %i %o', (text, devices, move, refused) => {
    expect(applyMove(plan(text, SMOLLM2, devices), move, SMOLLM2)).toEqual({ refused });
  });
});

describe('several moves, new ratios', () => {
  test('one after the other, one epoch', () => {
    const next = moved(
      hybrid,
      {
        moves: [
          { kind: 1, from: 1, to: 2, heads: 2 },
          { kind: 2, from: 2, to: 1, ffn: 768 },
          { from: 0, to: 1, layers: 1 },
        ],
      },
      SMOLLM2,
    );
    expect(heads(next, 1)).toEqual([[], [[0, 9]]]);
    expect(ffn(next, 1)).toEqual([[[0, 1536]], []]);
    expect(next.stages[0].layers).toEqual([0, 13]);
    expect(next.epoch).toBe(5);
  });

  test('all or none', () => {
    const moves = [
      { kind: 1 as const, from: 1, to: 2, heads: 2 },
      { kind: 1 as const, from: 1, to: 2, heads: 1 },
    ];
    expect(applyMove(hybrid, { moves }, SMOLLM2)).toEqual({ refused: 'Node 1 has 0 KV heads, so 1 cannot move.' });
  });

  test('no moves change nothing', () => {
    expect(applyMove(hybrid, { moves: [] }, SMOLLM2)).toEqual({ plan: hybrid });
  });

  test('ratios give the plan that they give at the start', () => {
    const ratios = parseRatios('1:1@20*1@10', { devices: 3, layers: 30 });
    const next = moved(hybrid, { ratios, devices: [11, 12, 5] }, SMOLLM2);
    expect(next).toEqual(makePlan(ratios, SMOLLM2, [11, 12, 5], 5));
    expect(applyMove(hybrid, { ratios, devices: [1, 2] }, SMOLLM2)).toEqual({
      refused: 'The ratios 1:1@20*1@10 are for 3 devices, but 2 would compute.',
    });
  });
});

describe('memory', () => {
  const limits = (room: Record<number, number>): Limits => ({
    matrixBytes: () => 1_000_000,
    positions: 0,
    room: (device) => room[device],
  });

  test('a receiver that would lack room is named, with both numbers', () => {
    // Device 11 holds 5 of 9 heads' worth after the move: q, o 6/9, k, v 2/3 and 576/1536 of gate, up, down, 30 layers.
    const move: Move = { kind: 1, from: 0, to: 1, heads: 1 };
    const wanted = 30e6 * (4 * (2 / 3) + 3 * (576 / 1536)) + 1e6 * (18432 / 49152);
    expect(applyMove(three, move, SMOLLM2, limits({ 11: wanted - 1e5 }))).toEqual({
      refused: 'Device 11 would need 114.1 MB for weights and context, but may use 114.0 MB.',
    });
    moved(three, move, SMOLLM2, limits({ 11: wanted + 1 }));
    // A giver above its limit may give, and an unknown limit allows everything.
    moved(three, move, SMOLLM2, limits({ 10: 1 }));
  });

  test('old and new share count together until the switch', () => {
    const swap: Move = {
      moves: [
        { kind: 1, from: 1, to: 2, heads: 1 },
        { kind: 1, from: 0, to: 1, heads: 1 },
      ],
    };
    const after = 30e6 * (4 / 3 + 3 * (576 / 1536)) + 1e6 * (18432 / 49152);
    const during = after + 30e6 * (4 / 3);
    expect(applyMove(three, swap, SMOLLM2, limits({ 11: after + 1e6 }))).toHaveProperty('refused');
    moved(three, swap, SMOLLM2, limits({ 11: during + 1 }));
  });
});

test('nodes count members over all stages', () => {
  expect(nodesOf(hybrid).map(({ node, stage, index }) => [node, stage, index])).toEqual([
    [0, 0, 0],
    [1, 1, 0],
    [2, 1, 1],
  ]);
  expect(nodeAt(hybrid, 2)).toMatchObject({ stage: 1, index: 1, member: { device: 12 } });
  expect(nodeAt(hybrid, 3)).toBeUndefined();
  expect(nodeOfDevice(hybrid, 11)).toMatchObject({ node: 1 });
  expect(nodeOfDevice(hybrid, 0)).toBeUndefined();
});

test('any sequence of moves keeps the plan sound, adds one epoch each, and moves what was asked', () => {
  const wishes = layouts.chain((layout) =>
    fc.record({ layout: fc.constant(layout), moves: fc.array(movesFor(layout.shape), { maxLength: 12 }) }),
  );
  let granted = 0;
  fc.assert(
    fc.property(wishes, ({ layout: { shape, ratios, devices }, moves }) => {
      let current = makePlan(ratios, shape, devices, 0);
      for (const move of moves) {
        const before = structuredClone(current);
        const result = applyMove(current, move, shape);
        expect(current).toEqual(before);
        if ('refused' in result) {
          expect(result.refused).toMatch(/^[A-Z0-9].*\.$/);
          continue;
        }
        granted++;
        expect(checkPlan(result.plan, shape)).toEqual([]);
        expect(result.plan.epoch).toBe(current.epoch + 1);
        if ('kind' in move) {
          const [giver, receiver] = [move.from, move.to].map((node) => [
            nodeAt(current, node)!.member,
            nodeAt(result.plan, node)!.member,
          ]);
          const columns = move.kind === 1 ? 0 : move.ffn!;
          expect(count(giver[0].ffn) - count(giver[1].ffn)).toBe(columns);
          expect(count(receiver[1].ffn) - count(receiver[0].ffn)).toBe(columns);
          const kvHeads = move.kind === 2 ? 0 : move.heads!;
          const kept = [giver[0], giver[1]].map(({ qHeads }) => count(kvHeadsOf(qHeads, shape)));
          expect(kept[0] - kept[1]).toBe(kvHeads);
          expect(giver[1].vocab).toEqual(giver[0].vocab);
        }
        current = result.plan;
      }
    }),
    { numRuns: 300 },
  );
  expect(granted).toBeGreaterThan(100);
});

test('all KV heads of a member may always move, whatever the width of heads', () => {
  fc.assert(
    fc.property(layouts, ({ shape, ratios, devices }) => {
      const before = makePlan(ratios, shape, devices, 0);
      const giver = nodesOf(before).find(({ member }) => count(member.qHeads) > 0)!;
      const receiver = nodesOf(before).find(({ stage, node }) => stage === giver.stage && node !== giver.node);
      fc.pre(receiver !== undefined);
      const all = count(kvHeadsOf(giver.member.qHeads, shape));
      const move: Move = { kind: 1, from: giver.node, to: receiver!.node, heads: all };
      expect(nodeAt(moved(before, move, shape), giver.node)!.member.qHeads).toEqual([]);
    }),
  );
});

test('between neighbours of a fresh plan with whole KV heads, away and back restores the plan', () => {
  const amounts = fc.record({
    pick: fc.nat(8),
    heads: fc.integer({ min: 1, max: 4 }),
    blocks: fc.integer({ min: 1, max: 9 }),
  });
  fc.assert(
    fc.property(layouts, amounts, fc.boolean(), ({ shape, ratios, devices }, { pick, heads: kv, blocks }, upward) => {
      const whole = ratios.stages.every(({ weights }) => weights.filter((w) => w > 0).length <= shape.kvHeads);
      fc.pre(whole && headUnit(shape) === 1);
      const before = makePlan(ratios, shape, devices, 0);
      const giver = pick % devices.length;
      const receiver = giver + (upward ? 1 : -1);
      const move = { kind: 3 as const, from: giver, to: receiver, heads: kv, ffn: 32 * blocks };
      const away = applyMove(before, move, shape);
      fc.pre('plan' in away);
      const back = moved((away as { plan: Plan }).plan, { ...move, from: receiver, to: giver }, shape);
      expect(back.stages).toEqual(before.stages);
    }),
  );
});
