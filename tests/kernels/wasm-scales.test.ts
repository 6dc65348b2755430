/** Scales and minima of 16 bits: which tiles have them, that they are exact, and that nothing else is taken for one. */
import { describe, expect, test } from 'vitest';
import type { Backend, Step, TileData } from '../../web/device/backend.ts';
import { createWasmBackend } from '../../web/device/wasm/index.ts';
import { halfTable } from '../../web/model/quant.ts';
import { kernelModule } from '../support/node-model.ts';
import { hyperOf, randomSource, randomTile, TILE_KINDS, type TileKind } from './random-model.ts';
import { tileValues } from './reference-backend.ts';

type Blocks = Extract<TileData, { kind: 'q4' | 'q8' }>;

/** A backend whose embedding and head have rows of so many columns, with plain or relaxed SIMD. */
async function backendOf(dim: number, maxBatch = 4, plain = false): Promise<Backend> {
  const shape = { layers: 1, dim, heads: 1, kvHeads: 1, headDim: 32, ffn: 32, vocab: 8 };
  const module = kernelModule(plain ? 'plain' : 'relaxed');
  return createWasmBackend({ hyper: hyperOf(shape), context: maxBatch, maxBatch, threads: 1, plain, module });
}

function randomBlocks(kind: TileKind, rows: number, cols: number): Blocks {
  const tile = randomTile(kind, rows, cols, randomSource(5));
  if ('values' in tile) throw new Error('Plain values have no scales.');
  return tile;
}

/** Logits of positions whose columns are like sines, with a norm weight for all of them. */
async function logitsOf(data: TileData, { count = 1, norm = 1, plain = false } = {}): Promise<Float32Array> {
  const backend = await backendOf(data.cols, 4, plain);
  backend.setHead(
    [{ tile: await backend.addTile('head', data), row: 0, col: 0 }],
    new Float32Array(data.cols).fill(norm),
  );
  const step: Step = {
    ...{ position: 0, count, residual: Float32Array.from({ length: count * data.cols }, (_, i) => Math.sin(i + 1)) },
    ...{ ops: [{ op: 'head', positions: 'all' }], output: 'logits' },
  };
  const logits = (await backend.run(step)).slice();
  backend.destroy();
  return logits;
}

/** All values of a tile, one position a row. */
async function valuesOf(data: TileData): Promise<Float32Array> {
  const { rows, cols } = data;
  const backend = await backendOf(cols, rows);
  backend.setEmbedding([{ tile: await backend.addTile('embedding', data), row: 0, col: 0 }]);
  const ids = Uint32Array.from({ length: rows }, (_, row) => row);
  const values = await backend.run({ position: 0, count: rows, ids, ops: [{ op: 'embed' }], output: 'residual' });
  backend.destroy();
  return values.slice();
}

/** A tile with another number in the first block of a row. */
function withNumber(data: Blocks, of: 'scales' | 'mins', row: number, value: number): Blocks {
  const numbers = data[of]?.slice();
  if (!numbers) throw new Error('This tile has no minima.');
  numbers[(row * data.cols) / data.block] = value;
  return { ...data, [of]: numbers };
}

async function bytesOf(data: TileData): Promise<number> {
  return (await (await backendOf(data.cols)).addTile('q', data)).bytes;
}

test('a block of 32 weights takes what its scales need', async () => {
  const bytes = async (kind: TileKind) =>
    [kind, (await bytesOf(randomTile(kind, 8, 64, randomSource(3)))) / 16] as const;
  expect(Object.fromEntries(await Promise.all(TILE_KINDS.map(bytes)))).toEqual({
    ...{ q4: 24, 'q4-halves': 20, 'q4-eight': 18 },
    ...{ q8: 36, 'q8-halves': 34, 'q8-16': 40, 'q8-mins': 40, 'q8-mins-halves': 36 },
    ...{ f32: 128, f16: 64, bf16: 64 },
  });
});

describe('every half below 128, subnormals too, stays what it is in 16 bits', () => {
  const halves = halfTable().filter((value) => Math.abs(value) < 128);
  const shape = { rows: halves.length / 64, cols: 64 * 32 };
  const size = shape.rows * shape.cols;
  const cases: Record<string, { data: Blocks; bytes: number }> = {
    scale: {
      data: { ...shape, kind: 'q8', block: 32, quants: new Int8Array(size).fill(1), scales: halves },
      bytes: 34,
    },
    minimum: {
      data: {
        ...{ ...shape, kind: 'q4', block: 32, quants: new Uint8Array(size / 2) },
        ...{ scales: halves.slice().reverse(), mins: halves },
      },
      bytes: 20,
    },
  };
  test.each(Object.keys(cases))('as a %s', async (what) => {
    const { data, bytes } = cases[what]!;
    expect(await bytesOf(data)).toBe((size / 32) * bytes);
    const values = await valuesOf(data);
    expect(values.findIndex((value, i) => value !== halves[i >> 5])).toBe(-1);
  });
});

describe.each(['q4-halves', 'q4-eight', 'q8-halves', 'q8-mins-halves'] as const)('%s tiles', (kind) => {
  const data = randomBlocks(kind, 11, 160);
  const rowOf = (values: Float32Array, row: number) =>
    values.slice((row * values.length) / data.rows, ((row + 1) * values.length) / data.rows);

  test.each([
    [1, false],
    [1, true],
    [3, false],
  ])('give the bits that f32 scales give: %i positions, plain SIMD %s', async (count, plain) => {
    // One scale that is no half, and all of them are f32.
    const wide = withNumber(data, 'scales', 10, Math.fround(0.1));
    expect(await bytesOf(wide)).toBeGreaterThan(await bytesOf(data));
    const [short, long] = [await logitsOf(data, { count, plain }), await logitsOf(wide, { count, plain })];
    const equal = Array.from(short, (logit, i) => logit === long[i]);
    expect(equal).toEqual(Array.from(short, (_, i) => i % 11 !== 10));
  });

  test.each([128, -65504, Number.POSITIVE_INFINITY, Number.NaN])(
    'with a scale of %s change in its row alone',
    async (bad) => {
      const numbers = data.mins && kind !== 'q4-eight' ? (['scales', 'mins'] as const) : (['scales'] as const);
      for (const of of numbers) {
        const changed = withNumber(data, of, 4, bad);
        const [values, before] = [await valuesOf(changed), await valuesOf(data)];
        const [logits, logitsBefore] = [await logitsOf(changed), await logitsOf(data)];
        for (let row = 0; row < 11; row++) {
          if (row === 4) continue;
          expect(rowOf(values, row)).toEqual(rowOf(before, row));
          expect(logits[row]).toBe(logitsBefore[row]);
        }
        const tile = tileValues(changed);
        // Zeros may have either sign.
        expect(rowOf(values, 4).map((v) => v + 0)).toEqual(Float32Array.from(tile.subarray(4 * 160, 5 * 160)));
        expect(Number.isFinite(logits[4])).toBe(Number.isFinite(bad));
      }
    },
  );
});

test.each(['q4', 'q4-halves', 'q4-eight', 'q8', 'q8-halves', 'q8-16', 'q8-mins', 'q8-mins-halves'] as const)(
  '%s tiles take activations from 2^-40 to 2^60 as they take those around 1',
  async (kind) => {
    const data = randomBlocks(kind, 8, 160);
    const ones = await logitsOf(data);
    for (const factor of [2 ** -40, 2 ** 60]) {
      expect(await logitsOf(data, { norm: factor })).toEqual(ones.map((logit) => logit * factor));
    }
  },
);
