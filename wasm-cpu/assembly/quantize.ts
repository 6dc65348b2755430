// Activations as the products want them: 24-bit integers for one position, panels of f32 for several.
import {
  A_F32, A_HI, A_HML, A_LO, A_N, A_SCALE, A_SUM, UP_ACTIVATION, count, field, fieldInt, firstPiece, nextPiece,
} from './layout';
import { panelColumn, putPanel } from './panel';
import { exp4, max4 } from './simd';

const SMALLEST: f32 = 7.888609052210118e-31; // 2^-100

/** The lowest byte of four integers, as a signed one. */
// @ts-ignore: decorator
@inline
function lowest(x: v128): v128 {
  return i32x4.shr_s(i32x4.shl(x, 24), 24);
}

/** Rounds 32 floats at `source` to 24-bit integers with a power-of-two scale: block `block` of a record's one position. */
export function quantizeBlock(source: usize, record: usize, block: i32): void {
  let amax = f32x4.abs(v128.load(source));
  for (let i: usize = 16; i < 128; i += 16) amax = f32x4.pmax(amax, f32x4.abs(v128.load(source + i)));
  const a = max4(amax);
  const hml = load<u32>(record, A_HML) + <usize>(block * 96);
  const hi = load<u32>(record, A_HI) + <usize>(block << 6);
  const lo = load<u32>(record, A_LO) + <usize>(block << 6);
  const scaleAt = load<u32>(record, A_SCALE) + <usize>(block << 2);
  const sumAt = load<u32>(record, A_SUM) + <usize>(block << 2);
  if (!(a >= SMALLEST)) {
    memory.fill(hml, 0, 96);
    memory.fill(hi, 0, 64);
    memory.fill(lo, 0, 64);
    store<f32>(scaleAt, 0);
    store<f32>(sumAt, 0);
    return;
  }
  const exponent = (reinterpret<u32>(a) + 0x10101) >> 23;
  const inverse = f32x4.splat(reinterpret<f32>((276 - exponent) << 23));
  const scale = reinterpret<f32>((exponent - 22) << 23) * UP_ACTIVATION;
  let sum = i32x4.splat(0);
  for (let half: usize = 0; half < 2; half++) {
    const from = source + (half << 6);
    const x0 = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(from), inverse)));
    const x1 = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(from, 16), inverse)));
    const x2 = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(from, 32), inverse)));
    const x3 = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(from, 48), inverse)));
    sum = i32x4.add(sum, i32x4.add(i32x4.add(x0, x1), i32x4.add(x2, x3)));
    const l0 = lowest(x0);
    const l1 = lowest(x1);
    const l2 = lowest(x2);
    const l3 = lowest(x3);
    const upper0 = i16x8.narrow_i32x4_s(i32x4.shr_s(i32x4.sub(x0, l0), 8), i32x4.shr_s(i32x4.sub(x1, l1), 8));
    const upper1 = i16x8.narrow_i32x4_s(i32x4.shr_s(i32x4.sub(x2, l2), 8), i32x4.shr_s(i32x4.sub(x3, l3), 8));
    const lower0 = i16x8.narrow_i32x4_s(l0, l1);
    const lower1 = i16x8.narrow_i32x4_s(l2, l3);
    v128.store(hi + (half << 5), upper0);
    v128.store(hi + (half << 5), upper1, 16);
    v128.store(lo + (half << 5), lower0);
    v128.store(lo + (half << 5), lower1, 16);
    const h0 = i16x8.shr_s(i16x8.add(upper0, i16x8.splat(128)), 8);
    const h1 = i16x8.shr_s(i16x8.add(upper1, i16x8.splat(128)), 8);
    const m0 = i16x8.sub(upper0, i16x8.shl(h0, 8));
    const m1 = i16x8.sub(upper1, i16x8.shl(h1, 8));
    v128.store(hml + (half << 4), i8x16.narrow_i16x8_s(h0, h1));
    v128.store(hml + (half << 4), i8x16.narrow_i16x8_s(m0, m1), 32);
    v128.store(hml + (half << 4), i8x16.narrow_i16x8_s(lower0, lower1), 64);
  }
  const total =
    i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) + i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3);
  store<f32>(scaleAt, scale);
  store<f32>(sumAt, <f32>total * scale);
}

/** silu(gate) · up, as activations. Fields: 2 record, 3 chunk of blocks, 4 gate, 5 up (both [T][n]). */
export function silu(op: usize, thread: i32): void {
  const record = field(op, 2);
  const chunk = fieldInt(op, 3);
  const gate = field(op, 4);
  const up = field(op, 5);
  const n = load<i32>(record, A_N);
  const blocks = n >> 5;
  const values = <usize>load<u32>(record, A_F32);
  const panel = count() > 1;
  const total = count() * blocks;
  const one = f32x4.splat(1);
  for (let from = firstPiece(thread, chunk); from < total; from = nextPiece(op, chunk)) {
    const to = min(from + chunk, total);
    for (let i = from; i < to; i++) {
      const start = <usize>(i << 7);
      const column = panelColumn(values, n, i / blocks, i % blocks << 5);
      for (let j: usize = 0; j < 128; j += 16) {
        const g = v128.load(gate + start + j);
        const activated = f32x4.div(g, f32x4.add(one, exp4(f32x4.neg(g))));
        const product = f32x4.mul(activated, v128.load(up + start + j));
        if (panel) putPanel(column + (j << 2), product);
        else v128.store(values + start + j, product);
      }
      if (!panel) quantizeBlock(values + start, record, i);
    }
  }
}
