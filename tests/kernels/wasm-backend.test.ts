/** The WASM kernels against the float64 reference: every kind of tile, odd shapes, both SIMD variants bit for bit. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Backend, Step, StepOp } from '../../web/device/backend.ts';
import { decodeBest } from '../../web/device/best.ts';
import { soloLayers } from '../../web/device/executor.ts';
import { createWasmBackend } from '../../web/device/wasm/index.ts';
import type { HyperParameters } from '../../web/model/types.ts';
import { CUT_OPTIONS, cutInParts } from './cut-tiles.ts';
import { BEST_ROWS, findBestOf } from './find-best.ts';
import { type RandomShape, randomModel, relativeError, TILE_KINDS, type TileKind } from './random-model.ts';
import { createReferenceBackend } from './reference-backend.ts';

/**
 * Relative to the largest logit. Both sides keep 16-bit KV; what is left is f32 (or 24-bit integers) against float64, and now
 * and then a KV value so close to half a unit that the two round it apart: one unit is 2^-15 of its vector's largest, and half a dozen positions attend to it.
 */
const TOLERANCE = 1e-4;
const CONTEXT = 96;
const MAX_BATCH = 32;

const module = (name: string) =>
  new WebAssembly.Module(readFileSync(new URL(`../../wasm-cpu/build/${name}.wasm`, import.meta.url)));

const wasm = (hyper: HyperParameters, plain: boolean) =>
  createWasmBackend({
    ...{ hyper, context: CONTEXT, maxBatch: MAX_BATCH, threads: 1, plain },
    module: module(plain ? 'plain' : 'relaxed'),
  });

const reference = (hyper: HyperParameters) =>
  createReferenceBackend({ hyper, context: CONTEXT, maxBatch: MAX_BATCH, rounding: true });

const SMALL: RandomShape = { layers: 2, dim: 64, heads: 4, kvHeads: 2, headDim: 16, ffn: 96, vocab: 70 };
const GROUPED: RandomShape = { layers: 2, dim: 192, heads: 3, kvHeads: 1, headDim: 64, ffn: 160, vocab: 101 };
const WIDE_HEADS: RandomShape = { ...SMALL, dim: 96, heads: 6, kvHeads: 6, headDim: 80, ffn: 32, ropeLayout: 'halves' };
const QWEN: RandomShape = {
  ...SMALL,
  heads: 4,
  kvHeads: 4,
  headDim: 40,
  ropeLayout: 'halves',
  bias: true,
  headNorm: true,
};
const PART_ROPE: RandomShape = { ...SMALL, ropeDims: 8 };

const wholeToken = (layers: number): StepOp[] => [{ op: 'embed' }, ...soloLayers([0, layers])];

async function compare(shape: RandomShape, kinds: TileKind[], pieces = 1): Promise<void> {
  const model = randomModel(shape, kinds, pieces, 7);
  const [relaxed, plain] = [await wasm(model.hyper, false), await wasm(model.hyper, true)];
  const exact = reference(model.hyper);
  for (const backend of [relaxed, plain, exact]) await model.install(backend);
  let position = 0;
  for (const count of [5, 1, 32, 2, 1]) {
    const ids = Uint32Array.from({ length: count }, (_, t) => (17 * (position + t) + 3) % shape.vocab);
    const step: Step = {
      position,
      count,
      ids,
      ops: [...wholeToken(shape.layers), { op: 'head', positions: 'all' }],
      output: 'logits',
    };
    const expected = await exact.run(step);
    const actual = (await relaxed.run(step)).slice();
    expect(relativeError(actual, expected), `count ${count}`).toBeLessThan(TOLERANCE);
    expect(relativeError(await plain.run(step), expected), `plain, count ${count}`).toBeLessThan(TOLERANCE);
    position += count;
  }
  await compareKv(relaxed, exact, shape, position);
}

