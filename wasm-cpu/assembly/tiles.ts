// Device layouts of tiles (see the matmul files) and how any of them becomes plain values.
import { DOWN, UP_WEIGHT } from './layout';

// Kinds of tile, as web/device/wasm/program.ts numbers them.
// @ts-ignore: decorator
@inline export const TILE_F32: i32 = 0;
// @ts-ignore: decorator
@inline export const TILE_F16: i32 = 1;
// @ts-ignore: decorator
@inline export const TILE_BF16: i32 = 2;
// @ts-ignore: decorator
@inline export const TILE_Q4: i32 = 3;
// @ts-ignore: decorator
@inline export const TILE_Q8: i32 = 4;

// What stands before a block's integers, all of it times 2^-102 (layout.ts): the scales of its rows, then as many minima or,
// with two scales a block of 32 columns, second scales. In 16 bits: scales alone, where 4-bit weights have −8 · scale as
// minimum, or words of a scale in the lower and a minimum in the upper half.
// @ts-ignore: decorator
@inline export const PLAIN: i32 = 0;
// @ts-ignore: decorator
@inline export const PLAIN_MINS: i32 = 1;
// @ts-ignore: decorator
@inline export const PLAIN_TWICE: i32 = 2;
// @ts-ignore: decorator
@inline export const SHORT: i32 = 3;
// @ts-ignore: decorator
@inline export const SHORT_MINS: i32 = 4;

/** Bytes from the scales of 4 rows to those of the next 4. */
// @ts-ignore: decorator
@inline
export function fourBytes(form: i32): usize {
  return form == SHORT ? 8 : 16;
}

/** Bytes of all that 4 rows have before their integers. */
// @ts-ignore: decorator
@inline
export function headBytes(form: i32): usize {
  return form == PLAIN_MINS || form == PLAIN_TWICE ? 32 : fourBytes(form);
}

/** 4-bit tiles: bytes of a block of 8 rows. */
// @ts-ignore: decorator
@inline
export function blockBytesQ4(form: i32): usize {
  return 2 * headBytes(form) + 128;
}

/** 8-bit tiles: bytes of a block of 4 rows. */
// @ts-ignore: decorator
@inline
export function blockBytesQ8(form: i32): usize {
  return headBytes(form) + 128;
}

/** What is left of the sign, shifted with its sign to where an f32 has the exponent, must not stay there. */
const SIGN_EXPONENT_MANTISSA: i32 = 0x8fffe000;

/** Scales of 4 rows. */
// @ts-ignore: decorator
@inline
export function fourScales(form: i32, at: usize): v128 {
  if (form < SHORT) return v128.load(at);
  const shifted =
    form == SHORT ? i32x4.shl(v128.load16x4_s(at), 13) : i32x4.shr_s(i32x4.shl(v128.load(at), 16), 3);
  return v128.and(shifted, i32x4.splat(SIGN_EXPONENT_MANTISSA));
}

/** Minima, or second scales, of the 4 rows with scales at `at`, of 4 · `fours` rows in a block. */
// @ts-ignore: decorator
@inline
export function fourSeconds(form: i32, at: usize, fours: usize): v128 {
  if (form < SHORT) return v128.load(at + (fours << 4));
  return v128.and(i32x4.shr_s(v128.load(at), 3), i32x4.splat(SIGN_EXPONENT_MANTISSA));
}

/** Where 4 sums of products with one position start, times 2^-48: at what is in y, or at 0. */
// @ts-ignore: decorator
@inline
export function startOf(y: usize, add: bool): v128 {
  return add ? f32x4.mul(v128.load(y), f32x4.splat(DOWN)) : f32x4.splat(0);
}

/** Four halves in the low 16 bits of each lane → f32: exponent moved by multiplying with 2^112, exact for subnormals too. */
// @ts-ignore: decorator
@inline
function halves4(bits: v128): v128 {
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  return v128.or(f32x4.mul(magnitude, f32x4.splat(5192296858534827628530496329220096.0)), sign);
}

