import { KV_BYTES, KV_K, KV_K_SCALES, KV_V, KV_V_SCALES, count, field, fieldFloat, fieldInt, position, take } from './layout';
import { exp4, max4, sum4 } from './simd';

/** q · k for one cached key; headDim a multiple of 8. */
// @ts-ignore: decorator
@inline
function dotKey(q: usize, k: usize, bytes: usize): f32 {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) {
    const v = v128.load(k + i);
    const j = q + (i << 1);
    a = f32x4.add(a, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v)), v128.load(j)));
    b = f32x4.add(b, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v)), v128.load(j, 16)));
  }
  return sum4(f32x4.add(a, b));
}

/** Softmax numerators of n scores in place (padded to 4 with very low ones), each then times its V scale; returns their sum. */
function softmax(scores: usize, n: i32, maximum: f32, vScales: usize): f32 {
  let total = f32x4.splat(0);
  const top = f32x4.splat(maximum);
  const whole = <usize>(n & ~3) << 2;
  for (let i: usize = 0; i < whole; i += 16) {
    const e = exp4(f32x4.sub(v128.load(scores + i), top));
    total = f32x4.add(total, e);
    v128.store(scores + i, f32x4.mul(e, v128.load(vScales + i)));
  }
  let sum = sum4(total);
  for (let i = whole; i < <usize>n << 2; i += 4) {
    const e = f32x4.extract_lane(exp4(f32x4.splat(load<f32>(scores + i) - maximum)), 0);
    sum += e;
    store<f32>(scores + i, e * load<f32>(vScales + i));
  }
  return sum;
}

/** out[0..32) = Σ weight[p] · v[p][0..32) · factor; `stride` bytes between cached values. */
// @ts-ignore: decorator
@inline
function gather32(weights: usize, v: usize, stride: usize, n: i32, out: usize, factor: f32): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
  let a4 = f32x4.splat(0), a5 = f32x4.splat(0), a6 = f32x4.splat(0), a7 = f32x4.splat(0);
  for (let p = 0; p < n; p++) {
    const w = v128.load32_splat(weights);
    const v0 = v128.load(v);
    const v1 = v128.load(v, 16);
    const v2 = v128.load(v, 32);
    const v3 = v128.load(v, 48);
    a0 = f32x4.add(a0, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v0))));
    a1 = f32x4.add(a1, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v0))));
    a2 = f32x4.add(a2, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v1))));
    a3 = f32x4.add(a3, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v1))));
    a4 = f32x4.add(a4, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v2))));
    a5 = f32x4.add(a5, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v2))));
    a6 = f32x4.add(a6, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v3))));
    a7 = f32x4.add(a7, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v3))));
    weights += 4;
    v += stride;
  }
  const f = f32x4.splat(factor);
  v128.store(out, f32x4.mul(a0, f), 0);
  v128.store(out, f32x4.mul(a1, f), 16);
  v128.store(out, f32x4.mul(a2, f), 32);
  v128.store(out, f32x4.mul(a3, f), 48);
  v128.store(out, f32x4.mul(a4, f), 64);
  v128.store(out, f32x4.mul(a5, f), 80);
  v128.store(out, f32x4.mul(a6, f), 96);
  v128.store(out, f32x4.mul(a7, f), 112);
}

function gather8(weights: usize, v: usize, stride: usize, n: i32, out: usize, factor: f32): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  for (let p = 0; p < n; p++) {
    const w = v128.load32_splat(weights);
    const v0 = v128.load(v);
    a0 = f32x4.add(a0, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v0))));
    a1 = f32x4.add(a1, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v0))));
    weights += 4;
    v += stride;
  }
  v128.store(out, f32x4.mul(a0, f32x4.splat(factor)));
  v128.store(out, f32x4.mul(a1, f32x4.splat(factor)), 16);
}

/**
 * Attention of every query head of every new position over its cached keys and values. One unit is one head of one
 * position. Fields: 2 q ([T][heads][headDim]), 3 heads, 4 out (same shape), 5 local KV head of every query head (i32),
 * 6 KV records, 7 headDim, 8 1/sqrt(headDim), 9 scores (f32 per thread), 10 bytes of scores a thread.
 */
export function attention(op: usize, thread: i32): void {
  const heads = fieldInt(op, 3);
  const headDim = fieldInt(op, 7);
  const scale = fieldFloat(op, 8);
  const scores = field(op, 9) + <usize>thread * field(op, 10);
  const headBytes = <usize>(headDim << 2);
  const keyBytes = <usize>(headDim << 1);
  const positions = count();
  const total = positions * heads;
  for (;;) {
    // Late positions first: they take longest, and the end of an operation should be short.
    const unit = take(op, 1);
    if (unit >= total) break;
    const t = positions - 1 - unit / heads;
    const head = unit % heads;
    const n = position() + t + 1;
    const offset = <usize>(t * heads + head) * headBytes;
    const q = field(op, 2) + offset;
    const out = field(op, 4) + offset;
    const record = field(op, 6) + <usize>load<i32>(field(op, 5) + (<usize>head << 2)) * KV_BYTES;
    const keys = <usize>load<u32>(record, KV_K);
    const keyScales = <usize>load<u32>(record, KV_K_SCALES);
    let maximum: f32 = -Infinity;
    for (let p = 0; p < n; p++) {
      const s = dotKey(q, keys + <usize>p * keyBytes, keyBytes) * load<f32>(keyScales + (<usize>p << 2)) * scale;
      store<f32>(scores + (<usize>p << 2), s);
      maximum = max<f32>(maximum, s);
    }
    const factor = <f32>1.0 / softmax(scores, n, maximum, load<u32>(record, KV_V_SCALES));
    const values = <usize>load<u32>(record, KV_V);
    let d = 0;
    for (; d + 32 <= headDim; d += 32) gather32(scores, values + <usize>(d << 1), keyBytes, n, out + <usize>(d << 2), factor);
    for (; d < headDim; d += 8) gather8(scores, values + <usize>(d << 1), keyBytes, n, out + <usize>(d << 2), factor);
  }
}
