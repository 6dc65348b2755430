// Tiles of plain values. Device layout: groups of 4 rows; column by column, the four rows' values side by side
// (16 bytes a column for f32, 8 for f16 and bf16). Activations are f32.
import { A_F32, A_N, count, field, fieldInt, take } from './layout';

// @ts-ignore: decorator
@inline export const KIND_F32: i32 = 0;
// @ts-ignore: decorator
@inline export const KIND_F16: i32 = 1;
// @ts-ignore: decorator
@inline export const KIND_BF16: i32 = 2;

/** Four halves in the low 16 bits of each lane → f32: exponent moved by multiplying with 2^112, exact for subnormals too. */
// @ts-ignore: decorator
@inline
function halves(bits: v128): v128 {
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  return v128.or(f32x4.mul(magnitude, f32x4.splat(5192296858534827628530496329220096.0)), sign);
}

/** Values of 4 rows at column `c` of a group. */
// @ts-ignore: decorator
@inline
export function fourRows(kind: i32, group: usize, c: usize): v128 {
  if (kind == KIND_F32) return v128.load(group + (c << 4));
  const bits = v128.load16x4_u(group + (c << 3));
  return kind == KIND_F16 ? halves(bits) : i32x4.shl(bits, 16);
}

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

/** y (+)= tile · x. Fields as in matmulQ4 (4 and 6 count blocks of 32 columns), and 12: kind of value. */
export function matmulFloat(op: usize): void {
  const tile = field(op, 2);
  const groups = fieldInt(op, 3);
  const cols = <usize>fieldInt(op, 4) << 5;
  const record = field(op, 5);
  const y = field(op, 7);
  const yStride = field(op, 8);
  const add = fieldInt(op, 9) != 0;
  const chunk = fieldInt(op, 10);
  const positions = fieldInt(op, 11) ? 1 : count();
  const kind = fieldInt(op, 12);
  const groupBytes = cols << (kind == KIND_F32 ? 4 : 3);
  const xStride = <usize>load<i32>(record, A_N) << 2;
  const x = <usize>load<u32>(record, A_F32) + (<usize>fieldInt(op, 6) << 7);
  for (;;) {
    let g = take(op, chunk);
    if (g >= groups) break;
    const to = min(g + chunk, groups);
    for (; g < to; g++) {
      const w = tile + <usize>g * groupBytes;
      for (let t = 0; t < positions; t++) {
        const out = y + <usize>(g << 4) + <usize>t * yStride;
        const start = add ? v128.load(out) : f32x4.splat(0);
        const from = x + <usize>t * xStride;
        if (kind == KIND_F32) v128.store(out, groupTimes(KIND_F32, w, cols, from, start));
        else if (kind == KIND_F16) v128.store(out, groupTimes(KIND_F16, w, cols, from, start));
        else v128.store(out, groupTimes(KIND_BF16, w, cols, from, start));
      }
    }
  }
}