/** Every step's logits against the reference, over rows of two chunks (384) and many blocks (48) of cached positions. */
async function compareLong(heads: number, kvHeads: number, headDim: number): Promise<void> {
  const shape: RandomShape = { layers: 1, dim: 64, heads, kvHeads, headDim, ffn: 32, vocab: 33 };
  const model = randomModel(shape, ['f32'], 1, 5);
  const options = { hyper: model.hyper, context: 480, maxBatch: 64 };
  const [relaxed, plain] = await Promise.all(
    ['relaxed', 'plain'].map((name) =>
      createWasmBackend({ ...options, threads: 1, plain: name === 'plain', module: module(name) }),
    ),
  );
  const exact = createReferenceBackend({ ...options, rounding: true });
  for (const backend of [relaxed, plain, exact]) await model.install(backend);
  let position = 0;
  for (const count of [64, 64, 64, 63, 1, 1, 1, 2, 59, 64, 1, 1, 1, 3, 33, 21, 1]) {
    const ids = Uint32Array.from({ length: count }, (_, t) => (17 * (position + t) + 3) % shape.vocab);
    const ops: StepOp[] = [...wholeToken(1), { op: 'head', positions: 'all' }];
    const step: Step = { position, count, ids, ops, output: 'logits' };
    const expected = await exact.run(step);
    const name = `${count} positions from ${position} on`;
    expect(relativeError(await relaxed.run(step), expected), name).toBeLessThan(TOLERANCE);
    expect(relativeError(await plain.run(step), expected), `plain, ${name}`).toBeLessThan(TOLERANCE);
    position += count;
  }
}

async function compareKv(a: Backend, b: Backend, shape: RandomShape, positions: number): Promise<void> {
  for (let head = 0; head < shape.kvHeads; head++) {
    const [x, y] = [await a.readKv(0, head, 0, positions), await b.readKv(0, head, 0, positions)];
    const values = (ints: Int16Array, scales: Float32Array) =>
      Float32Array.from(ints, (q, i) => q * scales[Math.floor(i / shape.headDim)]);
    expect(relativeError(values(x.k, x.kScales), values(y.k, y.kScales))).toBeLessThan(TOLERANCE);
    expect(relativeError(values(x.v, x.vScales), values(y.v, y.vScales))).toBeLessThan(TOLERANCE);
  }
}

describe('every kind of tile', () => {
  for (const kind of TILE_KINDS) {
    test(kind, () => compare(SMALL, [kind]));
    test(`${kind} in three tiles a matrix`, () => compare(GROUPED, [kind], 3));
  }
  test('mixed kinds', () => compare(GROUPED, ['q4', 'q8', 'f16', 'q8-16', 'bf16', 'q8-mins', 'f32', 'q8'], 2));
});

describe('shapes', () => {
  test('grouped heads, rows that are no multiple of 4', () =>
    compare(GROUPED, ['q4', 'q4', 'q4', 'q4', 'q4', 'q4', 'q4', 'q8']));
  test('heads wider than 64, half-split rope, one block of FFN', () => compare(WIDE_HEADS, ['q4']));
  test('biases and head norms', () => compare(QWEN, ['q8', 'q4']));
  test('rope on a part of the head', () => compare(PART_ROPE, ['q4']));
});

describe('long rows, by query heads of a KV head and width of heads', () => {
  test('1, 16', () => compareLong(2, 2, 16));
  test('2, 80', () => compareLong(4, 2, 80));
  test('3, 32', () => compareLong(3, 1, 32));
  test('3, 64', () => compareLong(6, 2, 64));
  test('4, 64', () => compareLong(4, 1, 64));
  test('7, 128', () => compareLong(7, 1, 128));
});

/** Positions from `from` to `to` in steps of 64 at most; gives the last one's logits. */
async function runTo(backend: Backend, from: number, to: number, first: number): Promise<Float32Array> {
  const ops: StepOp[] = [...wholeToken(1), { op: 'head', positions: 'last' }];
  let logits = new Float32Array(0);
  for (let position = from; position < to; position += 64) {
    const count = Math.min(64, to - position);
    const ids = Uint32Array.from({ length: count }, (_, t) => (17 * (position + t) + first) % 33);
    logits = (await backend.run({ position, count, ids, ops, output: 'logits' })).slice();
  }
  return logits;
}

