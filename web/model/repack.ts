/**
 * From a file's blocks to the form that both backends start from (`TileData`, `docs/arithmetic.md`): blocks of 32 columns
 * (16 for Q6_K) with their own f32 scale and minimum. Every product made here is exact in f32.
 */
import type { Range } from '../plan/types.ts';
import { BLOCKS, bytesOfValues, halfTable } from './quant.ts';
import { ModelError, type TensorType, type TileData } from './types.ts';

/** Columns that a part is cut on, for every type with blocks. */
const CUT = 32;

/** Where the loops below read and how far: a row's bytes, and how many blocks of 32 to skip and to take. */
interface Layout {
  raw: Uint8Array;
  rows: number;
  /** Bytes from one row to the next. */
  stride: number;
  /** First and past-last block of 32 columns, counted from the start of the row's bytes. */
  from: number;
  to: number;
  take: Take;
}

/** Gives so many bytes, with anything in them, from the start of a buffer. */
type Take = (bytes: number) => Uint8Array<ArrayBuffer>;
const fresh: Take = (bytes) => new Uint8Array(bytes);

const takeFloats = ({ take }: Layout, count: number) => new Float32Array(take(4 * count).buffer, 0, count);
const takeSigned = ({ take }: Layout, count: number) => new Int8Array(take(count).buffer, 0, count);

/**
 * Repacks `rows` rows of raw blocks, which hold the columns `widened` (whole blocks of the type), to the columns `cols`.
 * Columns of types with blocks fall on 32. Memory for what comes out is asked of `take`. Throws ModelError `truncated` when
 * `raw` is too short, `corrupt` when the columns do not fit the blocks.
 */
export function repackPart(
  type: TensorType,
  raw: Uint8Array,
  rows: number,
  widened: Range,
  cols: Range,
  take: Take = fresh,
): TileData {
  const stride = bytesOfValues(type, widened[1] - widened[0]);
  if (raw.length < rows * stride) {
    throw new ModelError('truncated', `A part of ${rows * stride} bytes came with only ${raw.length}.`);
  }
  const from = cols[0] - widened[0];
  const to = cols[1] - widened[0];
  if (from < 0 || to < from || cols[1] > widened[1]) {
    throw new ModelError('corrupt', `Columns ${cols.join('..')} are not inside ${widened.join('..')}.`);
  }
  const shape = { rows, cols: to - from };
  if (BLOCKS[type].values === 1) return { ...shape, ...plainValues(type, { raw, rows, stride, from, to, take }) };
  if (from % CUT !== 0 || to % CUT !== 0) {
    throw new ModelError('corrupt', `Columns ${cols.join('..')} of a ${type} tensor do not fall on ${CUT}.`);
  }
  return { ...shape, ...blocks(type, { raw, rows, stride, from: from / CUT, to: to / CUT, take }) };
}

type Plain = { kind: 'f32'; values: Float32Array } | { kind: 'f16' | 'bf16'; values: Uint16Array };
type Q4 = { kind: 'q4'; block: 32; quants: Uint8Array; scales: Float32Array; mins: Float32Array };
type Q8 = { kind: 'q8'; block: 16 | 32; quants: Int8Array; scales: Float32Array; mins?: Float32Array };

/** Copies columns `from`..`to` of every row; for these types `from` and `to` count values. */
function plainValues(type: TensorType, { raw, rows, stride, from, to, take }: Layout): Plain {
  const { bytes } = BLOCKS[type];
  const width = (to - from) * bytes;
  const copy = take(rows * width);
  for (let row = 0; row < rows; row++) {
    const start = row * stride + from * bytes;
    copy.set(raw.subarray(start, start + width), row * width);
  }
  if (type === 'F32') return { kind: 'f32', values: new Float32Array(copy.buffer, 0, copy.length / 4) };
  return { kind: type === 'F16' ? 'f16' : 'bf16', values: new Uint16Array(copy.buffer, 0, copy.length / 2) };
}

function blocks(type: TensorType, layout: Layout): Q4 | Q8 {
  switch (type) {
    case 'Q4_0':
    case 'Q4_1':
      return fourBit(type, layout);
    case 'Q5_0':
    case 'Q5_1':
      return fiveBit(type, layout);
    case 'Q8_0':
      return eightBit(layout);
    case 'Q4_K':
      return fourBitK(layout);
    case 'Q5_K':
      return fiveBitK(layout);
    case 'Q6_K':
      return sixBitK(layout);
    default:
      throw new ModelError('unsupported', `Tensor type ${type} has no blocks to repack.`);
  }
}

