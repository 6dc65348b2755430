// Tiles of plain values. Device layout: groups of 4 rows; column by column, the four rows' values side by side
// (16 bytes a column for f32, 8 for f16 and bf16). Activations are f32.
import { gemm } from './gemm';
import { A_F32, count, field, fieldInt, firstPiece, nextPiece } from './layout';
import { TILE_BF16, TILE_F16, TILE_F32, fourRows } from './tiles';

// @ts-ignore: decorator
@inline
function groupTimes(kind: i32, w: usize, cols: usize, x: usize, sum: v128): v128 {
  let even = f32x4.splat(0);
  let odd = f32x4.splat(0);
  for (let c: usize = 0; c < cols; c += 2) {
    even = f32x4.add(even, f32x4.mul(fourRows(kind, w, c), v128.load32_splat(x + (c << 2))));
    odd = f32x4.add(odd, f32x4.mul(fourRows(kind, w, c + 1), v128.load32_splat(x + (c << 2), 4)));
  }
  return f32x4.add(sum, f32x4.add(even, odd));
}

/** y (+)= tile · x. Fields as in matmulQ4, and 16: kind of value. */
export function matmulFloat(op: usize, thread: i32): void {
  const kind = fieldInt(op, 16);
  if (!fieldInt(op, 11) && count() > 1) return gemm(op, thread, kind);
  const fours = fieldInt(op, 3);
  const cols = <usize>fieldInt(op, 4) << 5;
  const add = fieldInt(op, 9) != 0;
  const chunk = fieldInt(op, 10) << 1;
  const groupBytes = cols << (kind == TILE_F32 ? 4 : 3);
  const x = <usize>load<u32>(field(op, 5), A_F32) + (<usize>fieldInt(op, 6) << 7);
  for (let piece = firstPiece(thread, chunk); piece < fours; piece = nextPiece(op, chunk)) {
    const to = min(piece + chunk, fours);
    for (let g = piece; g < to; g++) {
      const w = field(op, 2) + <usize>g * groupBytes;
      const out = field(op, 7) + <usize>(g << 4);
      const start = add ? v128.load(out) : f32x4.splat(0);
      if (kind == TILE_F32) v128.store(out, groupTimes(TILE_F32, w, cols, x, start));
      else if (kind == TILE_F16) v128.store(out, groupTimes(TILE_F16, w, cols, x, start));
      else v128.store(out, groupTimes(TILE_BF16, w, cols, x, start));
    }
  }
}