describe.each([16, 24, 80])('keys and values of heads of %i', (headDim) => {
  const shape: RandomShape = { layers: 1, dim: 64, heads: 4, kvHeads: 2, headDim, ffn: 32, vocab: 33 };
  const model = randomModel(shape, ['f32'], 1, 5);
  const make = async (context: number) => {
    const options = { hyper: model.hyper, context, maxBatch: 64, threads: 1 };
    const backend = await createWasmBackend({ ...options, module: module('relaxed') });
    await model.install(backend);
    return backend;
  };

  test('go over to a device of another context in ranges of any positions', async () => {
    const [from, to] = [await make(398), await make(900)];
    await runTo(from, 0, 394, 3);
    const ends = [0, 1, 8, 383, 385, 394];
    for (const head of [0, 1]) {
      for (const [i, end] of ends.slice(1).entries()) {
        const slice = await from.readKv(0, head, ends[i]!, end);
        await to.writeKv(0, head, ends[i]!, slice);
        expect(await to.readKv(0, head, ends[i]!, end)).toEqual(slice);
      }
      expect(await to.readKv(0, head, 0, 394)).toEqual(await from.readKv(0, head, 0, 394));
    }
    expect(await runTo(to, 394, 395, 3)).toEqual(await runTo(from, 394, 395, 3));
    expect(await runTo(to, 395, 398, 3)).toEqual(await runTo(from, 395, 398, 3));
  });

  test('are not read beyond the position of a token, whatever is left there', async () => {
    const context = 398;
    const [empty, used] = [await make(context), await make(context)];
    const k = new Int16Array(context * headDim).fill(-32768);
    const rest = {
      k,
      v: k,
      kScales: new Float32Array(context).fill(NaN),
      vScales: new Float32Array(context).fill(NaN),
    };
    for (const head of [0, 1]) await used.writeKv(0, head, 0, rest);
    const ends = [0, 1, 2, 3, 6, 8, 9, 13, 383, 384, 385, 386, 394, 395, context];
    for (const [i, end] of ends.slice(1).entries()) {
      const logits = await runTo(empty, ends[i]!, end, 3);
      expect(logits.every(Number.isFinite)).toBe(true);
      expect(await runTo(used, ends[i]!, end, 3)).toEqual(logits);
    }
  });

  test('are written anew from the position of an edit on', async () => {
    const [edited, fresh] = [await make(480), await make(480)];
    await runTo(edited, 0, 430, 3);
    await runTo(fresh, 0, 379, 3);
    for (const backend of [edited, fresh]) await runTo(backend, 379, 410, 4);
    for (const position of [410, 411]) {
      const after = await runTo(fresh, position, position + 1, 4);
      expect(await runTo(edited, position, position + 1, 4)).toEqual(after);
    }
  });
});

test('prefill in one batch and token by token agree', async () => {
  const model = randomModel(GROUPED, ['q4', 'q8', 'q4', 'q4', 'f16', 'q4'], 2, 3);
  const [batched, single] = [await wasm(model.hyper, false), await wasm(model.hyper, false)];
  for (const backend of [batched, single]) await model.install(backend);
  const ids = Uint32Array.from({ length: 9 }, (_, t) => 7 * t + 1);
  const ops: StepOp[] = [...wholeToken(GROUPED.layers), { op: 'head', positions: 'last' }];
  const together = (await batched.run({ position: 0, count: 9, ids, ops, output: 'logits' })).slice();
  let last = new Float32Array(0);
  for (let t = 0; t < 9; t++) {
    last = (await single.run({ position: t, count: 1, ids: ids.subarray(t), ops, output: 'logits' })).slice();
  }
  expect(relativeError(last, together)).toBeLessThan(TOLERANCE);
});

test('batches of any size above one give the same bits', async () => {
  const model = randomModel(GROUPED, ['q4', 'q8', 'q4', 'q4', 'f16', 'q4'], 2, 3);
  const [whole, parts] = [await wasm(model.hyper, false), await wasm(model.hyper, false)];
  for (const backend of [whole, parts]) await model.install(backend);
  const ids = Uint32Array.from({ length: 9 }, (_, t) => 7 * t + 1);
  const ops: StepOp[] = [...wholeToken(GROUPED.layers), { op: 'head', positions: 'last' }];
  const together = (await whole.run({ position: 0, count: 9, ids, ops, output: 'logits' })).slice();
  await parts.run({ position: 0, count: 2, ids, ops, output: 'none' });
  await parts.run({ position: 2, count: 4, ids: ids.subarray(2), ops, output: 'none' });
  expect(await parts.run({ position: 6, count: 3, ids: ids.subarray(6), ops, output: 'logits' })).toEqual(together);
});

