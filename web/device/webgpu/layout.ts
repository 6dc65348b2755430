/**
 * Tiles in the layout of the shaders: groups of four rows interleaved word by word, so that one vec4 holds the same columns
 * of four rows, and neighbouring invocations read neighbouring vectors. Words first, then scales, then minima, each as
 * [block or word][row group] of vec4.
 */
import { DeviceError, type TileData } from '../backend.ts';

/** Which weights_*.wgsl, and how parametrised, reads a tile. */
export type Format = 'q4' | 'q8' | 'q8+min' | 'q8x16' | 'q8x16+min' | 'f32' | 'f16' | 'bf16';

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
  /** Places from the tile's begin, in vec4. */
  scales: number;
  mins: number;
  bytes: number;
}

/** Words of 32 bits that a row has per block of 32 columns. */
const WORDS: Record<Format, number> = {
  q4: 4,
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
  q8: 1,
  'q8+min': 1,
  q8x16: 2,
  'q8x16+min': 2,
  f32: 0,
  f16: 0,
  bf16: 0,
};

/** Throws DeviceError `unsupported` where the columns do not fall on blocks. */
export function tileLayout(data: TileData): TileLayout {
  const { rows, cols } = data;
  if (rows < 1 || cols < BLOCK || cols % BLOCK !== 0) {
    throw new DeviceError('unsupported', `A tile of ${rows} × ${cols} does not fall on blocks of ${BLOCK} columns.`);
  }
  const format = formatOf(data);
  const rowGroups = Math.ceil(rows / GROUP);
  const vectors = (cols / BLOCK) * rowGroups;
  const scales = vectors * WORDS[format];
  const mins = scales + vectors * SCALES[format];
  const hasMins = format === 'q4' || format.endsWith('+min');
  const bytes = (mins + (hasMins ? vectors * SCALES[format] : 0)) * VECTOR_BYTES;
  return { format, rows, cols, rowGroups, scales, mins, bytes };
}

function formatOf(data: TileData): Format {
  if (data.kind !== 'q8') return data.kind;
  const base = data.block === 16 ? 'q8x16' : 'q8';
  return data.mins ? `${base}+min` : base;
}

/** The tile's bytes as the shaders read them. Rows that fill up the last group are zero. */
export function layOut(data: TileData, layout: TileLayout): Uint32Array<ArrayBuffer> {
  const out = new Uint32Array(layout.bytes / 4);
  const perRow = (layout.cols / BLOCK) * WORDS[layout.format];
  interleave(out, 0, wordsOf(data), perRow, layout);
  if (data.kind === 'q4' || data.kind === 'q8') {
    const flip = data.kind === 'q4' ? Q4_FLIP : Q8_FLIP;
    for (let i = 0; i < layout.scales * GROUP; i++) out[i]! ^= flip;
    const floats = new Float32Array(out.buffer);
    const scalesPerRow = (layout.cols / BLOCK) * SCALES[layout.format];
    interleave(floats, layout.scales * GROUP, data.scales, scalesPerRow, layout);
    if (data.mins) interleave(floats, layout.mins * GROUP, data.mins, scalesPerRow, layout);
  }
  return out;
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
