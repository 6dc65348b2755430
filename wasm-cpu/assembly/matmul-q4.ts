// 4-bit tiles. Device layout: groups of 8 rows; a group is a run of blocks, one stream through memory (two streams side by
// side took twice as long: the hardware's prefetcher follows one). A block is 8 scales, 8 minima where they are stored
// (tiles.ts), then for rows 0 to 3 and for rows 4 to 7:
//   4 vectors of 16 bytes. Byte 4·row + c of vector j holds column 8j + c in its low nibble and column 8j + 4 + c in its
//   high one, so that one 4-byte broadcast of activations serves four rows, and the four lanes of an accumulator are four
//   rows: no sums across lanes, no shuffles.
import { A_HI, A_HML, A_LO, A_SCALE, A_SUM, UP, count, field, fieldInt, firstPiece, nextPiece } from './layout';
import { gemm } from './gemm';
import { PLAIN_MINS, SHORT, SHORT_MINS, TILE_Q4, blockBytesQ4, fourBytes, fourScales, fourSeconds, headBytes, startOf } from './tiles';
import { joinPairs, madd, whole } from './simd';

// @ts-ignore: decorator
@inline
function low(v: v128): v128 {
  return v128.and(v, i8x16.splat(15));
}

// @ts-ignore: decorator
@inline
function high(v: v128): v128 {
  return v128.and(i16x8.shr_u(v, 4), i8x16.splat(15));
}

/**
 * 16-bit dot products of 8 pairs: |byte · nibble| pairs sum to at most 2·15·128, eight of them stay inside i16, and the
 * relaxed instruction is exact on every engine because the nibbles are its 7-bit operand.
 */
// @ts-ignore: decorator
@inline
function dot(activations: v128, nibbles: v128): v128 {
  return v128.relaxed_dot<i16>(activations, nibbles);
}

/** 65536·h + 256·m + l, two 16-bit lanes a row → one f32 a row. */
// @ts-ignore: decorator
@inline
function join(h: v128, m: v128, l: v128): v128 {
  const upper = i32x4.add(i32x4.dot_i16x8_s(h, i16x8.splat(256)), i32x4.extadd_pairwise_i16x8_s(m));
  return whole(upper, i32x4.extadd_pairwise_i16x8_s(l));
}

/** Products of 4 rows' vectors of a block with 16-bit values (plain SIMD), one i32 a row. */
// @ts-ignore: decorator
@inline
function dotPlain(vectors: usize, xs: usize): v128 {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  for (let j: usize = 0; j < 4; j++) {
    const v = v128.load(vectors + (j << 4));
    const lo = low(v);
    const hi = high(v);
    const x0 = v128.load64_splat(xs + (j << 4));
    const x1 = v128.load64_splat(xs + (j << 4), 8);
    a = i32x4.add(a, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(lo), x0));
    b = i32x4.add(b, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(lo), x0));
    a = i32x4.add(a, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(hi), x1));
    b = i32x4.add(b, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(hi), x1));
  }
  return joinPairs(a, b);
}

/** Rows 0 to 3 (`half` 0) or 4 to 7 (1) of the block at `w`. */
// @ts-ignore: decorator
@inline
function scaled(form: i32, sum: v128, w: usize, half: usize, dots: v128, scale: usize, blockSum: usize): v128 {
  const at = w + half * fourBytes(form);
  const scales = fourScales(form, at);
  const mins = form == SHORT ? f32x4.mul(scales, f32x4.splat(-8)) : fourSeconds(form, at, 2);
  // Times a power of two is exact, fused or not.
  const both = madd(f32x4.mul(scales, dots), v128.load32_splat(scale), f32x4.mul(mins, v128.load32_splat(blockSum)));
  return f32x4.add(sum, both);
}

/** 4 rows of a group with plain SIMD. */
// @ts-ignore: decorator
@inline
function halfPlain(
  form: i32, w: usize, half: usize, blocks: i32, hi: usize, lo: usize, scale: usize, blockSum: usize, y: usize, add: bool,
): void {
  const vectors = 2 * headBytes(form) + (half << 6);
  let sum = startOf(y, add);
  for (let b = 0; b < blocks; b++) {
    const dots = whole(dotPlain(w + vectors, hi), dotPlain(w + vectors, lo));
    sum = scaled(form, sum, w, half, dots, scale, blockSum);
    w += blockBytesQ4(form);
    hi += 64;
    lo += 64;
    scale += 4;
    blockSum += 4;
  }
  v128.store(y, f32x4.mul(sum, f32x4.splat(UP)));
}