/** Sums of f32 products are fused in relaxed SIMD alone; a matrix times one position has sums of integers. */
test('products with one position have the same bits in plain and relaxed SIMD', async () => {
  // An FFN has gate, up and down: the fifth to seventh kind, and the last is the head's.
  for (const [gate, up, down, head] of [
    ['f16', 'q4', 'bf16', 'q4'],
    ['q4-halves', 'q4-eight', 'q4-halves', 'q8-halves'],
    ['q8', 'q8-mins', 'q8-16', 'q8-mins-halves'],
  ] as TileKind[][]) {
    const model = randomModel(GROUPED, ['q4', 'q4', 'q4', 'q4', gate!, up!, down!, head!], 3, 11);
    const [relaxed, plain] = [await wasm(model.hyper, false), await wasm(model.hyper, true)];
    for (const backend of [relaxed, plain]) await model.install(backend);
    const ffn = [0, 1].flatMap((layer): StepOp[] => [{ op: 'ffn', layer }, { op: 'merge' }]);
    const ops: StepOp[] = [{ op: 'embed' }, ...ffn, { op: 'head', positions: 'last' }];
    for (let t = 0; t < 6; t++) {
      const step: Step = { position: t, count: 1, ids: Uint32Array.of(9 * t + 2), ops, output: 'logits' };
      expect(await plain.run(step)).toEqual((await relaxed.run(step)).slice());
    }
  }
});

test('timing the operations changes no bit, and names every one of every layer', async () => {
  const model = randomModel(GROUPED, ['q4', 'q8', 'f16'], 3, 11);
  const [plainly, timed] = [await wasm(model.hyper, false), await wasm(model.hyper, false)];
  for (const backend of [plainly, timed]) await model.install(backend);
  const ops: StepOp[] = [...wholeToken(GROUPED.layers), { op: 'head', positions: 'last' }];
  let position = 0;
  for (const count of [5, 1]) {
    const step: Step = {
      position,
      count,
      ids: Uint32Array.from({ length: count }, (_, t) => 3 * t + 2),
      ops,
      output: 'logits',
    };
    const expected = (await plainly.run(step)).slice();
    const seen = new Set<string>();
    let total = 0;
    const actual = await timed.run({
      ...step,
      timer(operation, layer, ms) {
        seen.add(`${operation} ${layer ?? ''}`.trim());
        total += ms;
      },
    });
    expect(actual).toEqual(expected);
    const halves = ['attentionNorm', 'qkv', 'rope', 'scores', 'join', 'o', 'ffnNorm', 'gateUp', 'act', 'down'];
    expect([...seen]).toEqual([
      'embed',
      ...[0, 1].flatMap((layer) => halves.map((name) => `${name} ${layer}`)),
      'head',
    ]);
    expect(total).toBeGreaterThan(0);
    position += count;
  }
});

test('a layer split over two members gives partial sums that add up', async () => {
  const model = randomModel(SMALL, ['q4'], 1, 5);
  const whole = await wasm(model.hyper, false);
  await model.install(whole);
  const residual = Float32Array.from({ length: SMALL.dim }, (_, i) => Math.sin(i));
  const step: Step = { position: 0, count: 1, residual, ops: [{ op: 'ffn', layer: 0 }], output: 'partial' };
  const partial = (await whole.run(step)).slice();
  const merged = (await whole.run({ ...step, ops: [...step.ops, { op: 'merge' }], output: 'residual' })).slice();
  expect(merged).toEqual(residual.map((v, i) => v + partial[i]));
  const added = (await whole.run({ ...step, add: partial, ops: [], output: 'residual' })).slice();
  expect(added).toEqual(merged);
});