/** Values of 4 rows at column `c` of a group of a tile of plain values. */
// @ts-ignore: decorator
@inline
export function fourRows(kind: i32, group: usize, c: usize): v128 {
  if (kind == TILE_F32) return v128.load(group + (c << 4));
  const bits = v128.load16x4_u(group + (c << 3));
  return kind == TILE_F16 ? halves4(bits) : i32x4.shl(bits, 16);
}

/** Columns of the weight panels that matrix products unpack into, and bytes of a column: 8 rows of f32. */
// @ts-ignore: decorator
@inline export const PANEL_BLOCKS: i32 = 2;
// @ts-ignore: decorator
@inline const COLUMN: usize = 32;

/** What `fourScales` and `fourSeconds` give, as it is meant. */
// @ts-ignore: decorator
@inline
function meant(numbers: v128): v128 {
  return f32x4.mul(numbers, f32x4.splat(UP_WEIGHT));
}

/** Rows 0 to 3 (`half` 0) or 4 to 7 (1) of blocks of 8. */
function unpackQ4(block: usize, half: usize, form: i32, blocks: i32, out: usize): void {
  const rows = half * fourBytes(form);
  const quants = 2 * headBytes(form) + (half << 6);
  for (let b = 0; b < blocks; b++) {
    const scale = meant(fourScales(form, block + rows));
    const min = form == SHORT ? f32x4.mul(scale, f32x4.splat(-8)) : meant(fourSeconds(form, block + rows, 2));
    for (let j: usize = 0; j < 4; j++) {
      const v = v128.load(block + quants + (j << 4));
      for (let c = 0; c < 4; c++) {
        const low = v128.and(i32x4.shr_u(v, c << 3), i32x4.splat(15));
        const high = v128.and(i32x4.shr_u(v, (c << 3) + 4), i32x4.splat(15));
        const to = out + ((j << 3) + <usize>c) * COLUMN;
        v128.store(to, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(low), scale), min));
        v128.store(to + 4 * COLUMN, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(high), scale), min));
      }
    }
    block += blockBytesQ4(form);
    out += 32 * COLUMN;
  }
}

function unpackQ8(group: usize, form: i32, blocks: i32, out: usize): void {
  const mins = form == PLAIN_MINS || form == SHORT_MINS;
  for (let b = 0; b < blocks; b++) {
    let scale = meant(fourScales(form, group));
    const min = mins ? meant(fourSeconds(form, group, 1)) : f32x4.splat(0);
    for (let j: usize = 0; j < 8; j++) {
      if (form == PLAIN_TWICE && j == 4) scale = meant(fourSeconds(form, group, 1));
      const v = v128.load(group + headBytes(form) + (j << 4));
      for (let c = 0; c < 4; c++) {
        const q = i32x4.shr_s(i32x4.shl(v, 24 - (c << 3)), 24);
        const to = out + ((j << 2) + <usize>c) * COLUMN;
        v128.store(to, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(q), scale), min));
      }
    }
    group += blockBytesQ8(form);
    out += 32 * COLUMN;
  }
}

/**
 * Values of one group of 4 rows of a tile with `tileBlocks` blocks a row, from block `from` on, column by column into the
 * first or second half of a panel's columns of 8 rows.
 */
export function unpackFours(
  kind: i32, tile: usize, group: i32, tileBlocks: i32, from: i32, blocks: i32, form: i32, out: usize,
): void {
  if (kind == TILE_Q4) {
    const block = <usize>((group >> 1) * tileBlocks + from) * blockBytesQ4(form);
    unpackQ4(tile + block, <usize>(group & 1), form, blocks, out);
  } else if (kind == TILE_Q8) {
    unpackQ8(tile + <usize>(group * tileBlocks + from) * blockBytesQ8(form), form, blocks, out);
  } else {
    const start = tile + (<usize>(group * tileBlocks + from) << (kind == TILE_F32 ? 9 : 8));
    for (let c: usize = 0; c < <usize>(blocks << 5); c++) {
      v128.store(out + c * COLUMN, fourRows(kind, start, c));
    }
  }
}
