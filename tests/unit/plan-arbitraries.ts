/** Random model shapes, layouts and moves for the property tests of web/plan. */
import fc from 'fast-check';
import type { Move } from '../../web/plan/moves.ts';
import type { Ratios } from '../../web/plan/ratios.ts';
import type { ModelShape } from '../../web/plan/shape.ts';

/** Small models of every kind of head: odd counts, heads narrower and wider than a block, any grouping. */
export const shapes: fc.Arbitrary<ModelShape> = fc
  .record({
    layers: fc.integer({ min: 1, max: 12 }),
    dim: fc.constantFrom(32, 64, 576),
    kvHeads: fc.integer({ min: 1, max: 9 }),
    group: fc.integer({ min: 1, max: 5 }),
    headDim: fc.constantFrom(8, 16, 32, 64, 80, 128),
    blocks: fc.integer({ min: 1, max: 24 }),
    vocab: fc.integer({ min: 1, max: 700 }),
  })
  .map(({ group, blocks, ...rest }) => ({ ...rest, heads: rest.kvHeads * group, ffn: blocks * 32 }));

const weight = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 1, max: 9 }),
  fc.integer({ min: 1, max: 99_999 }).map((n) => n / 1000),
  fc.constantFrom(1e-6, 1e9),
);
const weights = (size: number) =>
  fc.array(weight, { minLength: size, maxLength: size }).filter((list) => list.some((value) => value > 0));

/** A layout of 1 to 9 devices over a model's layers. */
export function ratiosFor(layers: number): fc.Arbitrary<Ratios> {
  return fc
    .record({ devices: fc.integer({ min: 1, max: 9 }), stages: fc.integer({ min: 1, max: 4 }) })
    .chain(({ devices, stages }) => {
      const n = Math.min(stages, devices, layers);
      return fc.record({ members: composition(devices, n), layers: composition(layers, n) });
    })
    .chain((cut) =>
      fc
        .tuple(...cut.members.map(weights))
        .map((lists) => ({ stages: lists.map((list, i) => ({ weights: list, layers: cut.layers[i] })) })),
    );
}

/** `total` as a sum of `parts` whole numbers from 1. */
function composition(total: number, parts: number): fc.Arbitrary<number[]> {
  return fc
    .subarray(
      Array.from({ length: total - 1 }, (_, i) => i + 1),
      { minLength: parts - 1, maxLength: parts - 1 },
    )
    .map((borders) => [...borders, total].map((border, i) => border - (borders[i - 1] ?? 0)));
}

/** A shape, a layout for it and the devices in some order, not always from 0. */
export const layouts = shapes.chain((shape) =>
  ratiosFor(shape.layers).chain((ratios) => {
    const members = ratios.stages.flatMap(({ weights: list }) => list).length;
    return fc
      .shuffledSubarray([...Array(12).keys()], { minLength: members, maxLength: members })
      .map((devices) => ({ shape, ratios, devices }));
  }),
);

const node = fc.integer({ min: 0, max: 9 });
const shareMove = fc.record({
  kind: fc.constantFrom(1 as const, 2 as const, 3 as const),
  from: node,
  to: node,
  heads: fc.integer({ min: 0, max: 4 }),
  ffn: fc.oneof(
    fc.integer({ min: 0, max: 6 }).map((n) => n * 32),
    fc.constant(48),
  ),
});
const layersMove = fc.record({ from: node, to: node, layers: fc.integer({ min: 1, max: 5 }) });
const edge = fc.oneof(shareMove, layersMove);

/** Wishes, most of which some plan can grant. */
export function movesFor(shape: ModelShape): fc.Arbitrary<Move> {
  const ratiosMove = ratiosFor(shape.layers).map((ratios) => ({
    ratios,
    devices: ratios.stages.flatMap(({ weights: list }) => list).map((_, i) => i),
  }));
  return fc.oneof(
    { weight: 6, arbitrary: edge },
    { weight: 2, arbitrary: fc.record({ moves: fc.array(edge, { minLength: 1, maxLength: 3 }) }) },
    { weight: 1, arbitrary: ratiosMove },
  );
}