/** A group of 8 rows with relaxed SIMD: one broadcast of activations serves all of them. */
// @ts-ignore: decorator
@inline
function groupRelaxed(
  form: i32, w: usize, blocks: i32, hml: usize, scale: usize, blockSum: usize, y: usize, add: bool, both: bool,
): void {
  let sum0 = startOf(y, add);
  let sum1 = startOf(y + 16, add && both);
  for (let b = 0; b < blocks; b++) {
    let h0 = i16x8.splat(0);
    let m0 = i16x8.splat(0);
    let l0 = i16x8.splat(0);
    let h1 = i16x8.splat(0);
    let m1 = i16x8.splat(0);
    let l1 = i16x8.splat(0);
    // A loop on purpose: unrolled, V8 loads everything first and spills the sums.
    for (let j: usize = 0; j < 4; j++) {
      const vectors = w + 2 * headBytes(form) + (j << 4);
      const v0 = v128.load(vectors);
      const v1 = v128.load(vectors, 64);
      const x = hml + (j << 3);
      let p0 = low(v0);
      let p1 = low(v1);
      let xh = v128.load32_splat(x);
      let xm = v128.load32_splat(x, 32);
      let xl = v128.load32_splat(x, 64);
      h0 = i16x8.add(h0, dot(xh, p0));
      m0 = i16x8.add(m0, dot(xm, p0));
      l0 = i16x8.add(l0, dot(xl, p0));
      h1 = i16x8.add(h1, dot(xh, p1));
      m1 = i16x8.add(m1, dot(xm, p1));
      l1 = i16x8.add(l1, dot(xl, p1));
      p0 = high(v0);
      p1 = high(v1);
      xh = v128.load32_splat(x, 4);
      xm = v128.load32_splat(x, 36);
      xl = v128.load32_splat(x, 68);
      h0 = i16x8.add(h0, dot(xh, p0));
      m0 = i16x8.add(m0, dot(xm, p0));
      l0 = i16x8.add(l0, dot(xl, p0));
      h1 = i16x8.add(h1, dot(xh, p1));
      m1 = i16x8.add(m1, dot(xm, p1));
      l1 = i16x8.add(l1, dot(xl, p1));
    }
    sum0 = scaled(form, sum0, w, 0, join(h0, m0, l0), scale, blockSum);
    sum1 = scaled(form, sum1, w, 1, join(h1, m1, l1), scale, blockSum);
    w += blockBytesQ4(form);
    hml += 96;
    scale += 4;
    blockSum += 4;
  }
  v128.store(y, f32x4.mul(sum0, f32x4.splat(UP)));
  if (both) v128.store(y, f32x4.mul(sum1, f32x4.splat(UP)), 16);
}

/** Groups `from` to `to` of an operation: a loop for each form of scales, which the compiler makes of this one. */
// @ts-ignore: decorator
@inline
function groups(form: i32, op: usize, from: i32, to: i32): void {
  const fours = fieldInt(op, 3);
  const blocks = fieldInt(op, 4);
  const record = field(op, 5);
  const first = fieldInt(op, 6);
  const add = fieldInt(op, 9) != 0;
  const hml = <usize>load<u32>(record, A_HML) + <usize>(first * 96);
  const hi = <usize>load<u32>(record, A_HI) + <usize>(first << 6);
  const lo = <usize>load<u32>(record, A_LO) + <usize>(first << 6);
  const scale = <usize>load<u32>(record, A_SCALE) + <usize>(first << 2);
  const blockSum = <usize>load<u32>(record, A_SUM) + <usize>(first << 2);
  for (let g = from; g < to; g++) {
    const w = field(op, 2) + <usize>g * <usize>blocks * blockBytesQ4(form);
    const y = field(op, 7) + <usize>(g << 5);
    // The last group may have a second half of padding, whose place in y belongs to somebody else.
    const both = fours - (g << 1) > 1;
    if (ASC_FEATURE_RELAXED_SIMD) {
      groupRelaxed(form, w, blocks, hml, scale, blockSum, y, add, both);
    } else {
      halfPlain(form, w, 0, blocks, hi, lo, scale, blockSum, y, add);
      if (both) halfPlain(form, w, 1, blocks, hi, lo, scale, blockSum, y + 16, add);
    }
  }
}

function groupsPlain(op: usize, from: i32, to: i32): void {
  groups(PLAIN_MINS, op, from, to);
}

function groupsShort(op: usize, from: i32, to: i32): void {
  groups(SHORT, op, from, to);
}

function groupsShortMins(op: usize, from: i32, to: i32): void {
  groups(SHORT_MINS, op, from, to);
}

/**
 * y (+)= tile · x. Fields: 2 tile, 3 groups of 4 rows, 4 blocks a row, 5 record, 6 first block of x, 7 y, 8 bytes between
 * positions of y, 9: 1 = add to y, 10 chunk of pairs of groups, 11: 1 = one position only, 12 panel of weights, 13 its
 * bytes a thread, 14 form of the scales (tiles.ts). Rows are written in fours.
 */
export function matmulQ4(op: usize, thread: i32): void {
  if (!fieldInt(op, 11) && count() > 1) return gemm(op, thread, TILE_Q4);
  const chunk = fieldInt(op, 10);
  const total = (fieldInt(op, 3) + 1) >> 1;
  const form = fieldInt(op, 14);
  for (let piece = firstPiece(thread, chunk); piece < total; piece = nextPiece(op, chunk)) {
    const to = min(piece + chunk, total);
    if (form == SHORT_MINS) groupsShortMins(op, piece, to);
    else if (form == SHORT) groupsShort(op, piece, to);
    else groupsPlain(op, piece, to);
  }
}
