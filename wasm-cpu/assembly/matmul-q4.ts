// 4-bit tiles. Device layout: groups of 8 rows; a group is a run of blocks of 192 bytes, one stream through memory (two
// streams side by side took twice as long: the hardware's prefetcher follows one). A block is two halves of 4 rows:
//   4 scales (f32), 4 minima (f32), 4 vectors of 16 bytes. Byte 4·row + c of vector j holds column 8j + c in its low
//   nibble and column 8j + 4 + c in its high one, so that one 4-byte broadcast of activations serves four rows, and the
//   four lanes of an accumulator are four rows: no sums across lanes, no shuffles.
import { A_HI, A_HML, A_LO, A_SCALE, A_SUM, count, field, fieldInt, firstPiece, nextPiece } from './layout';
import { gemm } from './gemm';
import { BLOCK_BYTES, HALF_BYTES, TILE_Q4 } from './tiles';
import { joinPairs, whole } from './simd';

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
  const upper = i32x4.add(i32x4.shl(i32x4.extadd_pairwise_i16x8_s(h), 8), i32x4.extadd_pairwise_i16x8_s(m));
  return whole(upper, i32x4.extadd_pairwise_i16x8_s(l));
}

/** Products of one block of 4 rows with 16-bit values (plain SIMD), one i32 a row. */
// @ts-ignore: decorator
@inline
function dotPlain(w: usize, xs: usize): v128 {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  for (let j: usize = 0; j < 4; j++) {
    const v = v128.load(w + (j << 4), 32);
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

// @ts-ignore: decorator
@inline
function scaled(sum: v128, w: usize, dots: v128, scale: usize, blockSum: usize): v128 {
  const product = f32x4.mul(f32x4.mul(v128.load(w), dots), v128.load32_splat(scale));
  return f32x4.add(sum, f32x4.add(product, f32x4.mul(v128.load(w, 16), v128.load32_splat(blockSum))));
}

/** Half a group (4 rows) with plain SIMD; `sum` is where it starts. */
function halfPlain(w: usize, blocks: i32, hi: usize, lo: usize, scale: usize, blockSum: usize, sum: v128): v128 {
  for (let b = 0; b < blocks; b++) {
    sum = scaled(sum, w, whole(dotPlain(w, hi), dotPlain(w, lo)), scale, blockSum);
    w += BLOCK_BYTES;
    hi += 64;
    lo += 64;
    scale += 4;
    blockSum += 4;
  }
  return sum;
}

/** A group of 8 rows with relaxed SIMD: one broadcast of activations serves all of them. */
function groupRelaxed(
  w: usize, blocks: i32, hml: usize, scale: usize, blockSum: usize, y: usize, add: bool, both: bool,
): void {
  let sum0 = add ? v128.load(y) : f32x4.splat(0);
  let sum1 = add && both ? v128.load(y, 16) : f32x4.splat(0);
  for (let b = 0; b < blocks; b++) {
    let h0 = i16x8.splat(0);
    let m0 = i16x8.splat(0);
    let l0 = i16x8.splat(0);
    let h1 = i16x8.splat(0);
    let m1 = i16x8.splat(0);
    let l1 = i16x8.splat(0);
    // A loop on purpose: unrolled, V8 loads everything first and spills the sums.
    for (let j: usize = 0; j < 4; j++) {
      const v0 = v128.load(w + (j << 4), 32);
      const v1 = v128.load(w + (j << 4), 128);
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
    sum0 = scaled(sum0, w, join(h0, m0, l0), scale, blockSum);
    sum1 = scaled(sum1, w + HALF_BYTES, join(h1, m1, l1), scale, blockSum);
    w += BLOCK_BYTES;
    hml += 96;
    scale += 4;
    blockSum += 4;
  }
  v128.store(y, sum0);
  if (both) v128.store(y, sum1, 16);
}

/**
 * y (+)= tile · x. Fields: 2 tile, 3 groups of 4 rows, 4 blocks a row, 5 record, 6 first block of x, 7 y, 8 bytes between
 * positions of y, 9: 1 = add to y, 10 chunk of pairs of groups, 11: 1 = one position only, 12 panel of weights, 13 its
 * bytes a thread. Rows are written in fours.
 */
export function matmulQ4(op: usize, thread: i32): void {
  if (!fieldInt(op, 11) && count() > 1) return gemm(op, thread, TILE_Q4);
  const fours = fieldInt(op, 3);
  const blocks = fieldInt(op, 4);
  const record = field(op, 5);
  const first = fieldInt(op, 6);
  const add = fieldInt(op, 9) != 0;
  const chunk = fieldInt(op, 10);
  const groups = (fours + 1) >> 1;
  const hml = <usize>load<u32>(record, A_HML) + <usize>(first * 96);
  const hi = <usize>load<u32>(record, A_HI) + <usize>(first << 6);
  const lo = <usize>load<u32>(record, A_LO) + <usize>(first << 6);
  const scale = <usize>load<u32>(record, A_SCALE) + <usize>(first << 2);
  const blockSum = <usize>load<u32>(record, A_SUM) + <usize>(first << 2);
  for (let piece = firstPiece(thread, chunk); piece < groups; piece = nextPiece(op, chunk)) {
    const to = min(piece + chunk, groups);
    for (let g = piece; g < to; g++) {
      const w = field(op, 2) + <usize>g * <usize>blocks * BLOCK_BYTES;
      const out = field(op, 7) + <usize>(g << 5);
      // The last group may have a second half of padding, whose place in y belongs to somebody else.
      const both = fours - (g << 1) > 1;
      if (ASC_FEATURE_RELAXED_SIMD) {
        groupRelaxed(w, blocks, hml, scale, blockSum, out, add, both);
      } else {
        const halves: usize = both ? 2 : 1;
        for (let h: usize = 0; h < halves; h++) {
          const at = out + (h << 4);
          const start = add ? v128.load(at) : f32x4.splat(0);
          v128.store(at, halfPlain(w + h * HALF_BYTES, blocks, hi, lo, scale, blockSum, start));
        }
      }
    }
  }
}
