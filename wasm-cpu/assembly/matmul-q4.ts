// 4-bit tiles. Device layout: groups of 8 rows; a group is a run of blocks of 192 bytes, one stream through memory (two
// streams side by side took twice as long: the hardware's prefetcher follows one). A block is two halves of 4 rows:
//   4 scales (f32), 4 minima (f32), 4 vectors of 16 bytes. Byte 4·row + c of vector j holds column 8j + c in its low
//   nibble and column 8j + 4 + c in its high one, so that one 4-byte broadcast of activations serves four rows, and the
//   four lanes of an accumulator are four rows: no sums across lanes, no shuffles.
import { A_HL, A_N, A_SCALE, A_SUM, A_XS, count, field, fieldInt, take } from './layout';
import { joinPairs } from './simd';

// @ts-ignore: decorator
@inline export const HALF_BYTES: usize = 96;
// @ts-ignore: decorator
@inline export const BLOCK_BYTES: usize = 192;

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
 * 16-bit dot products of 8 pairs: |h · nibble| pairs sum to at most 2·15·128, eight of them stay inside i16, and the
 * relaxed instruction is exact on every engine because the nibbles are its 7-bit operand.
 */
// @ts-ignore: decorator
@inline
function dot(activations: v128, nibbles: v128): v128 {
  return v128.relaxed_dot<i16>(activations, nibbles);
}

/** 256·h + l, two 16-bit lanes a row → one i32 a row. */
// @ts-ignore: decorator
@inline
function join(h: v128, l: v128): v128 {
  return i32x4.add(i32x4.shl(i32x4.extadd_pairwise_i16x8_s(h), 8), i32x4.extadd_pairwise_i16x8_s(l));
}

/** One block of 4 rows against one position (plain SIMD: 16-bit activations). */
// @ts-ignore: decorator
@inline
function blockPlain(w: usize, xs: usize): v128 {
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
  const product = f32x4.mul(f32x4.mul(v128.load(w), f32x4.convert_i32x4_s(dots)), v128.load32_splat(scale));
  return f32x4.add(sum, f32x4.add(product, f32x4.mul(v128.load(w, 16), v128.load32_splat(blockSum))));
}

/** Half a group (4 rows), one position; `sum` is where it starts. */
function vectorHalf(w: usize, blocks: i32, xs: usize, hl: usize, scale: usize, blockSum: usize, sum: v128): v128 {
  for (let b = 0; b < blocks; b++) {
    let dots: v128;
    if (ASC_FEATURE_RELAXED_SIMD) {
      let h = i16x8.splat(0);
      let l = i16x8.splat(0);
      for (let j: usize = 0; j < 4; j++) {
        const v = v128.load(w + (j << 4), 32);
        const p0 = low(v);
        const p1 = high(v);
        h = i16x8.add(h, dot(v128.load32_splat(hl + (j << 3)), p0));
        l = i16x8.add(l, dot(v128.load32_splat(hl + (j << 3), 32), p0));
        h = i16x8.add(h, dot(v128.load32_splat(hl + (j << 3), 4), p1));
        l = i16x8.add(l, dot(v128.load32_splat(hl + (j << 3), 36), p1));
      }
      dots = join(h, l);
    } else {
      dots = blockPlain(w, xs);
    }
    sum = scaled(sum, w, dots, scale, blockSum);
    w += BLOCK_BYTES;
    xs += 64;
    hl += 64;
    scale += 4;
    blockSum += 4;
  }
  return sum;
}