function emptyQ4(layout: Layout): Q4 {
  const { rows, from, to, take } = layout;
  const count = rows * (to - from);
  return {
    kind: 'q4',
    block: 32,
    quants: take(count * 16),
    scales: takeFloats(layout, count),
    mins: takeFloats(layout, count),
  };
}

/** The file's nibbles already lie as a tile wants them: element j low, j + 16 high. Two bytes at a time. */
function fourBit(type: 'Q4_0' | 'Q4_1', layout: Layout): Q4 {
  const { rows, stride, from, to } = layout;
  const tile = emptyQ4(layout);
  const { scales, mins } = tile;
  const half = halfTable();
  const raw = pairs(layout.raw);
  const quants = pairs(tile.quants);
  const size = BLOCKS[type].bytes / 2;
  const head = size - 8;
  let block = 0;
  for (let row = 0; row < rows; row++) {
    let at = (row * stride) / 2 + from * size;
    for (let i = from; i < to; i++, at += size, block++) {
      const d = half[raw[at]!]!;
      scales[block] = d;
      mins[block] = head === 1 ? -8 * d : half[raw[at + 1]!]!;
      copyEight(raw, at + head, quants, block * 8);
    }
  }
  return tile;
}

/** Written out, since as a loop it takes twice as long. */
function copyEight(from: Uint16Array, at: number, to: Uint16Array, place: number): void {
  to[place] = from[at]!;
  to[place + 1] = from[at + 1]!;
  to[place + 2] = from[at + 2]!;
  to[place + 3] = from[at + 3]!;
  to[place + 4] = from[at + 4]!;
  to[place + 5] = from[at + 5]!;
  to[place + 6] = from[at + 6]!;
  to[place + 7] = from[at + 7]!;
}

/** The same bytes as little-endian pairs, of which blocks are made; copies only where they are not aligned. */
function pairs(bytes: Uint8Array | Int8Array): Uint16Array {
  if (bytes.byteOffset % 2 === 0) return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1);
  return new Uint16Array(bytes.slice().buffer, 0, bytes.byteLength >> 1);
}

function fiveBit(type: 'Q5_0' | 'Q5_1', layout: Layout): Q8 {
  const { raw, rows, stride, from, to } = layout;
  const half = halfTable();
  const size = BLOCKS[type].bytes;
  const withMin = type === 'Q5_1';
  const offset = withMin ? 0 : 16;
  const count = rows * (to - from);
  const quants = takeSigned(layout, count * 32);
  const scales = takeFloats(layout, count);
  const mins = takeFloats(layout, withMin ? count : 0);
  let block = 0;
  for (let row = 0; row < rows; row++) {
    let at = row * stride + from * size;
    for (let i = from; i < to; i++, at += size, block++) {
      scales[block] = half[raw[at]! | (raw[at + 1]! << 8)]!;
      if (withMin) mins[block] = half[raw[at + 2]! | (raw[at + 3]! << 8)]!;
      const low = at + size - 16;
      const high = raw[low - 4]! | (raw[low - 3]! << 8) | (raw[low - 2]! << 16) | (raw[low - 1]! << 24);
      const target = block * 32;
      for (let j = 0; j < 16; j++) {
        const byte = raw[low + j]!;
        quants[target + j] = ((byte & 15) | (((high >>> j) & 1) << 4)) - offset;
        quants[target + j + 16] = ((byte >> 4) | (((high >>> (j + 16)) & 1) << 4)) - offset;
      }
    }
  }
  return withMin ? { kind: 'q8', block: 32, quants, scales, mins } : { kind: 'q8', block: 32, quants, scales };
}

/** Two bytes at a time, as `fourBit`. */
function eightBit(layout: Layout): Q8 {
  const { rows, stride, from, to } = layout;
  const half = halfTable();
  const raw = pairs(layout.raw);
  const size = BLOCKS.Q8_0.bytes / 2;
  const count = rows * (to - from);
  const quants = takeSigned(layout, count * 32);
  const target = pairs(quants);
  const scales = takeFloats(layout, count);
  let block = 0;
  for (let row = 0; row < rows; row++) {
    let at = (row * stride) / 2 + from * size;
    for (let i = from; i < to; i++, at += size, block++) {
      scales[block] = half[raw[at]!]!;
      copyEight(raw, at + 1, target, block * 16);
      copyEight(raw, at + 9, target, block * 16 + 8);
    }
  }
  return { kind: 'q8', block: 32, quants, scales };
}

