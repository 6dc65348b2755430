/** Layout of tiles and tables of products for the shaders: what can be checked without a GPU. */
import { describe, expect, test } from 'vitest';
import { packHalves } from '../../web/device/webgpu/halves.ts';
import { layOut } from '../../web/device/webgpu/layout.ts';
import { type GpuTile, gatedProduct, product } from '../../web/device/webgpu/product.ts';
import { randomSource, randomTile, type TileKind } from './random-model.ts';
import { halfToNumber, tileValues } from './reference-backend.ts';

const BUNDLE = 8;
const chunk = {} as GpuTile['allocation']['chunk'];
let at = 0;

function tile(kind: TileKind, rows: number, cols: number, in_ = chunk): GpuTile {
  const { layout } = layOut(randomTile(kind, rows, cols, randomSource(1)));
  at += layout.bytes;
  return {
    rows,
    cols,
    bytes: layout.bytes,
    layout,
    allocation: { chunk: in_, at: at - layout.bytes, bytes: layout.bytes },
  };
}

describe('halves', () => {
  test('every finite half survives, subnormal ones too', () => {
    const values = Float32Array.from({ length: 1 << 16 }, (_, bits) => halfToNumber(bits)).filter(Number.isFinite);
    // All of them together span more than a half's normal range, so in runs of one exponent.
    for (let exponent = 0; exponent < 31; exponent++) {
      const some = values.filter((v) => v === 0 || Math.floor(Math.log2(Math.abs(v))) === exponent - 15);
      const packed = packHalves(some, some);
      expect(packed, `exponent ${exponent}`).toBeDefined();
      const wrong = some.filter((value, i) => {
        const [scale, min] = [packed!.words[i]! & 0xffff, packed!.words[i]! >>> 16];
        const subnormal = ((scale >>> 10) & 31) === 0 && (scale & 0x7fff) !== 0;
        return subnormal || [scale, min].some((bits) => halfToNumber(bits) * packed!.factor !== value);
      });
      expect(wrong).toEqual(new Float32Array(0));
    }
  });

  test('what is no half stays f32', () => {
    expect(packHalves(Float32Array.of(0.1), Float32Array.of(0))).toBeUndefined();
    expect(packHalves(Float32Array.of(1, 2 ** -31), Float32Array.of(0, 0)), 'too wide a range').toBeUndefined();
    expect(packHalves(Float32Array.of(0), Float32Array.of(0))!.words).toEqual(Uint32Array.of(0));
  });
});

describe('tiles', () => {
  test('f32 values lie in groups of four rows', () => {
    const data = randomTile('f32', 6, 32, randomSource(2));
    const { words, layout } = layOut(data);
    const floats = new Float32Array(words.buffer);
    const values = tileValues(data);
    expect(layout.rowGroups).toBe(2);
    for (let row = 0; row < 6; row++) {
      for (let col = 0; col < 32; col++) {
        expect(floats[(col * 2 + (row >> 2)) * 4 + (row & 3)]).toBe(Math.fround(values[row * 32 + col]!));
      }
    }
  });

  test('columns that do not fall on blocks are refused', () => {
    expect(() => layOut({ rows: 4, cols: 40, kind: 'f32', values: new Float32Array(160) })).toThrow(/40/);
  });

  test('4-bit tiles take 20 bytes a block with halves, 24 without', () => {
    const data = randomTile('q4', 8, 64, randomSource(3));
    const half = (v: number) => Math.round(v * 1024) / 1024;
    if (data.kind !== 'q4') throw new Error('randomTile gave another kind');
    expect(layOut(data).layout).toMatchObject({ format: 'q4', bytes: 16 * 24 });
    const halved = { ...data, scales: data.scales.map(half), mins: data.mins.map(half) };
    expect(layOut(halved).layout).toMatchObject({ format: 'q4h', bytes: 16 * 20 });
  });
});

describe('products', () => {
  test('matrices of one format share a dispatch, with a bundle for every 32 rows', () => {
    const [q, k] = [tile('q4', 64, 64), tile('q4', 40, 64)];
    const { dispatches, clear } = product(
      [
        { tiles: [{ tile: q, row: 0, col: 0 }], outRow: 0 },
        { tiles: [{ tile: k, row: 0, col: 0 }], outRow: 64 },
      ],
      104,
      BUNDLE,
    );
    expect(clear).toBe(false);
    expect(dispatches.map(({ bundles }) => bundles)).toEqual([4]);
    const table = dispatches[0]!.table;
    const bundle = (i: number) => [...table.subarray(4 + 8 * i, 12 + 8 * i)];
    // (first segment, segments, row group, output row), (rows, adds, -, -)
    expect(bundle(1)).toEqual([9, 1, 8, 32, 32, 0, 0, 0]);
    expect(bundle(3)).toEqual([11, 1, 8, 96, 8, 0, 0, 0]);
  });

  test('tiles side by side are summed in one dispatch, of two formats in two', () => {
    const left = { tile: tile('q4', 64, 64), row: 0, col: 0 };
    const right = { tile: tile('q4', 64, 32), row: 0, col: 64 };
    const other = { tile: tile('q8', 64, 32), row: 0, col: 64 };
    expect(product([{ tiles: [left, right], outRow: 0 }], 64, BUNDLE).dispatches).toHaveLength(1);
    const two = product([{ tiles: [left, other], outRow: 0 }], 64, BUNDLE);
    expect(two.clear).toBe(false);
    // The second adds to what the first has written.
    expect(two.dispatches.map(({ table }) => table[9])).toEqual([0, 1]);
  });

  test('tiles whose rows overlap halfway add to a cleared output', () => {
    const upper = { tile: tile('q4', 48, 32), row: 0, col: 0 };
    const lower = { tile: tile('q4', 48, 32), row: 16, col: 32 };
    const { clear, dispatches } = product([{ tiles: [upper, lower], outRow: 0 }], 64, BUNDLE);
    expect(clear).toBe(true);
    expect(dispatches.map(({ table }) => table[9])).toEqual([1, 1]);
  });

  test('gate and up are fused only where they lie alike on whole blocks', () => {
    const place = (rows: number, kind: TileKind = 'q4') => [{ tile: tile(kind, rows, 32), row: 0, col: 0 }];
    expect(gatedProduct(place(64), place(64), BUNDLE)).toHaveLength(1);
    expect(gatedProduct(place(64), place(64, 'q8'), BUNDLE)).toBeUndefined();
    const cut = [
      { tile: tile('q4', 32, 32), row: 0, col: 0 },
      { tile: tile('q4', 32, 32), row: 32, col: 0 },
    ];
    expect(gatedProduct(place(64), cut, BUNDLE)).toBeUndefined();
  });
});