/** A group of 8 rows, one position: the broadcasts serve all of them. */
function vectorGroup(w: usize, blocks: i32, hl: usize, scale: usize, blockSum: usize, y: usize, add: bool): void {
  let sum0 = add ? v128.load(y) : f32x4.splat(0);
  let sum1 = add ? v128.load(y, 16) : f32x4.splat(0);
  for (let b = 0; b < blocks; b++) {
    let v0 = v128.load(w, 32);
    let v1 = v128.load(w, 128);
    let p0 = low(v0);
    let p1 = low(v1);
    let xh = v128.load32_splat(hl, 0);
    let xl = v128.load32_splat(hl, 32);
    let h0 = dot(xh, p0);
    let l0 = dot(xl, p0);
    let h1 = dot(xh, p1);
    let l1 = dot(xl, p1);
    p0 = high(v0);
    p1 = high(v1);
    xh = v128.load32_splat(hl, 4);
    xl = v128.load32_splat(hl, 36);
    h0 = i16x8.add(h0, dot(xh, p0));
    l0 = i16x8.add(l0, dot(xl, p0));
    h1 = i16x8.add(h1, dot(xh, p1));
    l1 = i16x8.add(l1, dot(xl, p1));
    v0 = v128.load(w, 48);
    v1 = v128.load(w, 144);
    p0 = low(v0);
    p1 = low(v1);
    xh = v128.load32_splat(hl, 8);
    xl = v128.load32_splat(hl, 40);
    h0 = i16x8.add(h0, dot(xh, p0));
    l0 = i16x8.add(l0, dot(xl, p0));
    h1 = i16x8.add(h1, dot(xh, p1));
    l1 = i16x8.add(l1, dot(xl, p1));
    p0 = high(v0);
    p1 = high(v1);
    xh = v128.load32_splat(hl, 12);
    xl = v128.load32_splat(hl, 44);
    h0 = i16x8.add(h0, dot(xh, p0));
    l0 = i16x8.add(l0, dot(xl, p0));
    h1 = i16x8.add(h1, dot(xh, p1));
    l1 = i16x8.add(l1, dot(xl, p1));
    v0 = v128.load(w, 64);
    v1 = v128.load(w, 160);
    p0 = low(v0);
    p1 = low(v1);
    xh = v128.load32_splat(hl, 16);
    xl = v128.load32_splat(hl, 48);
    h0 = i16x8.add(h0, dot(xh, p0));
    l0 = i16x8.add(l0, dot(xl, p0));
    h1 = i16x8.add(h1, dot(xh, p1));
    l1 = i16x8.add(l1, dot(xl, p1));
    p0 = high(v0);
    p1 = high(v1);
    xh = v128.load32_splat(hl, 20);
    xl = v128.load32_splat(hl, 52);
    h0 = i16x8.add(h0, dot(xh, p0));
    l0 = i16x8.add(l0, dot(xl, p0));
    h1 = i16x8.add(h1, dot(xh, p1));
    l1 = i16x8.add(l1, dot(xl, p1));
    v0 = v128.load(w, 80);
    v1 = v128.load(w, 176);
    p0 = low(v0);
    p1 = low(v1);
    xh = v128.load32_splat(hl, 24);
    xl = v128.load32_splat(hl, 56);
    h0 = i16x8.add(h0, dot(xh, p0));
    l0 = i16x8.add(l0, dot(xl, p0));
    h1 = i16x8.add(h1, dot(xh, p1));
    l1 = i16x8.add(l1, dot(xl, p1));
    p0 = high(v0);
    p1 = high(v1);
    xh = v128.load32_splat(hl, 28);
    xl = v128.load32_splat(hl, 60);
    h0 = i16x8.add(h0, dot(xh, p0));
    l0 = i16x8.add(l0, dot(xl, p0));
    h1 = i16x8.add(h1, dot(xh, p1));
    l1 = i16x8.add(l1, dot(xl, p1));
    sum0 = scaled(sum0, w, join(h0, l0), scale, blockSum);
    sum1 = scaled(sum1, w + HALF_BYTES, join(h1, l1), scale, blockSum);
    w += BLOCK_BYTES;
    hl += 64;
    scale += 4;
    blockSum += 4;
  }
  v128.store(y, sum0);
  v128.store(y, sum1, 16);
}

