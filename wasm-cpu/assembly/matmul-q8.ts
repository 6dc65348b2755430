// 8-bit tiles. Device layout: groups of 4 rows; a group is a run of blocks of 32 columns:
//   per sub-block (one of 32 columns, or two of 16): 4 scales (f32), then 4 minima where the tile has them;
//   then 8 vectors of 16 bytes: byte 4·row + c of vector j holds column 4j + c.
// The weights take all 8 bits, so they meet 16-bit activations: products of pairs stay inside i32, no relaxed instruction.
import { A_N, A_SCALE, A_SUM, A_XS, count, field, fieldInt, take } from './layout';
import { joinPairs } from './simd';

/** 16 columns of 4 rows (4 vectors). */
// @ts-ignore: decorator
@inline
function dot16(w: usize, xs: usize): v128 {
  const v0 = v128.load(w);
  const v1 = v128.load(w, 16);
  const v2 = v128.load(w, 32);
  const v3 = v128.load(w, 48);
  const x0 = v128.load64_splat(xs);
  const x1 = v128.load64_splat(xs, 8);
  const x2 = v128.load64_splat(xs, 16);
  const x3 = v128.load64_splat(xs, 24);
  let a = i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(v0), x0);
  let b = i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(v0), x0);
  a = i32x4.add(a, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(v1), x1));
  b = i32x4.add(b, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(v1), x1));
  a = i32x4.add(a, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(v2), x2));
  b = i32x4.add(b, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(v2), x2));
  a = i32x4.add(a, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(v3), x3));
  b = i32x4.add(b, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(v3), x3));
  return joinPairs(a, b);
}

/** One block of 32 columns of one group, one position, added to `sum`. */
// @ts-ignore: decorator
@inline
function block(sum: v128, w: usize, header: usize, halves: bool, mins: bool, xs: usize, scale: usize, blockSum: usize): v128 {
  const q = w + header;
  const x = v128.load32_splat(scale);
  const first = dot16(q, xs);
  const second = dot16(q + 64, xs + 32);
  if (halves) {
    sum = f32x4.add(sum, f32x4.mul(f32x4.mul(v128.load(w), f32x4.convert_i32x4_s(first)), x));
    return f32x4.add(sum, f32x4.mul(f32x4.mul(v128.load(w, 16), f32x4.convert_i32x4_s(second)), x));
  }
  const product = f32x4.mul(f32x4.mul(v128.load(w), f32x4.convert_i32x4_s(i32x4.add(first, second))), x);
  if (mins) return f32x4.add(sum, f32x4.add(product, f32x4.mul(v128.load(w, 16), v128.load32_splat(blockSum))));
  return f32x4.add(sum, product);
}

/**
 * y (+)= tile · x. Fields as in matmulQ4, and 12: 1 = two scales a block (16 columns each), 13: 1 = has minima.
 * A tile has one or the other.
 */
export function matmulQ8(op: usize): void {
  const tile = field(op, 2);
  const groups = fieldInt(op, 3);
  const blocks = fieldInt(op, 4);
  const record = field(op, 5);
  const firstBlock = fieldInt(op, 6);
  const y = field(op, 7);
  const yStride = field(op, 8);
  const add = fieldInt(op, 9) != 0;
  const chunk = fieldInt(op, 10);
  const positions = fieldInt(op, 11) ? 1 : count();
  const halves = fieldInt(op, 12) != 0;
  const mins = fieldInt(op, 13) != 0;
  const header: usize = halves || mins ? 32 : 16;
  const blockBytes = header + 128;
  const groupBytes = <usize>blocks * blockBytes;
  const rowBlocks = <usize>(load<i32>(record, A_N) >> 5);
  const xs = <usize>load<u32>(record, A_XS) + (<usize>firstBlock << 6);
  const scale = <usize>load<u32>(record, A_SCALE) + (<usize>firstBlock << 2);
  const blockSum = <usize>load<u32>(record, A_SUM) + (<usize>firstBlock << 2);
  for (;;) {
    let g = take(op, chunk);
    if (g >= groups) break;
    const to = min(g + chunk, groups);
    for (; g < to; g++) {
      for (let t = 0; t < positions; t++) {
        const out = y + <usize>(g << 4) + <usize>t * yStride;
        let w = tile + <usize>g * groupBytes;
        let x = xs + ((<usize>t * rowBlocks) << 6);
        let s = scale + ((<usize>t * rowBlocks) << 2);
        let m = blockSum + ((<usize>t * rowBlocks) << 2);
        let sum = add ? v128.load(out) : f32x4.splat(0);
        for (let b = 0; b < blocks; b++) {
          sum = block(sum, w, header, halves, mins, x, s, m);
          w += blockBytes;
          x += 64;
          s += 4;
          m += 4;
        }
        v128.store(out, sum);
      }
    }
  }
}
