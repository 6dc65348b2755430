/** TileData → the device layouts of wasm-cpu/assembly/matmul-*.ts: groups of 4 or 8 rows side by side. */
import type { Range } from '../../plan/types.ts';
import type { TileData } from '../backend.ts';
import type { WasmMemory } from './memory.ts';
import { bitsOf, halfOf, SCALE_BYTES, SCALE_FACTOR, type ScaleForm, scaleFormOf } from './scales.ts';

const NIBBLES = 0x0f0f0f0f;
/** Bytes of the integers of a block: 8 rows of 4 bits or 4 rows of 8. */
const QUANT_BYTES = 128;

export interface PackedTile {
  kind: TileData['kind'];
  at: number;
  /** Plain values have none. */
  scales: ScaleForm | undefined;
}

type Form = Omit<PackedTile, 'at'>;

/** What a tile is made of: for each group of rows, one record for every 32 columns. */
interface Records {
  rows: number;
  bytes: number;
}

function recordsOf({ kind, scales }: Form): Records {
  if (scales) {
    const rows = kind === 'q4' ? 8 : 4;
    return { rows, bytes: rows * SCALE_BYTES[scales] + QUANT_BYTES };
  }
  return { rows: 4, bytes: 32 * (kind === 'f32' ? 16 : 8) };
}

function tileBytes(records: Records, rows: number, cols: number): number {
  return Math.ceil(rows / records.rows) * (cols / 32) * records.bytes;
}

/** A packed tile that is still to be allocated. */
export interface Packing {
  bytes: number;
  /** Writes it at `at`. */
  writeTo(at: number): PackedTile;
}

/** Cuts rows and columns out of a packed tile of `size`; undefined where its groups of rows do not end there. */
export function cutPacked(
  tile: PackedTile,
  size: { rows: number; cols: number },
  rows: Range,
  cols: Range,
  memory: WasmMemory,
): Packing | undefined {
  const records = recordsOf(tile);
  const ends = rows[1] % records.rows === 0 || rows[1] === size.rows;
  if (rows[0] % records.rows !== 0 || !ends || cols[0] % 32 !== 0 || cols[1] % 32 !== 0) return undefined;
  const stride = (size.cols / 32) * records.bytes;
  const length = ((cols[1] - cols[0]) / 32) * records.bytes;
  const from = (rows[0] / records.rows) * stride + (cols[0] / 32) * records.bytes;
  const groups = Math.ceil((rows[1] - rows[0]) / records.rows);
  return {
    bytes: groups * length,
    writeTo(at) {
      const bytes = memory.u8();
      // Whole rows lie in one piece.
      const [runs, run] = length === stride ? [1, groups * length] : [groups, length];
      for (let i = 0; i < runs; i++) {
        const start = tile.at + from + i * stride;
        bytes.copyWithin(at + i * run, start, start + run);
      }
      return { kind: tile.kind, scales: tile.scales, at };
    },
  };
}

/** Packs a tile; where it is written must be zeroed. */
export function packTile(data: TileData, memory: WasmMemory): Packing {
  if (!('values' in data)) return packBlocks(data, memory);
  const { kind, rows, cols, values } = data;
  return {
    bytes: tileBytes(recordsOf({ kind, scales: undefined }), rows, cols),
    writeTo(at) {
      if (kind === 'f32') putValues(rows, cols, values, memory.f32(), at >>> 2);
      else putValues(rows, cols, values, memory.i16(), at >>> 1);
      return { kind, scales: undefined, at };
    },
  };
}

type Blocks = Extract<TileData, { kind: 'q4' | 'q8' }>;

function packBlocks(data: Blocks, memory: WasmMemory): Packing {
  const { rows, cols, kind } = data;
  const scales = scaleFormOf(data);
  const records = recordsOf({ kind, scales });
  const blocks = cols / 32;
  const head = records.rows * SCALE_BYTES[scales];
  return {
    bytes: tileBytes(records, rows, cols),
    writeTo(at) {
      const source = words(data.quants);
      const out = memory.i32();
      const putNumbers = numberWriter(data, scales, records, memory);
      const putQuants = kind === 'q4' ? putNibbles : putBytes;
      // Row by row, so that a group stays in the first cache.
      for (let row = 0; row < rows; row++) {
        const group = at + Math.floor(row / records.rows) * blocks * records.bytes;
        const lane = row % records.rows;
        putNumbers(row * blocks, blocks, group, lane);
        putQuants(source, row * blocks, blocks, out, group + head, lane, records.bytes);
      }
      return { kind, scales, at };
    },
  };
}

