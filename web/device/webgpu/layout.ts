/**
 * Tiles in the layout of the shaders: groups of four rows interleaved word by word, so that one vec4 holds the same columns
 * of four rows, and neighbouring invocations read neighbouring vectors. Words first, then scales, then minima, each as
 * [block or word][row group] of vec4.
 */
import type { Range } from '../../plan/types.ts';
import { DeviceError, type TileData } from '../backend.ts';
import { type PackedHalves, packHalves } from './halves.ts';

/** Which weights_*.wgsl, and how parametrised, reads a tile. */
export type Format = 'q4' | 'q4h' | 'q8' | 'q8+min' | 'q8x16' | 'q8x16+min' | 'f32' | 'f16' | 'bf16';

/** Rows that are interleaved: the components of a vec4. */
export const GROUP = 4;
/** Columns of a block, in every format. */
export const BLOCK = 32;
const VECTOR_BYTES = 16;
/** weights_q4.wgsl: the topmost nibble of a word is stored minus 8, as two's complement. */
const Q4_FLIP = 0x80000000;
/** weights_q8.wgsl: all bytes of a word but the topmost are stored plus 128. */
const Q8_FLIP = 0x00808080;

export interface TileLayout {
  format: Format;
  rows: number;
  cols: number;
  rowGroups: number;
  /** Places from the tile's begin, in vec4. Halves (q4h) hold the minima too. */
  scales: number;
  mins: number;
  bytes: number;
  /** What the halves of format q4h are to be multiplied with. */
  factor: number;
}

/** A tile in the layout of the shaders. */
export interface LaidOut {
  layout: TileLayout;
  words: Uint32Array<ArrayBuffer>;
}

/** Words of 32 bits that a row has per block of 32 columns. */
const WORDS: Record<Format, number> = {
  q4: 4,
  q4h: 4,
  q8: 8,
  'q8+min': 8,
  q8x16: 8,
  'q8x16+min': 8,
  f32: 32,
  f16: 16,
  bf16: 16,
};

/** Scales that a row has per block of 32 columns. */
const SCALES: Record<Format, number> = {
  q4: 1,
  q4h: 1,
  q8: 1,
  'q8+min': 1,
  q8x16: 2,
  'q8x16+min': 2,
  f32: 0,
  f16: 0,
  bf16: 0,
};

/**
 * A tile's words for the shaders; rows that fill up the last group are zero.
 * Throws DeviceError `unsupported` where the columns do not fall on blocks.
 */
export function layOut(data: TileData): LaidOut {
  const { rows, cols } = data;
  if (rows < 1 || cols < BLOCK || cols % BLOCK !== 0) {
    throw new DeviceError('unsupported', `A tile of ${rows} × ${cols} does not fall on blocks of ${BLOCK} columns.`);
  }
  const halves = data.kind === 'q4' ? packHalves(data.scales, data.mins) : undefined;
  const layout = layoutOf(data, halves);
  const words = new Uint32Array(layout.bytes / 4);
  const blocks = cols / BLOCK;
  interleave(words, 0, wordsOf(data), blocks * WORDS[layout.format], layout);
  if (data.kind === 'q4' || data.kind === 'q8') {
    flip(words.subarray(0, layout.scales * GROUP), data.kind === 'q4' ? Q4_FLIP : Q8_FLIP);
    const perRow = blocks * SCALES[layout.format];
    if (halves) interleave(words, layout.scales * GROUP, halves.words, perRow, layout);
    else {
      const floats = new Float32Array(words.buffer);
      interleave(floats, layout.scales * GROUP, data.scales, perRow, layout);
      if (data.mins) interleave(floats, layout.mins * GROUP, data.mins, perRow, layout);
    }
  }
  return { layout, words };
}

function flip(words: Uint32Array, bits: number): void {
  for (let i = 0; i < words.length; i++) words[i]! ^= bits;
}

function layoutOf(data: TileData, halves: PackedHalves | undefined): TileLayout {
  const { rows, cols } = data;
  return layoutAs(halves ? 'q4h' : formatOf(data), rows, cols, halves?.factor ?? 1);
}

function layoutAs(format: Format, rows: number, cols: number, factor: number): TileLayout {
  const rowGroups = Math.ceil(rows / GROUP);
  const vectors = (cols / BLOCK) * rowGroups;
  const scales = vectors * WORDS[format];
  const mins = scales + vectors * SCALES[format];
  const hasMins = format === 'q4' || format.endsWith('+min');
  const bytes = (mins + (hasMins ? vectors * SCALES[format] : 0)) * VECTOR_BYTES;
  return { format, rows, cols, rowGroups, scales, mins, bytes, factor };
}

function formatOf(data: TileData): Format {
  if (data.kind !== 'q8') return data.kind;
  const base = data.block === 16 ? 'q8x16' : 'q8';
  return data.mins ? `${base}+min` : base;
}

/** The values as 32-bit words, row after row. */
function wordsOf(data: TileData): Uint32Array {
  const bytes = data.kind === 'q4' || data.kind === 'q8' ? data.quants : data.values;
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
}

/** out[(i · rowGroups + group) · 4 + lane] = source[row · perRow + i] */
function interleave<T extends Uint32Array | Float32Array>(
  out: T,
  base: number,
  source: T,
  perRow: number,
  { rows, rowGroups }: TileLayout,
): void {
  const stride = rowGroups * GROUP;
  for (let row = 0; row < rows; row++) {
    let to = base + row;
    let from = row * perRow;
    for (let i = 0; i < perRow; i++, to += stride) out[to] = source[from++]!;
  }
}

/** A part of a tile as a tile of its own, and the bytes that are copied for it. */
export interface Cutting {
  layout: TileLayout;
  /** Places in bytes, from the begin of either tile. */
  copies: { from: number; to: number; bytes: number }[];
}

/** Cuts rows and columns out of a tile; undefined where its groups of rows do not end there. */
export function cutLayout(tile: TileLayout, rows: Range, cols: Range): Cutting | undefined {
  const ends = rows[1] % GROUP === 0 || rows[1] === tile.rows;
  if (rows[0] % GROUP !== 0 || !ends || cols[0] % BLOCK !== 0 || cols[1] % BLOCK !== 0) return undefined;
  const { format } = tile;
  const layout = layoutAs(format, rows[1] - rows[0], cols[1] - cols[0], tile.factor);
  const firstGroup = rows[0] / GROUP;
  const firstBlock = cols[0] / BLOCK;
  const blocks = (cols[1] - cols[0]) / BLOCK;
  const copies: Cutting['copies'] = [];
  /** A run of vectors for each number that a row has, `perBlock` of them in every block. */
  const copy = (from: number, to: number, perBlock: number) => {
    const first = from + firstBlock * perBlock * tile.rowGroups + firstGroup;
    const lines = blocks * perBlock;
    const whole = layout.rowGroups === tile.rowGroups;
    const [runs, run] = whole ? [Math.min(1, lines), lines * layout.rowGroups] : [lines, layout.rowGroups];
    for (let i = 0; i < runs; i++) {
      const at = { from: first + i * tile.rowGroups, to: to + i * run };
      copies.push({ from: at.from * VECTOR_BYTES, to: at.to * VECTOR_BYTES, bytes: run * VECTOR_BYTES });
    }
  };
  copy(0, 0, WORDS[format]);
  copy(tile.scales, layout.scales, SCALES[format]);
  if (layout.mins * VECTOR_BYTES < layout.bytes) copy(tile.mins, layout.mins, SCALES[format]);
  return { layout, copies };
}
