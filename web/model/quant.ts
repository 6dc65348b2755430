/**
 * The block formats of GGML tensors, and a plain reading of them to floats.
 * Source of the layouts: ggml-common.h and ggml-quants.c of ggml-org/llama.cpp.
 */
import { ModelError, type TensorType } from './types.ts';

/** Values and bytes of one block. A row of a tensor is a whole number of blocks. */
export const BLOCKS: Readonly<Record<TensorType, { values: number; bytes: number }>> = {
  F32: { values: 1, bytes: 4 },
  F16: { values: 1, bytes: 2 },
  BF16: { values: 1, bytes: 2 },
  Q4_0: { values: 32, bytes: 18 },
  Q4_1: { values: 32, bytes: 20 },
  Q5_0: { values: 32, bytes: 22 },
  Q5_1: { values: 32, bytes: 24 },
  Q8_0: { values: 32, bytes: 34 },
  Q4_K: { values: 256, bytes: 144 },
  Q5_K: { values: 256, bytes: 176 },
  Q6_K: { values: 256, bytes: 210 },
};

/** Bytes of `cols` values in a row; `cols` must be whole blocks. */
export function bytesOfValues(type: TensorType, cols: number): number {
  const block = BLOCKS[type];
  if (cols % block.values !== 0) {
    throw new ModelError('corrupt', `${cols} values are not whole ${type} blocks of ${block.values}.`);
  }
  return (cols / block.values) * block.bytes;
}

/** The smallest run of whole blocks of `type` that covers columns [from, to). */
export function widenColumns(type: TensorType, [from, to]: readonly [number, number]): [from: number, to: number] {
  const { values } = BLOCKS[type];
  return [Math.floor(from / values) * values, Math.ceil(to / values) * values];
}

let halves: Float32Array | undefined;

/** Values of all 65,536 half-precision floats, by their bits. 256 KiB, made on first use. */
export function halfTable(): Float32Array {
  halves ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => halfToFloat(bits));
  return halves;
}

/** Value of an IEEE half-precision float from its 16 bits. Exact. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

const bfloat = new DataView(new ArrayBuffer(4));

/** Value of a bfloat16 from its 16 bits: the upper half of an f32. Exact. */
export function bfloatToFloat(bits: number): number {
  bfloat.setUint32(0, bits << 16);
  return bfloat.getFloat32(0);
}

/**
 * Reads `count` values (whole blocks) of a tensor's bytes to f32, rounded once as GGML does. Clear rather than fast:
 * for vectors of norms and biases, and as the reference that the repacker and the kernels are tested against.
 */
export function dequantize(type: TensorType, raw: Uint8Array, count: number): Float32Array {
  const need = bytesOfValues(type, count);
  if (raw.length < need) {
    throw new ModelError('truncated', `${count} ${type} values take ${need} bytes, but there are only ${raw.length}.`);
  }
  const out = new Float32Array(count);
  const block = BLOCKS[type];
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const read = READERS[type];
  for (let i = 0; i < count / block.values; i++) {
    read(view, i * block.bytes, (index, value) => {
      out[i * block.values + index] = value;
    });
  }
  return out;
}

/** Reads one block at `at` and gives its values by index. */
type BlockReader = (view: DataView, at: number, put: (index: number, value: number) => void) => void;

const f16 = (view: DataView, at: number) => halfToFloat(view.getUint16(at, true));

const READERS: Record<TensorType, BlockReader> = {
  F32: (view, at, put) => put(0, view.getFloat32(at, true)),
  F16: (view, at, put) => put(0, f16(view, at)),
  BF16: (view, at, put) => put(0, bfloatToFloat(view.getUint16(at, true))),
  Q4_0: (view, at, put) => {
    const d = f16(view, at);
    for (let i = 0; i < 32; i++) put(i, d * (nibble(view, at + 2, i) - 8));
  },
  Q4_1: (view, at, put) => {
    const d = f16(view, at);
    const m = f16(view, at + 2);
    for (let i = 0; i < 32; i++) put(i, d * nibble(view, at + 4, i) + m);
  },
  Q5_0: (view, at, put) => {
    const d = f16(view, at);
    const high = view.getUint32(at + 2, true);
    for (let i = 0; i < 32; i++) put(i, d * ((nibble(view, at + 6, i) | (((high >>> i) & 1) << 4)) - 16));
  },
  Q5_1: (view, at, put) => {
    const d = f16(view, at);
    const m = f16(view, at + 2);
    const high = view.getUint32(at + 4, true);
    for (let i = 0; i < 32; i++) put(i, d * (nibble(view, at + 8, i) | (((high >>> i) & 1) << 4)) + m);
  },
  Q8_0: (view, at, put) => {
    const d = f16(view, at);
    for (let i = 0; i < 32; i++) put(i, d * view.getInt8(at + 2 + i));
  },
  Q4_K: (view, at, put) => {
    const d = f16(view, at);
    const dmin = f16(view, at + 2);
    for (let i = 0; i < 256; i++) {
      const { scale, min } = kScale(view, at + 4, i >> 5);
      put(i, d * scale * kNibble(view, at + 16, i) - dmin * min);
    }
  },
  Q5_K: (view, at, put) => {
    const d = f16(view, at);
    const dmin = f16(view, at + 2);
    for (let i = 0; i < 256; i++) {
      const { scale, min } = kScale(view, at + 4, i >> 5);
      const high = (view.getUint8(at + 16 + (i & 31)) >> (i >> 5)) & 1;
      put(i, d * scale * (kNibble(view, at + 48, i) | (high << 4)) - dmin * min);
    }
  },
  Q6_K: (view, at, put) => {
    const d = f16(view, at + 208);
    for (let i = 0; i < 256; i++) {
      // Two halves of 128 values; in each, four runs of 32: low nibbles of 64 bytes, then their high nibbles.
      const half = i >> 7;
      const run = (i >> 5) & 3;
      const low = view.getUint8(at + half * 64 + (i & 31) + (run & 1) * 32) >> (run & 2 ? 4 : 0);
      const high = view.getUint8(at + 128 + half * 32 + (i & 31)) >> (2 * run);
      const q = ((low & 15) | ((high & 3) << 4)) - 32;
      put(i, d * view.getInt8(at + 192 + (i >> 4)) * q);
    }
  },
};

/** Element `i` of 32: the low nibbles of 16 bytes, then their high nibbles. */
function nibble(view: DataView, at: number, i: number): number {
  return i < 16 ? view.getUint8(at + i) & 15 : view.getUint8(at + i - 16) >> 4;
}

/** Element `i` of 256: per 32 bytes the low nibbles, then the high ones. */
function kNibble(view: DataView, at: number, i: number): number {
  const byte = view.getUint8(at + (i >> 6) * 32 + (i & 31));
  return i & 32 ? byte >> 4 : byte & 15;
}

/** The 6-bit scale and minimum of sub-block `j` (0..7), packed in 12 bytes. */
function kScale(view: DataView, at: number, j: number): { scale: number; min: number } {
  const byte = (i: number) => view.getUint8(at + i);
  if (j < 4) return { scale: byte(j) & 63, min: byte(j + 4) & 63 };
  return {
    scale: (byte(j + 4) & 15) | ((byte(j - 4) >> 6) << 4),
    min: (byte(j + 4) >> 4) | ((byte(j) >> 6) << 4),
  };
}
