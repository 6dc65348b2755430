// Tiles times several positions, in f32: 8 rows of weights are unpacked into a panel that stays in the first cache, and meet
// 4 positions at a time, whose 8 × 4 sums stay in registers.
import { A_F32, A_N, PANEL, count, field, fieldInt, firstPiece, nextPiece } from './layout';
import { madd } from './simd';
import { PANEL_BLOCKS, unpackFours } from './tiles';

// @ts-ignore: decorator
@inline
function put(y: usize, a: v128, b: v128, both: bool, start: bool): void {
  v128.store(y, start ? a : f32x4.add(v128.load(y), a));
  if (both) v128.store(y, start ? b : f32x4.add(v128.load(y, 16), b), 16);
}

/**
 * y (+)= 8 rows · 4 positions over the panel's columns. Sums begin at zero and are added to y at the end: short chains of
 * additions round less than one over the whole row.
 */
function tile(
  weights: usize, end: usize, x: usize, y: usize, yStride: usize, positions: i32, both: bool, start: bool,
): void {
  let a0 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  // One column a turn: unrolled, V8 loads everything first and spills the sums, which takes twice as long.
  while (weights < end) {
    const a = v128.load(weights);
    const b = v128.load(weights, 16);
    const x0 = v128.load32_splat(x);
    const x1 = v128.load32_splat(x, 4);
    const x2 = v128.load32_splat(x, 8);
    const x3 = v128.load32_splat(x, 12);
    a0 = madd(a, x0, a0);
    b0 = madd(b, x0, b0);
    a1 = madd(a, x1, a1);
    b1 = madd(b, x1, b1);
    a2 = madd(a, x2, a2);
    b2 = madd(b, x2, b2);
    a3 = madd(a, x3, a3);
    b3 = madd(b, x3, b3);
    weights += 32;
    x += 16;
  }
  put(y, a0, b0, both, start);
  if (positions > 1) put(y + yStride, a1, b1, both, start);
  if (positions > 2) put(y + 2 * yStride, a2, b2, both, start);
  if (positions > 3) put(y + 3 * yStride, a3, b3, both, start);
}

/** Fields as in matmulQ4, for tiles of any kind. */
export function gemm(op: usize, thread: i32, kind: i32): void {
  const fours = fieldInt(op, 3);
  const blocks = fieldInt(op, 4);
  const record = field(op, 5);
  const yStride = field(op, 8);
  const add = fieldInt(op, 9) != 0;
  const chunk = fieldInt(op, 10);
  const weights = field(op, 12) + <usize>thread * field(op, 13);
  const form = fieldInt(op, 14);
  const groups = (fours + 1) >> 1;
  const positions = count();
  const xStride = <usize>load<i32>(record, A_N) << 4;
  const x = <usize>load<u32>(record, A_F32) + (<usize>fieldInt(op, 6) << 9);
  for (let piece = firstPiece(thread, chunk); piece < groups; piece = nextPiece(op, chunk)) {
    const to = min(piece + chunk, groups);
    for (let g = piece; g < to; g++) {
      const both = fours - (g << 1) > 1;
      for (let b = 0; b < blocks; b += PANEL_BLOCKS) {
        const n = min(PANEL_BLOCKS, blocks - b);
        const end = weights + (<usize>n << 10);
        unpackFours(kind, field(op, 2), g << 1, blocks, b, n, form, weights);
        // Without a second half its lanes hold an earlier group's, and their sums go nowhere.
        if (both) unpackFours(kind, field(op, 2), (g << 1) + 1, blocks, b, n, form, weights + 16);
        let from = x + (<usize>b << 9);
        for (let t = 0; t < positions; t += PANEL) {
          const y = field(op, 7) + <usize>(g << 5) + <usize>t * yStride;
          tile(weights, end, from, y, yStride, positions - t, both, b == 0 && !add);
          from += xStride;
        }
      }
    }
  }
}