/** Half a group (4 rows) against all positions: nibbles are unpacked once a block and stay in registers. */
function matrixHalf(
  w: usize,
  blocks: i32,
  positions: i32,
  record: usize,
  firstBlock: i32,
  y: usize,
  yStride: usize,
  add: bool,
): void {
  const rowBlocks = load<i32>(record, A_N) >> 5;
  const step = <usize>(rowBlocks << 6);
  const scaleStep = <usize>(rowBlocks << 2);
  if (!add) {
    for (let t = 0; t < positions; t++) v128.store(y + <usize>t * yStride, f32x4.splat(0));
  }
  for (let b = 0; b < blocks; b++) {
    const at = <usize>(firstBlock + b);
    let xs = <usize>load<u32>(record, A_XS) + (at << 6);
    let hl = <usize>load<u32>(record, A_HL) + (at << 6);
    let scale = <usize>load<u32>(record, A_SCALE) + (at << 2);
    let blockSum = <usize>load<u32>(record, A_SUM) + (at << 2);
    let out = y;
    if (ASC_FEATURE_RELAXED_SIMD) {
      const v0 = v128.load(w, 32);
      const v1 = v128.load(w, 48);
      const v2 = v128.load(w, 64);
      const v3 = v128.load(w, 80);
      const p0 = low(v0);
      const p1 = high(v0);
      const p2 = low(v1);
      const p3 = high(v1);
      const p4 = low(v2);
      const p5 = high(v2);
      const p6 = low(v3);
      const p7 = high(v3);
      for (let t = 0; t < positions; t++) {
        let h = dot(v128.load32_splat(hl), p0);
        let l = dot(v128.load32_splat(hl, 32), p0);
        h = i16x8.add(h, dot(v128.load32_splat(hl, 4), p1));
        l = i16x8.add(l, dot(v128.load32_splat(hl, 36), p1));
        h = i16x8.add(h, dot(v128.load32_splat(hl, 8), p2));
        l = i16x8.add(l, dot(v128.load32_splat(hl, 40), p2));
        h = i16x8.add(h, dot(v128.load32_splat(hl, 12), p3));
        l = i16x8.add(l, dot(v128.load32_splat(hl, 44), p3));
        h = i16x8.add(h, dot(v128.load32_splat(hl, 16), p4));
        l = i16x8.add(l, dot(v128.load32_splat(hl, 48), p4));
        h = i16x8.add(h, dot(v128.load32_splat(hl, 20), p5));
        l = i16x8.add(l, dot(v128.load32_splat(hl, 52), p5));
        h = i16x8.add(h, dot(v128.load32_splat(hl, 24), p6));
        l = i16x8.add(l, dot(v128.load32_splat(hl, 56), p6));
        h = i16x8.add(h, dot(v128.load32_splat(hl, 28), p7));
        l = i16x8.add(l, dot(v128.load32_splat(hl, 60), p7));
        v128.store(out, scaled(v128.load(out), w, join(h, l), scale, blockSum));
        hl += step;
        scale += scaleStep;
        blockSum += scaleStep;
        out += yStride;
      }
    } else {
      for (let t = 0; t < positions; t++) {
        v128.store(out, scaled(v128.load(out), w, blockPlain(w, xs), scale, blockSum));
        xs += step;
        scale += scaleStep;
        blockSum += scaleStep;
        out += yStride;
      }
    }
    w += BLOCK_BYTES;
  }
}

/**
 * y (+)= tile · x. Fields: 2 tile, 3 rows, 4 blocks a row, 5 record, 6 first block of x, 7 y, 8 bytes between positions
 * of y, 9: 1 = add to y, 10 chunk of groups, 11: 1 = one position only. Rows are written in fours.
 */
export function matmulQ4(op: usize): void {
  const tile = field(op, 2);
  const rows = fieldInt(op, 3);
  const blocks = fieldInt(op, 4);
  const record = field(op, 5);
  const firstBlock = fieldInt(op, 6);
  const y = field(op, 7);
  const yStride = field(op, 8);
  const add = fieldInt(op, 9) != 0;
  const chunk = fieldInt(op, 10);
  const positions = fieldInt(op, 11) ? 1 : count();
  const groups = (rows + 7) >> 3;
  const groupBytes = <usize>blocks * BLOCK_BYTES;
  const xs = <usize>load<u32>(record, A_XS) + <usize>(firstBlock << 6);
  const hl = <usize>load<u32>(record, A_HL) + <usize>(firstBlock << 6);
  const scale = <usize>load<u32>(record, A_SCALE) + <usize>(firstBlock << 2);
  const blockSum = <usize>load<u32>(record, A_SUM) + <usize>(firstBlock << 2);
  for (;;) {
    let g = take(op, chunk);
    if (g >= groups) break;
    const to = min(g + chunk, groups);
    for (; g < to; g++) {
      const w = tile + <usize>g * groupBytes;
      const out = y + <usize>(g << 5);
      // The last group may have a second half of padding, whose place in y belongs to somebody else.
      const halves = rows - (g << 3) > 4 ? 2 : 1;
      if (positions > 1) {
        for (let h = 0; h < halves; h++) {
          matrixHalf(w + <usize>h * HALF_BYTES, blocks, positions, record, firstBlock, out + <usize>(h << 4), yStride, add);
        }
      } else if (ASC_FEATURE_RELAXED_SIMD && halves == 2) {
        vectorGroup(w, blocks, hl, scale, blockSum, out, add);
      } else {
        for (let h = 0; h < halves; h++) {
          const at = out + <usize>(h << 4);
          const start = add ? v128.load(at) : f32x4.splat(0);
          v128.store(at, vectorHalf(w + <usize>h * HALF_BYTES, blocks, xs, hl, scale, blockSum, start));
        }
      }
    }
  }
}
