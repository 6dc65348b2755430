import {
  A_F32, A_HL, A_N, A_SCALE, A_SUM, A_XS, PART_BYTES, chunksOf, count, field, fieldInt, position, take,
} from './layout';
import { exp4, max4 } from './simd';

const SMALLEST: f32 = 7.888609052210118e-31; // 2^-100

/** Quantizes 32 floats at `source` as block `block` of position `t` of an activations record. */
export function quantizeBlock(source: usize, record: usize, t: i32, block: i32): void {
  const n = load<i32>(record, A_N);
  const at = t * (n >> 5) + block;
  let amax = f32x4.abs(v128.load(source));
  for (let i: usize = 16; i < 128; i += 16) amax = f32x4.pmax(amax, f32x4.abs(v128.load(source + i)));
  const a = max4(amax);
  const xs = load<u32>(record, A_XS) + <usize>(at << 6);
  const hl = load<u32>(record, A_HL) + <usize>(at << 6);
  const scaleAt = load<u32>(record, A_SCALE) + <usize>(at << 2);
  const sumAt = load<u32>(record, A_SUM) + <usize>(at << 2);
  if (!(a >= SMALLEST)) {
    memory.fill(xs, 0, 64);
    memory.fill(hl, 0, 64);
    store<f32>(scaleAt, 0);
    store<f32>(sumAt, 0);
    return;
  }
  const exponent = (reinterpret<u32>(a) + 0x10100) >> 23;
  const inverse = f32x4.splat(reinterpret<f32>((268 - exponent) << 23));
  const scale = reinterpret<f32>((exponent - 14) << 23);
  let sum = i32x4.splat(0);
  for (let half: usize = 0; half < 2; half++) {
    const from = source + (half << 6);
    const x0 = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(from), inverse)));
    const x1 = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(from, 16), inverse)));
    const x2 = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(from, 32), inverse)));
    const x3 = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(from, 48), inverse)));
    sum = i32x4.add(sum, i32x4.add(i32x4.add(x0, x1), i32x4.add(x2, x3)));
    const a0 = i16x8.narrow_i32x4_s(x0, x1);
    const a1 = i16x8.narrow_i32x4_s(x2, x3);
    v128.store(xs + (half << 5), a0);
    v128.store(xs + (half << 5), a1, 16);
    const h0 = i16x8.shr_s(i16x8.add(a0, i16x8.splat(128)), 8);
    const h1 = i16x8.shr_s(i16x8.add(a1, i16x8.splat(128)), 8);
    const l0 = i16x8.sub(a0, i16x8.shl(h0, 8));
    const l1 = i16x8.sub(a1, i16x8.shl(h1, 8));
    v128.store(hl + (half << 4), i8x16.narrow_i16x8_s(h0, h1));
    v128.store(hl + (half << 4), i8x16.narrow_i16x8_s(l0, l1), 32);
  }
  const total =
    i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1) + i32x4.extract_lane(sum, 2) + i32x4.extract_lane(sum, 3);
  store<f32>(scaleAt, scale);
  store<f32>(sumAt, <f32>total * scale);
}

/** 8 values of one head's attention row, out of the parts of its chunks. */
function combine8(row: usize, partBytes: usize, chunks: i32, d: usize, out: usize): void {
  let top: f32 = load<f32>(row);
  for (let c = 1; c < chunks; c++) top = max<f32>(top, load<f32>(row + <usize>c * partBytes));
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let sum: f32 = 0;
  for (let c = 0; c < chunks; c++) {
    const part = row + <usize>c * partBytes;
    const weight = chunks == 1 ? <f32>1 : f32x4.extract_lane(exp4(f32x4.splat(load<f32>(part) - top)), 0);
    const w = f32x4.splat(weight);
    sum += weight * load<f32>(part, 4);
    a = f32x4.add(a, f32x4.mul(w, v128.load(part + PART_BYTES + d)));
    b = f32x4.add(b, f32x4.mul(w, v128.load(part + PART_BYTES + d, 16)));
  }
  const factor = f32x4.splat(<f32>1 / sum);
  v128.store(out, f32x4.mul(a, factor));
  v128.store(out, f32x4.mul(b, factor), 16);
}

/**
 * Attention rows put together from their parts, and quantized. Fields: 2 record, 3 chunk of blocks, 4 parts,
 * 5 headDim (a multiple of 8), 6 parts a head and position at most, 7 positions a chunk.
 */
export function combine(op: usize): void {
  const record = field(op, 2);
  const chunk = fieldInt(op, 3);
  const parts = field(op, 4);
  const headDim = fieldInt(op, 5);
  const size = fieldInt(op, 7);
  const partBytes = PART_BYTES + <usize>(headDim << 2);
  const rowBytes = field(op, 6) * partBytes;
  const n = load<i32>(record, A_N);
  const heads = n / headDim;
  const blocks = n >> 5;
  const values = <usize>load<u32>(record, A_F32);
  const total = count() * blocks;
  for (;;) {
    const from = take(op, chunk);
    if (from >= total) break;
    const to = min(from + chunk, total);
    for (let i = from; i < to; i++) {
      const t = i / blocks;
      const chunks = chunksOf(position() + t + 1, size);
      for (let j = 0; j < 32; j += 8) {
        const at = (i % blocks << 5) + j;
        const row = parts + <usize>(t * heads + at / headDim) * rowBytes;
        combine8(row, partBytes, chunks, <usize>(at % headDim) << 2, values + <usize>((i << 7) + (j << 2)));
      }
      quantizeBlock(values + <usize>(i << 7), record, t, i % blocks);
    }
  }
}

/** silu(gate) · up, quantized. Fields: 2 record, 3 chunk of blocks, 4 gate, 5 up (both [T][n]). */
export function siluQuantize(op: usize): void {
  const record = field(op, 2);
  const chunk = fieldInt(op, 3);
  const gate = field(op, 4);
  const up = field(op, 5);
  const blocks = load<i32>(record, A_N) >> 5;
  const values = <usize>load<u32>(record, A_F32);
  const total = count() * blocks;
  const one = f32x4.splat(1);
  for (;;) {
    const from = take(op, chunk);
    if (from >= total) break;
    const to = min(from + chunk, total);
    for (let i = from; i < to; i++) {
      const start = <usize>(i << 7);
      for (let j = start; j < start + 128; j += 16) {
        const g = v128.load(gate + j);
        const activated = f32x4.div(g, f32x4.add(one, exp4(f32x4.neg(g))));
        v128.store(values + j, f32x4.mul(activated, v128.load(up + j)));
      }
      quantizeBlock(values + start, record, i / blocks, i % blocks);
    }
  }
}
