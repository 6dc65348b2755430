// 8-bit tiles. Device layout: groups of 4 rows; a group is a run of blocks of 32 columns:
//   scales and minima of the rows in one of the forms of tiles.ts, then 8 vectors of 16 bytes: byte 4·row + c of vector j
//   holds column 4j + c.
// The weights take all 8 bits, so they meet the upper 16 bits of the activations, then their lowest byte, in 16-bit lanes:
// sums of products stay inside i32, no relaxed instruction.
import { gemm } from './gemm';
import { A_HI, A_LO, A_SCALE, A_SUM, UP, count, field, fieldInt, firstPiece, nextPiece } from './layout';
import { joinPairs, madd, whole } from './simd';
import {
  PLAIN, PLAIN_MINS, PLAIN_TWICE, SHORT, SHORT_MINS, TILE_Q8, blockBytesQ8, fourScales, fourSeconds, headBytes, startOf,
} from './tiles';

/** 16 columns of 4 rows (4 vectors) against their upper or lower parts: two partial sums a row. */
// @ts-ignore: decorator
@inline
function dot16(w: usize, xs: usize): v128 {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  for (let j: usize = 0; j < 4; j++) {
    const v = v128.load(w + (j << 4));
    const x = v128.load64_splat(xs + (j << 3));
    a = i32x4.add(a, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(v), x));
    b = i32x4.add(b, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(v), x));
  }
  return joinPairs(a, b);
}

/** Two blocks of 16 columns of one group with scales of their own, added to `sum`. */
// @ts-ignore: decorator
@inline
function twoBlocks(sum: v128, w: usize, hi: usize, lo: usize, scale: usize): v128 {
  const q = w + headBytes(PLAIN_TWICE);
  const x = v128.load32_splat(scale);
  sum = madd(f32x4.mul(fourScales(PLAIN_TWICE, w), whole(dot16(q, hi), dot16(q, lo))), x, sum);
  const second = whole(dot16(q + 64, hi + 32), dot16(q + 64, lo + 32));
  return madd(f32x4.mul(fourSeconds(PLAIN_TWICE, w, 1), second), x, sum);
}

/** One block of 32 columns of one group, added to `sum`. Times a power of two, `x`, is exact, fused or not. */
// @ts-ignore: decorator
@inline
function block(form: i32, sum: v128, w: usize, hi: usize, lo: usize, scale: usize, blockSum: usize): v128 {
  const q = w + headBytes(form);
  let upper0 = i32x4.splat(0);
  let upper1 = i32x4.splat(0);
  let lower0 = i32x4.splat(0);
  let lower1 = i32x4.splat(0);
  for (let j: usize = 0; j < 8; j++) {
    const v = v128.load(q + (j << 4));
    const v0 = i16x8.extend_low_i8x16_s(v);
    const v1 = i16x8.extend_high_i8x16_s(v);
    const h = v128.load64_splat(hi + (j << 3));
    const l = v128.load64_splat(lo + (j << 3));
    upper0 = i32x4.add(upper0, i32x4.dot_i16x8_s(v0, h));
    upper1 = i32x4.add(upper1, i32x4.dot_i16x8_s(v1, h));
    lower0 = i32x4.add(lower0, i32x4.dot_i16x8_s(v0, l));
    lower1 = i32x4.add(lower1, i32x4.dot_i16x8_s(v1, l));
  }
  const x = v128.load32_splat(scale);
  const product = f32x4.mul(fourScales(form, w), whole(joinPairs(upper0, upper1), joinPairs(lower0, lower1)));
  if (form == PLAIN || form == SHORT) return madd(product, x, sum);
  const mins = f32x4.mul(fourSeconds(form, w, 1), v128.load32_splat(blockSum));
  return f32x4.add(sum, madd(product, x, mins));
}

/** Groups `from` to `to` of an operation: a loop for each form of scales, which the compiler makes of this one. */
// @ts-ignore: decorator
@inline
function groups(form: i32, op: usize, from: i32, to: i32): void {
  const blocks = fieldInt(op, 4);
  const record = field(op, 5);
  const first = fieldInt(op, 6);
  const add = fieldInt(op, 9) != 0;
  const hi = <usize>load<u32>(record, A_HI) + <usize>(first << 6);
  const lo = <usize>load<u32>(record, A_LO) + <usize>(first << 6);
  const scale = <usize>load<u32>(record, A_SCALE) + <usize>(first << 2);
  const blockSum = <usize>load<u32>(record, A_SUM) + <usize>(first << 2);
  for (let g = from; g < to; g++) {
    let w = field(op, 2) + <usize>g * <usize>blocks * blockBytesQ8(form);
    const y = field(op, 7) + <usize>(g << 4);
    let sum = startOf(y, add);
    for (let b = 0; b < blocks; b++) {
      const at = <usize>b;
      const h = hi + (at << 6);
      const l = lo + (at << 6);
      const x = scale + (at << 2);
      sum = form == PLAIN_TWICE ? twoBlocks(sum, w, h, l, x) : block(form, sum, w, h, l, x, blockSum + (at << 2));
      w += blockBytesQ8(form);
    }
    v128.store(y, f32x4.mul(sum, f32x4.splat(UP)));
  }
}

function groupsPlain(op: usize, from: i32, to: i32): void {
  groups(PLAIN, op, from, to);
}

function groupsPlainMins(op: usize, from: i32, to: i32): void {
  groups(PLAIN_MINS, op, from, to);
}

function groupsPlainTwice(op: usize, from: i32, to: i32): void {
  groups(PLAIN_TWICE, op, from, to);
}

function groupsShort(op: usize, from: i32, to: i32): void {
  groups(SHORT, op, from, to);
}

function groupsShortMins(op: usize, from: i32, to: i32): void {
  groups(SHORT_MINS, op, from, to);
}

/** y (+)= tile · x. Fields as in matmulQ4. */
export function matmulQ8(op: usize, thread: i32): void {
  if (!fieldInt(op, 11) && count() > 1) return gemm(op, thread, TILE_Q8);
  const fours = fieldInt(op, 3);
  const chunk = fieldInt(op, 10) << 1;
  const form = fieldInt(op, 14);
  for (let piece = firstPiece(thread, chunk); piece < fours; piece = nextPiece(op, chunk)) {
    const to = min(piece + chunk, fours);
    if (form == SHORT) groupsShort(op, piece, to);
    else if (form == SHORT_MINS) groupsShortMins(op, piece, to);
    else if (form == PLAIN) groupsPlain(op, piece, to);
    else if (form == PLAIN_MINS) groupsPlainMins(op, piece, to);
    else groupsPlainTwice(op, piece, to);
  }
}