/**
 * The 6-bit scale of sub-block `j` (0..7) of a Q4_K or Q5_K superblock whose 12 packed bytes start at `at`.
 * Its minimum lies behind `min`.
 */
function packedScale(raw: Uint8Array, at: number, j: number, min: boolean): number {
  if (j < 4) return raw[at + j + (min ? 4 : 0)]! & 63;
  const byte = raw[at + j + 4]!;
  return min ? (byte >> 4) | ((raw[at + j]! >> 6) << 4) : (byte & 15) | ((raw[at + j - 4]! >> 6) << 4);
}

function fourBitK(layout: Layout): Q4 {
  const { raw, rows, stride, from, to } = layout;
  const tile = emptyQ4(layout);
  const { quants, scales, mins } = tile;
  const half = halfTable();
  let block = 0;
  for (let row = 0; row < rows; row++) {
    for (let i = from; i < to; i++, block++) {
      const at = row * stride + (i >> 3) * BLOCKS.Q4_K.bytes;
      const j = i & 7;
      scales[block] = half[raw[at]! | (raw[at + 1]! << 8)]! * packedScale(raw, at + 4, j, false);
      mins[block] = -half[raw[at + 2]! | (raw[at + 3]! << 8)]! * packedScale(raw, at + 4, j, true);
      // Two sub-blocks share 32 bytes: the even one is the low nibbles, the odd one the high.
      const source = at + 16 + (j >> 1) * 32;
      const shift = (j & 1) * 4;
      const target = block * 16;
      for (let k = 0; k < 16; k++) {
        quants[target + k] = ((raw[source + k]! >> shift) & 15) | (((raw[source + k + 16]! >> shift) & 15) << 4);
      }
    }
  }
  return tile;
}

function fiveBitK(layout: Layout): Q8 {
  const { raw, rows, stride, from, to } = layout;
  const half = halfTable();
  const count = rows * (to - from);
  const quants = takeSigned(layout, count * 32);
  const scales = takeFloats(layout, count);
  const mins = takeFloats(layout, count);
  let block = 0;
  for (let row = 0; row < rows; row++) {
    for (let i = from; i < to; i++, block++) {
      const at = row * stride + (i >> 3) * BLOCKS.Q5_K.bytes;
      const j = i & 7;
      scales[block] = half[raw[at]! | (raw[at + 1]! << 8)]! * packedScale(raw, at + 4, j, false);
      mins[block] = -half[raw[at + 2]! | (raw[at + 3]! << 8)]! * packedScale(raw, at + 4, j, true);
      const high = at + 16;
      const low = at + 48 + (j >> 1) * 32;
      const shift = (j & 1) * 4;
      const target = block * 32;
      for (let k = 0; k < 32; k++) {
        quants[target + k] = ((raw[low + k]! >> shift) & 15) | (((raw[high + k]! >> j) & 1) << 4);
      }
    }
  }
  return { kind: 'q8', block: 32, quants, scales, mins };
}

/** Two blocks of 16 for every 32 columns. */
function sixBitK(layout: Layout): Q8 {
  const { raw, rows, stride, from, to } = layout;
  const half = halfTable();
  const count = rows * (to - from);
  const quants = takeSigned(layout, count * 32);
  const scales = takeFloats(layout, count * 2);
  let block = 0;
  for (let row = 0; row < rows; row++) {
    for (let i = from; i < to; i++, block++) {
      const at = row * stride + (i >> 3) * BLOCKS.Q6_K.bytes;
      const j = i & 7;
      const d = half[raw[at + 208]! | (raw[at + 209]! << 8)]!;
      scales[block * 2] = d * ((raw[at + 192 + j * 2]! << 24) >> 24);
      scales[block * 2 + 1] = d * ((raw[at + 193 + j * 2]! << 24) >> 24);
      // Per 128 values four runs of 32: low nibbles of 64 bytes, then their high nibbles; two upper bits beside.
      const run = j & 3;
      const low = at + (j >> 2) * 64 + (run & 1) * 32;
      const lowShift = run & 2 ? 4 : 0;
      const high = at + 128 + (j >> 2) * 32;
      const highShift = 2 * run;
      const target = block * 32;
      for (let k = 0; k < 32; k++) {
        quants[target + k] = (((raw[low + k]! >> lowShift) & 15) | (((raw[high + k]! >> highShift) & 3) << 4)) - 32;
      }
    }
  }
  return { kind: 'q8', block: 16, quants, scales };
}