for (const kind of TILE_KINDS) {
  test(`${kind} tiles that are cut compute together what the whole ones compute`, async () => {
    const backend = await wasm(CUT_OPTIONS.hyper, false);
    const { sum, first, bytes, between } = await cutInParts(backend, kind);
    expect(sum).toBeLessThan(TOLERANCE);
    expect(first).toBeGreaterThan(0.1);
    expect(bytes).toBe(1);
    expect(between).toBeUndefined();
  });
}

test('memory is given back', async () => {
  const model = randomModel(SMALL, ['q4'], 1, 5);
  const backend = await wasm(model.hyper, false);
  await model.install(backend);
  const before = backend.memory();
  expect(before.weights).toBeGreaterThan(0);
  const tile = await backend.addTile('q', { rows: 4, cols: 32, kind: 'f32', values: new Float32Array(128) });
  expect(backend.memory().weights).toBe(before.weights + tile.bytes);
  backend.dropTile(tile);
  backend.setLayer(1, undefined);
  expect(backend.memory().weights).toBe(before.weights);
  expect(backend.memory().kv).toBe(before.kv / 2);
});

test.each([392, 100])('heads of %i values, for which the kernels are not made, are refused', async (headDim) => {
  const { hyper } = randomModel({ ...SMALL, heads: 8, kvHeads: 8, headDim }, ['q4'], 1, 5);
  await expect(wasm(hyper, false)).rejects.toMatchObject({ code: 'unsupported' });
});

test('a step outside the context is refused', async () => {
  const model = randomModel(SMALL, ['q4'], 1, 5);
  const backend = await wasm(model.hyper, false);
  await expect(backend.run({ position: CONTEXT, count: 1, ops: [], output: 'none' })).rejects.toThrow(/context of 96/);
});

describe('candidates that the kernels find', () => {
  // Whole blocks of logits or not, a tail that is no whole vector, less than one block.
  test.each([
    [BEST_ROWS, false],
    [BEST_ROWS + 3, true],
    [1536, false],
    [70, false],
  ])('are those of all %i logits (plain: %s)', async (rows, plain) => {
    const found = await findBestOf((options) => wasm(options.hyper, plain), rows);
    expect(found).toHaveLength(7);
    for (const { actual, expected } of found) {
      expect(actual.ids).toEqual(expected.ids);
      expect(actual.logits).toEqual(expected.logits);
      if (Number.isNaN(expected.logSumExp)) expect(actual.logSumExp).toBeNaN();
      else expect(Math.abs(actual.logSumExp - expected.logSumExp)).toBeLessThan(1e-6);
    }
    expect(found.at(-1)!.actual.logSumExp).toBeNaN();
  });

  /** Three candidates of one head whose logits grow with their row, but for that of row 300. */
  async function threeBest(logit: number, temperature: number) {
    const rows = 520;
    const sizes = { dim: 32, heads: 1, kvHeads: 1, headDim: 32, ffn: 32 };
    const { hyper } = randomModel({ ...SMALL, ...sizes, layers: 1, vocab: rows }, ['f32'], 1, 7);
    const backend = await wasm(hyper, false);
    const values = Float32Array.from({ length: rows * 32 }, (_, i) => (i % 32 === 0 ? i / 32 : 0));
    values[300 * 32] = logit;
    const tile = await backend.addTile('head', { rows, cols: 32, kind: 'f32', values });
    backend.setHead([{ tile, row: 0, col: 0 }], new Float32Array(32).fill(1));
    const words = await backend.run({
      ...{ position: 0, count: 1, residual: new Float32Array(32).fill(1), ops: [{ op: 'head', positions: 'last' }] },
      ...{ output: 'best', best: { top: 3, temperature } },
    });
    return decodeBest(words, temperature, (row) => row);
  }

  test.each([Number.NaN, Number.POSITIVE_INFINITY])(
    'have a sum that is no number where a single logit is %s',
    async (bad) => {
      expect((await threeBest(bad, 1)).logSumExp).toBeNaN();
    },
  );

  test('have a sum at a temperature whose inverse is infinite in f32', async () => {
    const { ids, logits, logSumExp } = await threeBest(300, 1e-40);
    expect([...ids]).toEqual([519, 518, 517]);
    // Nothing but the first counts.
    expect(logSumExp / (logits[0]! / 1e-40)).toBeCloseTo(1, 12);
  });
});