/** Writes the numbers of a row: `lane` of the group at `to`, its blocks being those from `first` on. */
type NumberWriter = (first: number, blocks: number, to: number, lane: number) => void;

function numberWriter(data: Blocks, form: ScaleForm, { rows, bytes }: Records, memory: WasmMemory): NumberWriter {
  switch (form) {
    case 'f16':
      return halfWriter(bitsOf(data.scales), bytes >> 1, memory.i16());
    case 'f16+min':
      return pairWriter(bitsOf(data.scales), bitsOf(data.mins ?? data.scales), bytes >> 2, memory.i32());
    default:
      return floatWriter(data, form, rows, bytes >> 2, memory.f32());
  }
}

function halfWriter(bits: Int32Array, step: number, out: Int16Array): NumberWriter {
  return (first, blocks, to, lane) => {
    let at = (to >>> 1) + lane;
    for (let b = 0; b < blocks; b++, at += step) out[at] = halfOf(bits[first + b]);
  };
}

function pairWriter(lower: Int32Array, upper: Int32Array, step: number, out: Int32Array): NumberWriter {
  return (first, blocks, to, lane) => {
    let at = (to >>> 2) + lane;
    for (let b = 0; b < blocks; b++, at += step) {
      out[at] = halfOf(lower[first + b]) | (halfOf(upper[first + b]) << 16);
    }
  };
}

function floatWriter(
  { scales, mins }: Blocks,
  form: ScaleForm,
  rows: number,
  step: number,
  out: Float32Array,
): NumberWriter {
  const perBlock = form === 'f32x2' ? 2 : 1;
  const seconds = form === 'f32x2' ? scales.subarray(1) : mins;
  return (first, blocks, to, lane) => {
    let at = (to >>> 2) + lane;
    let from = first * perBlock;
    for (let b = 0; b < blocks; b++, from += perBlock, at += step) {
      out[at] = scales[from] * SCALE_FACTOR;
      if (seconds) out[at + rows] = seconds[from] * SCALE_FACTOR;
    }
  };
}

/**
 * Writes the integers of a row, whose blocks in the source are those from `first` on: `lane` of those of the block at `to`,
 * the next block's `bytes` on. Signed words, and no tuples: V8 takes half as long again with either.
 */
function putNibbles(
  source: Int32Array,
  first: number,
  blocks: number,
  out: Int32Array,
  to: number,
  lane: number,
  bytes: number,
): void {
  const step = bytes >> 2;
  let at = (to >>> 2) + (lane & 4 ? 16 : 0) + (lane & 3);
  let from = first * 4;
  for (let b = 0; b < blocks; b++, from += 4, at += step) {
    const w0 = source[from];
    const w1 = source[from + 1];
    const w2 = source[from + 2];
    const w3 = source[from + 3];
    // Word i of the source holds columns 4i.. in its low nibbles and 16 + 4i.. in its high ones.
    out[at] = (w0 & NIBBLES) | ((w1 & NIBBLES) << 4);
    out[at + 4] = (w2 & NIBBLES) | ((w3 & NIBBLES) << 4);
    out[at + 8] = ((w0 >>> 4) & NIBBLES) | (w1 & ~NIBBLES);
    out[at + 12] = ((w2 >>> 4) & NIBBLES) | (w3 & ~NIBBLES);
  }
}

/** As `putNibbles`. */
function putBytes(
  source: Int32Array,
  first: number,
  blocks: number,
  out: Int32Array,
  to: number,
  lane: number,
  bytes: number,
): void {
  const step = bytes >> 2;
  let at = (to >>> 2) + lane;
  let from = first * 8;
  for (let b = 0; b < blocks; b++, from += 8, at += step) {
    for (let j = 0; j < 8; j++) out[at + 4 * j] = source[from + j];
  }
}

function putValues(
  rows: number,
  cols: number,
  source: Float32Array | Uint16Array,
  out: Float32Array | Int16Array,
  at: number,
): void {
  for (let row = 0; row < rows; row++) {
    const base = at + (row >> 2) * cols * 4 + (row & 3);
    for (let c = 0; c < cols; c++) out[base + 4 * c] = source[row * cols + c];
  }
}

/** The same bytes as little-endian words; copies only when they are not aligned. */
function words(bytes: Uint8Array | Int8Array): Int32Array {
  if (bytes.byteOffset % 4 === 0) return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  return new Int32Array(bytes.slice().buffer);
}
