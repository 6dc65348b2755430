// 8-bit tiles. Device layout: groups of 4 rows; a group is a run of blocks of 32 columns:
//   per sub-block (one of 32 columns, or two of 16): 4 scales (f32), then 4 minima where the tile has them;
//   then 8 vectors of 16 bytes: byte 4·row + c of vector j holds column 4j + c.
// The weights take all 8 bits, so they meet the upper 16 bits of the activations, then their lowest byte, in 16-bit lanes:
// sums of products stay inside i32, no relaxed instruction.
import { gemm } from './gemm';
import { A_HI, A_LO, A_SCALE, A_SUM, count, field, fieldInt, firstPiece, nextPiece } from './layout';
import { joinPairs, whole } from './simd';
import { TILE_Q8, headerQ8 } from './tiles';

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

/** One block of 32 columns of one group, added to `sum`. */
// @ts-ignore: decorator
@inline
function block(sum: v128, w: usize, header: usize, halves: bool, mins: bool, hi: usize, lo: usize, scale: usize, blockSum: usize): v128 {
  const q = w + header;
  const x = v128.load32_splat(scale);
  const upper0 = dot16(q, hi);
  const lower0 = dot16(q, lo);
  const upper1 = dot16(q + 64, hi + 32);
  const lower1 = dot16(q + 64, lo + 32);
  if (halves) {
    sum = f32x4.add(sum, f32x4.mul(f32x4.mul(v128.load(w), whole(upper0, lower0)), x));
    return f32x4.add(sum, f32x4.mul(f32x4.mul(v128.load(w, 16), whole(upper1, lower1)), x));
  }
  const dots = whole(i32x4.add(upper0, upper1), i32x4.add(lower0, lower1));
  const product = f32x4.mul(f32x4.mul(v128.load(w), dots), x);
  if (mins) return f32x4.add(sum, f32x4.add(product, f32x4.mul(v128.load(w, 16), v128.load32_splat(blockSum))));
  return f32x4.add(sum, product);
}

/**
 * y (+)= tile · x. Fields as in matmulQ4, and 14: 1 = two scales a block (16 columns each), 15: 1 = has minima.
 * A tile has one or the other.
 */
export function matmulQ8(op: usize, thread: i32): void {
  if (!fieldInt(op, 11) && count() > 1) return gemm(op, thread, TILE_Q8);
  const fours = fieldInt(op, 3);
  const blocks = fieldInt(op, 4);
  const record = field(op, 5);
  const first = fieldInt(op, 6);
  const add = fieldInt(op, 9) != 0;
  const chunk = fieldInt(op, 10) << 1;
  const halves = fieldInt(op, 14) != 0;
  const mins = fieldInt(op, 15) != 0;
  const header = headerQ8(halves, mins);
  const hi = <usize>load<u32>(record, A_HI) + <usize>(first << 6);
  const lo = <usize>load<u32>(record, A_LO) + <usize>(first << 6);
  const scale = <usize>load<u32>(record, A_SCALE) + <usize>(first << 2);
  const blockSum = <usize>load<u32>(record, A_SUM) + <usize>(first << 2);
  for (let piece = firstPiece(thread, chunk); piece < fours; piece = nextPiece(op, chunk)) {
    const to = min(piece + chunk, fours);
    for (let g = piece; g < to; g++) {
      const out = field(op, 7) + <usize>(g << 4);
      let w = field(op, 2) + <usize>g * <usize>blocks * (header + 128);
      let sum = add ? v128.load(out) : f32x4.splat(0);
      for (let b = 0; b < blocks; b++) {
        const at = <usize>b;
        sum = block(sum, w, header, halves, mins, hi + (at << 6), lo + (at << 6), scale + (at << 2), blockSum + (at << 2));
        w += header + 128;
      }
      v128.store(out, sum);
    }
  }
}
