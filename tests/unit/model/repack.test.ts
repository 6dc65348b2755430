import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BLOCKS, bytesOfValues, dequantize, halfToFloat, widenColumns } from '../../../web/model/quant.ts';
import { repackPart } from '../../../web/model/repack.ts';
import type { TensorType } from '../../../web/model/types.ts';
import { failure, thrown } from './failure.ts';
import { unpackTile } from './unpack.ts';

const TYPES = Object.keys(BLOCKS) as TensorType[];
const QUANTIZED = TYPES.filter((type) => BLOCKS[type].values > 1);
/** Byte offsets of the half-precision scales and minima in a block. */
const HALVES: Partial<Record<TensorType, number[]>> = {
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q8_0: [0],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
};
/** Zero, both signs, subnormal, smallest, ordinary, largest. */
const SCALES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x83ff, 0x0400, 0x1234, 0x9234, 0x3c00, 0xbc00, 0x7bff, 0xfbff];

/** Valid raw bytes of `count` values: any quants, finite scales with the odd ones among them. */
function rawBlocks(type: TensorType, count: number): fc.Arbitrary<Uint8Array> {
  const bytes = bytesOfValues(type, count);
  return fc
    .tuple(
      fc.uint8Array({ minLength: bytes, maxLength: bytes }),
      fc.array(fc.oneof(fc.constantFrom(...SCALES), fc.nat(0x7bff)), { minLength: 8, maxLength: 8 }),
    )
    .map(([raw, scales]) => {
      const view = new DataView(raw.buffer, raw.byteOffset);
      const block = BLOCKS[type];
      for (let i = 0; i < bytes / block.bytes; i++) {
        for (const [j, at] of (HALVES[type] ?? []).entries()) {
          view.setUint16(i * block.bytes + at, scales[(2 * i + j) % scales.length]!, true);
        }
      }
      return raw;
    });
}

/** The part of a row-major matrix. */
function cut(values: Float32Array, width: number, rows: number, from: number, to: number): Float32Array {
  const out = new Float32Array(rows * (to - from));
  for (let row = 0; row < rows; row++)
    out.set(values.subarray(row * width + from, row * width + to), row * (to - from));
  return out;
}

/** Equal numbers; NaN equals NaN, and the sign of zero does not matter. */
function expectSame(found: Float32Array, expected: Float32Array): void {
  expect(found.length).toBe(expected.length);
  const wrong = found.findIndex(
    (value, i) => !(value === expected[i] || (Number.isNaN(value) && Number.isNaN(expected[i]))),
  );
  if (wrong >= 0) expect.fail(`value ${wrong} is ${found[wrong]}, expected ${expected[wrong]}`);
}

describe('repackPart', () => {
  it.each(TYPES)('keeps every value of random %s blocks exactly, whole and cut at 32 columns', (type) => {
    const rows = 3;
    const width = 512;
    fc.assert(
      fc.property(
        rawBlocks(type, rows * width),
        fc.tuple(fc.nat(15), fc.integer({ min: 1, max: 16 })).filter(([from, to]) => from < to),
        (raw, [from, to]) => {
          const cols: [number, number] = [1024 + from * 32, 1024 + to * 32];
          const widened = widenColumns(type, cols);
          const perRow = bytesOfValues(type, width);
          const low = bytesOfValues(type, widened[0] - 1024);
          const high = bytesOfValues(type, widened[1] - 1024);
          const part = new Uint8Array(rows * (high - low));
          for (let row = 0; row < rows; row++)
            part.set(raw.subarray(row * perRow + low, row * perRow + high), row * (high - low));
          // Memory that was used before, and longer than asked for.
          const used = (bytes: number) => new Uint8Array(new ArrayBuffer(bytes + 64)).fill(0xa5).subarray(0, bytes);
          const tile = repackPart(type, part, rows, widened, cols, used);
          expect(tile).toMatchObject({ rows, cols: cols[1] - cols[0] });
          const whole = dequantize(type, raw, rows * width);
          expectSame(unpackTile(tile), cut(whole, width, rows, from * 32, to * 32));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('keeps 4-bit weights in 4 bits', () => {
    for (const type of ['Q4_0', 'Q4_1', 'Q4_K'] as const) {
      const tile = repackPart(type, new Uint8Array(bytesOfValues(type, 256)), 1, [0, 256], [0, 256]);
      expect(tile.kind === 'q4' && tile.quants.length).toBe(128);
    }
  });

  it('copies plain values of odd widths', () => {
    const tile = repackPart('F32', new Uint8Array(new Float32Array([1, 2, 3, 4, 5, 6]).buffer), 2, [0, 3], [1, 3]);
    expect([...unpackTile(tile)]).toEqual([2, 3, 5, 6]);
  });

  it('reads bytes that do not start at an even address', () => {
    const raw = new Uint8Array(new ArrayBuffer(19), 1, 18).fill(0x11);
    expectSame(unpackTile(repackPart('Q4_0', raw, 1, [0, 32], [0, 32])), dequantize('Q4_0', raw, 32));
  });

  it('refuses parts that are too short or do not fall on blocks', () => {
    const raw = new Uint8Array(bytesOfValues('Q4_K', 256));
    expect(thrown(() => repackPart('Q4_K', raw, 2, [0, 256], [0, 256]))).toEqual(failure('truncated', /./));
    expect(thrown(() => repackPart('Q4_K', raw, 1, [0, 256], [0, 16]))).toEqual(failure('corrupt', /./));
    expect(thrown(() => repackPart('Q4_K', raw, 1, [0, 256], [224, 288]))).toEqual(failure('corrupt', /./));
    expect(thrown(() => repackPart('Q4_K', raw, 1, [0, 100], [0, 32]))).toEqual(failure('corrupt', /./));
  });
});

describe('dequantize', () => {
  it('reads half-precision floats, subnormal and special ones too', () => {
    expect(halfToFloat(0x3c00)).toBe(1);
    expect(halfToFloat(0xc000)).toBe(-2);
    expect(halfToFloat(0x0001)).toBe(2 ** -24);
    expect(halfToFloat(0x83ff)).toBe(-1023 * 2 ** -24);
    expect(halfToFloat(0x7bff)).toBe(65504);
    expect(halfToFloat(0xfc00)).toBe(Number.NEGATIVE_INFINITY);
    expect(halfToFloat(0x7e00)).toBeNaN();
  });

  it('reads a Q4_0 block by hand: low nibbles first, then high ones, around 8', () => {
    const raw = new Uint8Array(18);
    new DataView(raw.buffer).setUint16(0, 0x3800, true);
    raw[2] = 0xf0;
    const values = dequantize('Q4_0', raw, 32);
    expect([values[0], values[1], values[16]]).toEqual([-4, -4, 3.5]);
  });

  it.each(QUANTIZED)('reads %s blocks whose bytes are all zero as zeros', (type) => {
    const { values, bytes } = BLOCKS[type];
    expectSame(dequantize(type, new Uint8Array(bytes), values), new Float32Array(values));
  });
});
