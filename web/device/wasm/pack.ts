/** TileData → the device layouts of wasm-cpu/assembly/matmul-*.ts: groups of 4 or 8 rows side by side. */
import type { Range } from '../../plan/types.ts';
import type { TileData } from '../backend.ts';
import type { WasmMemory } from './memory.ts';

const NIBBLES = 0x0f0f0f0f;
/** Half a block (4 rows), and a block (8 rows) of 32 columns. */
const Q4_HALF_BYTES = 96;
const Q4_BLOCK_BYTES = 192;

export interface PackedTile {
  kind: 'q4' | 'q8' | 'f32' | 'f16' | 'bf16';
  at: number;
  /** Q6_K: two scales a block of 32. */
  halves: boolean;
  mins: boolean;
}

/** What a tile is made of: for each group of rows, one record for every 32 columns. */
interface Records {
  rows: number;
  bytes: number;
}

function recordsOf(kind: PackedTile['kind'], wide: boolean): Records {
  switch (kind) {
    case 'q4':
      return { rows: 8, bytes: Q4_BLOCK_BYTES };
    case 'q8':
      return { rows: 4, bytes: q8Header(wide) + 128 };
    case 'f32':
      return { rows: 4, bytes: 32 * 16 };
    default:
      return { rows: 4, bytes: 32 * 8 };
  }
}

/** Bytes of a tile of `rows` × `cols`. */
function bytesOf(records: Records, rows: number, cols: number): number {
  return Math.ceil(rows / records.rows) * (cols / 32) * records.bytes;
}

export function packedBytes(data: TileData): number {
  return bytesOf(recordsOf(data.kind, data.kind === 'q8' && isWide(data)), data.rows, data.cols);
}

/** Whether rows have two numbers beside the integers of a block: halves' scales, or scale and minimum. */
const isWide = (data: { block: 16 | 32; mins?: Float32Array }) => data.block === 16 || data.mins !== undefined;
const q8Header = (wide: boolean) => (wide ? 32 : 16);

/** A part of a packed tile, as a tile of its own that is still to be allocated. */
export interface Cutting {
  bytes: number;
  /** Copies it to `at`. */
  copyTo(at: number): PackedTile;
}

/** Cuts rows and columns out of a packed tile of `size`; undefined where its groups of rows do not end there. */
export function cutPacked(
  tile: PackedTile,
  size: { rows: number; cols: number },
  rows: Range,
  cols: Range,
  memory: WasmMemory,
): Cutting | undefined {
  const records = recordsOf(tile.kind, tile.halves || tile.mins);
  const ends = rows[1] % records.rows === 0 || rows[1] === size.rows;
  if (rows[0] % records.rows !== 0 || !ends || cols[0] % 32 !== 0 || cols[1] % 32 !== 0) return undefined;
  const stride = (size.cols / 32) * records.bytes;
  const length = ((cols[1] - cols[0]) / 32) * records.bytes;
  const from = (rows[0] / records.rows) * stride + (cols[0] / 32) * records.bytes;
  const groups = Math.ceil((rows[1] - rows[0]) / records.rows);
  return {
    bytes: groups * length,
    copyTo(at) {
      const bytes = memory.u8();
      // Whole rows lie in one piece.
      const [runs, run] = length === stride ? [1, groups * length] : [groups, length];
      for (let i = 0; i < runs; i++) {
        const start = tile.at + from + i * stride;
        bytes.copyWithin(at + i * run, start, start + run);
      }
      return { kind: tile.kind, halves: tile.halves, mins: tile.mins, at };
    },
  };
}

/** Writes a tile at `at`, which must be zeroed and `packedBytes` long. */
export function packTile(data: TileData, memory: WasmMemory, at: number): PackedTile {
  const packed: PackedTile = { kind: data.kind, at, halves: false, mins: false };
  if (data.kind === 'q4') packQ4(data, memory, at);
  else if (data.kind === 'q8') {
    packQ8(data, memory, at);
    packed.halves = data.block === 16;
    packed.mins = data.mins !== undefined;
  } else if (data.kind === 'f32') packValues(data.rows, data.cols, data.values, memory.f32(), at >> 2);
  else packValues(data.rows, data.cols, data.values, new Uint16Array(memory.memory.buffer), at >> 1);
  return packed;
}

function packQ4(data: Extract<TileData, { kind: 'q4' }>, memory: WasmMemory, at: number): void {
  const blocks = data.cols / 32;
  const source = words(data.quants);
  const out = memory.u32();
  const floats = memory.f32();
  const { scales, mins, rows } = data;
  for (let row = 0; row < rows; row++) {
    const half = row & 4 ? Q4_HALF_BYTES : 0;
    let to = ((at + (row >> 3) * blocks * Q4_BLOCK_BYTES + half) >>> 2) + (row & 3);
    let from = row * blocks;
    for (let b = 0; b < blocks; b++, from++, to += Q4_BLOCK_BYTES / 4) {
      floats[to] = scales[from];
      floats[to + 4] = mins[from];
      const w = from * 4;
      const [w0, w1, w2, w3] = [source[w], source[w + 1], source[w + 2], source[w + 3]];
      // Word i of the source holds columns 4i.. in its low nibbles and 16 + 4i.. in its high ones.
      out[to + 8] = (w0 & NIBBLES) | ((w1 & NIBBLES) << 4);
      out[to + 12] = (w2 & NIBBLES) | ((w3 & NIBBLES) << 4);
      out[to + 16] = ((w0 >>> 4) & NIBBLES) | (w1 & ~NIBBLES);
      out[to + 20] = ((w2 >>> 4) & NIBBLES) | (w3 & ~NIBBLES);
    }
  }
}

function packQ8(data: Extract<TileData, { kind: 'q8' }>, memory: WasmMemory, at: number): void {
  const blocks = data.cols / 32;
  const header = q8Header(isWide(data));
  const blockWords = (header + 128) / 4;
  const source = words(data.quants);
  const out = memory.u32();
  const floats = memory.f32();
  const { scales, mins, rows } = data;
  const halves = data.block === 16;
  for (let row = 0; row < rows; row++) {
    let to = (at >>> 2) + (row >> 2) * blocks * blockWords + (row & 3);
    let from = row * blocks;
    for (let b = 0; b < blocks; b++, from++, to += blockWords) {
      if (halves) {
        floats[to] = scales[2 * from];
        floats[to + 4] = scales[2 * from + 1];
      } else {
        floats[to] = scales[from];
        if (mins) floats[to + 4] = mins[from];
      }
      const q = to + header / 4;
      for (let j = 0; j < 8; j++) out[q + 4 * j] = source[8 * from + j];
    }
  }
}

function packValues(
  rows: number,
  cols: number,
  source: Float32Array | Uint16Array,
  out: Float32Array | Uint16Array,
  at: number,
): void {
  for (let row = 0; row < rows; row++) {
    const base = at + (row >> 2) * cols * 4 + (row & 3);
    for (let c = 0; c < cols; c++) out[base + 4 * c] = source[row * cols + c];
  }
}

/** The same bytes as little-endian words; copies only when they are not aligned. */
function words(bytes: Uint8Array | Int8Array): Uint32Array {
  if (bytes.byteOffset % 4 === 0) return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  return new Uint32Array(bytes.slice().buffer);
}
