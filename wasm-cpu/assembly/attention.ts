// Attention over cached keys and values, in chunks of positions, so that threads can share one long row and so that the
// result does not depend on how many there are. Query heads of one KV head go together: they share the conversion of
// its integers. The parts of a row are put together by `combine` (see quantize.ts).
import {
  KV_BYTES, KV_K, KV_K_SCALES, KV_V, KV_V_SCALES, PART_BYTES, chunksOf, count, field, fieldFloat, fieldInt, position, take,
} from './layout';
import { exp4, max4, sum4 } from './simd';

/** Scores of 1 query head with one cached key, whose conversion they share. */
// @ts-ignore: decorator
@inline
function score1(q: usize, headBytes: usize, k: usize, keyBytes: usize, factor: f32, out: usize, rowBytes: usize): void {
  let a0 = f32x4.splat(0);
  for (let i: usize = 0; i < keyBytes; i += 16) {
    const v = v128.load(k + i);
    const low = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v));
    const high = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v));
    let at = q + (i << 1);
    a0 = f32x4.add(a0, f32x4.add(f32x4.mul(low, v128.load(at)), f32x4.mul(high, v128.load(at, 16))));
  }
  store<f32>(out, sum4(a0) * factor);
}

/** Scores of 2 query heads with one cached key, whose conversion they share. */
// @ts-ignore: decorator
@inline
function score2(q: usize, headBytes: usize, k: usize, keyBytes: usize, factor: f32, out: usize, rowBytes: usize): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  for (let i: usize = 0; i < keyBytes; i += 16) {
    const v = v128.load(k + i);
    const low = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v));
    const high = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v));
    let at = q + (i << 1);
    a0 = f32x4.add(a0, f32x4.add(f32x4.mul(low, v128.load(at)), f32x4.mul(high, v128.load(at, 16))));
    at += headBytes;
    a1 = f32x4.add(a1, f32x4.add(f32x4.mul(low, v128.load(at)), f32x4.mul(high, v128.load(at, 16))));
  }
  store<f32>(out, sum4(a0) * factor);
  store<f32>(out + rowBytes, sum4(a1) * factor);
}

/** Scores of 3 query heads with one cached key, whose conversion they share. */
// @ts-ignore: decorator
@inline
function score3(q: usize, headBytes: usize, k: usize, keyBytes: usize, factor: f32, out: usize, rowBytes: usize): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  for (let i: usize = 0; i < keyBytes; i += 16) {
    const v = v128.load(k + i);
    const low = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v));
    const high = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v));
    let at = q + (i << 1);
    a0 = f32x4.add(a0, f32x4.add(f32x4.mul(low, v128.load(at)), f32x4.mul(high, v128.load(at, 16))));
    at += headBytes;
    a1 = f32x4.add(a1, f32x4.add(f32x4.mul(low, v128.load(at)), f32x4.mul(high, v128.load(at, 16))));
    at += headBytes;
    a2 = f32x4.add(a2, f32x4.add(f32x4.mul(low, v128.load(at)), f32x4.mul(high, v128.load(at, 16))));
  }
  store<f32>(out, sum4(a0) * factor);
  store<f32>(out + rowBytes, sum4(a1) * factor);
  store<f32>(out + 2 * rowBytes, sum4(a2) * factor);
}

/** Scores of 4 query heads with one cached key, whose conversion they share. */
// @ts-ignore: decorator
@inline
function score4(q: usize, headBytes: usize, k: usize, keyBytes: usize, factor: f32, out: usize, rowBytes: usize): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  for (let i: usize = 0; i < keyBytes; i += 16) {
    const v = v128.load(k + i);
    const low = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v));
    const high = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v));
    let at = q + (i << 1);
    a0 = f32x4.add(a0, f32x4.add(f32x4.mul(low, v128.load(at)), f32x4.mul(high, v128.load(at, 16))));
    at += headBytes;
    a1 = f32x4.add(a1, f32x4.add(f32x4.mul(low, v128.load(at)), f32x4.mul(high, v128.load(at, 16))));
    at += headBytes;
    a2 = f32x4.add(a2, f32x4.add(f32x4.mul(low, v128.load(at)), f32x4.mul(high, v128.load(at, 16))));
    at += headBytes;
    a3 = f32x4.add(a3, f32x4.add(f32x4.mul(low, v128.load(at)), f32x4.mul(high, v128.load(at, 16))));
  }
  store<f32>(out, sum4(a0) * factor);
  store<f32>(out + rowBytes, sum4(a1) * factor);
  store<f32>(out + 2 * rowBytes, sum4(a2) * factor);
  store<f32>(out + 3 * rowBytes, sum4(a3) * factor);
}

/** 16 values of the output of 1 query head: Σ weight · v over the chunk. */
// @ts-ignore: decorator
@inline
function gather1(weights: usize, v: usize, stride: usize, positions: i32, out: usize, outStride: usize, rowBytes: usize): void {
  let a00 = f32x4.splat(0); let a01 = f32x4.splat(0); let a02 = f32x4.splat(0); let a03 = f32x4.splat(0);
  for (let p = 0; p < positions; p++) {
    const first = v128.load(v);
    const second = v128.load(v, 16);
    const v0 = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(first));
    const v1 = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(first));
    const v2 = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(second));
    const v3 = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(second));
    let w = v128.load32_splat(weights);
    a00 = f32x4.add(a00, f32x4.mul(w, v0));
    a01 = f32x4.add(a01, f32x4.mul(w, v1));
    a02 = f32x4.add(a02, f32x4.mul(w, v2));
    a03 = f32x4.add(a03, f32x4.mul(w, v3));
    weights += 4;
    v += stride;
  }
  v128.store(out, a00);
  v128.store(out, a01, 16);
  v128.store(out, a02, 32);
  v128.store(out, a03, 48);
}

/** 16 values of the output of 2 query heads: Σ weight · v over the chunk. */
// @ts-ignore: decorator
@inline
function gather2(weights: usize, v: usize, stride: usize, positions: i32, out: usize, outStride: usize, rowBytes: usize): void {
  let a00 = f32x4.splat(0); let a01 = f32x4.splat(0); let a02 = f32x4.splat(0); let a03 = f32x4.splat(0);
  let a10 = f32x4.splat(0); let a11 = f32x4.splat(0); let a12 = f32x4.splat(0); let a13 = f32x4.splat(0);
  for (let p = 0; p < positions; p++) {
    const first = v128.load(v);
    const second = v128.load(v, 16);
    const v0 = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(first));
    const v1 = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(first));
    const v2 = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(second));
    const v3 = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(second));
    let w = v128.load32_splat(weights);
    a00 = f32x4.add(a00, f32x4.mul(w, v0));
    a01 = f32x4.add(a01, f32x4.mul(w, v1));
    a02 = f32x4.add(a02, f32x4.mul(w, v2));
    a03 = f32x4.add(a03, f32x4.mul(w, v3));
    w = v128.load32_splat(weights + rowBytes);
    a10 = f32x4.add(a10, f32x4.mul(w, v0));
    a11 = f32x4.add(a11, f32x4.mul(w, v1));
    a12 = f32x4.add(a12, f32x4.mul(w, v2));
    a13 = f32x4.add(a13, f32x4.mul(w, v3));
    weights += 4;
    v += stride;
  }
  v128.store(out, a00);
  v128.store(out, a01, 16);
  v128.store(out, a02, 32);
  v128.store(out, a03, 48);
  out += outStride;
  v128.store(out, a10);
  v128.store(out, a11, 16);
  v128.store(out, a12, 32);
  v128.store(out, a13, 48);
}

/** 16 values of the output of 3 query heads: Σ weight · v over the chunk. */
// @ts-ignore: decorator
@inline
function gather3(weights: usize, v: usize, stride: usize, positions: i32, out: usize, outStride: usize, rowBytes: usize): void {
  let a00 = f32x4.splat(0); let a01 = f32x4.splat(0); let a02 = f32x4.splat(0); let a03 = f32x4.splat(0);
  let a10 = f32x4.splat(0); let a11 = f32x4.splat(0); let a12 = f32x4.splat(0); let a13 = f32x4.splat(0);
  let a20 = f32x4.splat(0); let a21 = f32x4.splat(0); let a22 = f32x4.splat(0); let a23 = f32x4.splat(0);
  for (let p = 0; p < positions; p++) {
    const first = v128.load(v);
    const second = v128.load(v, 16);
    const v0 = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(first));
    const v1 = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(first));
    const v2 = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(second));
    const v3 = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(second));
    let w = v128.load32_splat(weights);
    a00 = f32x4.add(a00, f32x4.mul(w, v0));
    a01 = f32x4.add(a01, f32x4.mul(w, v1));
    a02 = f32x4.add(a02, f32x4.mul(w, v2));
    a03 = f32x4.add(a03, f32x4.mul(w, v3));
    w = v128.load32_splat(weights + rowBytes);
    a10 = f32x4.add(a10, f32x4.mul(w, v0));
    a11 = f32x4.add(a11, f32x4.mul(w, v1));
    a12 = f32x4.add(a12, f32x4.mul(w, v2));
    a13 = f32x4.add(a13, f32x4.mul(w, v3));
    w = v128.load32_splat(weights + 2 * rowBytes);
    a20 = f32x4.add(a20, f32x4.mul(w, v0));
    a21 = f32x4.add(a21, f32x4.mul(w, v1));
    a22 = f32x4.add(a22, f32x4.mul(w, v2));
    a23 = f32x4.add(a23, f32x4.mul(w, v3));
    weights += 4;
    v += stride;
  }
  v128.store(out, a00);
  v128.store(out, a01, 16);
  v128.store(out, a02, 32);
  v128.store(out, a03, 48);
  out += outStride;
  v128.store(out, a10);
  v128.store(out, a11, 16);
  v128.store(out, a12, 32);
  v128.store(out, a13, 48);
  out += outStride;
  v128.store(out, a20);
  v128.store(out, a21, 16);
  v128.store(out, a22, 32);
  v128.store(out, a23, 48);
}

/** 16 values of the output of 4 query heads: Σ weight · v over the chunk. */
// @ts-ignore: decorator
@inline
function gather4(weights: usize, v: usize, stride: usize, positions: i32, out: usize, outStride: usize, rowBytes: usize): void {
  let a00 = f32x4.splat(0); let a01 = f32x4.splat(0); let a02 = f32x4.splat(0); let a03 = f32x4.splat(0);
  let a10 = f32x4.splat(0); let a11 = f32x4.splat(0); let a12 = f32x4.splat(0); let a13 = f32x4.splat(0);
  let a20 = f32x4.splat(0); let a21 = f32x4.splat(0); let a22 = f32x4.splat(0); let a23 = f32x4.splat(0);
  let a30 = f32x4.splat(0); let a31 = f32x4.splat(0); let a32 = f32x4.splat(0); let a33 = f32x4.splat(0);
  for (let p = 0; p < positions; p++) {
    const first = v128.load(v);
    const second = v128.load(v, 16);
    const v0 = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(first));
    const v1 = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(first));
    const v2 = f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(second));
    const v3 = f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(second));
    let w = v128.load32_splat(weights);
    a00 = f32x4.add(a00, f32x4.mul(w, v0));
    a01 = f32x4.add(a01, f32x4.mul(w, v1));
    a02 = f32x4.add(a02, f32x4.mul(w, v2));
    a03 = f32x4.add(a03, f32x4.mul(w, v3));
    w = v128.load32_splat(weights + rowBytes);
    a10 = f32x4.add(a10, f32x4.mul(w, v0));
    a11 = f32x4.add(a11, f32x4.mul(w, v1));
    a12 = f32x4.add(a12, f32x4.mul(w, v2));
    a13 = f32x4.add(a13, f32x4.mul(w, v3));
    w = v128.load32_splat(weights + 2 * rowBytes);
    a20 = f32x4.add(a20, f32x4.mul(w, v0));
    a21 = f32x4.add(a21, f32x4.mul(w, v1));
    a22 = f32x4.add(a22, f32x4.mul(w, v2));
    a23 = f32x4.add(a23, f32x4.mul(w, v3));
    w = v128.load32_splat(weights + 3 * rowBytes);
    a30 = f32x4.add(a30, f32x4.mul(w, v0));
    a31 = f32x4.add(a31, f32x4.mul(w, v1));
    a32 = f32x4.add(a32, f32x4.mul(w, v2));
    a33 = f32x4.add(a33, f32x4.mul(w, v3));
    weights += 4;
    v += stride;
  }
  v128.store(out, a00);
  v128.store(out, a01, 16);
  v128.store(out, a02, 32);
  v128.store(out, a03, 48);
  out += outStride;
  v128.store(out, a10);
  v128.store(out, a11, 16);
  v128.store(out, a12, 32);
  v128.store(out, a13, 48);
  out += outStride;
  v128.store(out, a20);
  v128.store(out, a21, 16);
  v128.store(out, a22, 32);
  v128.store(out, a23, 48);
  out += outStride;
  v128.store(out, a30);
  v128.store(out, a31, 16);
  v128.store(out, a32, 32);
  v128.store(out, a33, 48);
}

/** Scores → exp(score − maximum) · V scale, in place; gives their sum before the V scale. */
function weigh(scores: usize, n: i32, maximum: f32, vScales: usize): f32 {
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

function largest(scores: usize, n: i32): f32 {
  let top = f32x4.splat(-Infinity);
  const whole = <usize>(n & ~3) << 2;
  for (let i: usize = 0; i < whole; i += 16) top = f32x4.pmax(top, v128.load(scores + i));
  let result = max4(top);
  for (let i = whole; i < <usize>n << 2; i += 4) result = max<f32>(result, load<f32>(scores + i));
  return result;
}

/**
 * Attention of every query head of every new position over every chunk of its cached keys and values. One unit is one
 * run of query heads of one KV head, one position and one chunk. A part holds maximum, sum, 2 unused, then headDim values.
 * Fields: 2 q ([T][heads][headDim]), 3 heads, 4 parts, 5 runs (first head, heads, KV head: 3 × i32 each), 6 KV records,
 * 7 headDim, 8 1/sqrt(headDim), 9 scores (4 chunks a thread), 10 bytes of scores a thread, 11 runs' number, 12 parts a
 * head and position at most, 13 positions a chunk.
 */
export function attention(op: usize, thread: i32): void {
  const heads = fieldInt(op, 3);
  const headDim = fieldInt(op, 7);
  const scale = fieldFloat(op, 8);
  const scores = field(op, 9) + <usize>thread * field(op, 10);
  const runs = fieldInt(op, 11);
  const partsPerRow = field(op, 12);
  const size = fieldInt(op, 13);
  const scoreBytes = <usize>(size << 2);
  const headBytes = <usize>(headDim << 2);
  const keyBytes = <usize>(headDim << 1);
  const partBytes = PART_BYTES + headBytes;
  const rowBytes = partsPerRow * partBytes;
  const positions = count();
  const mostChunks = chunksOf(position() + positions, size);
  const perPosition = runs * mostChunks;
  const total = positions * perPosition;
  for (;;) {
    // Late positions first: they take longest, and the end of an operation should be short.
    const unit = take(op, 1);
    if (unit >= total) break;
    const t = positions - 1 - unit / perPosition;
    const chunk = unit % perPosition / runs;
    const start = chunk * size;
    const n = min(position() + t + 1 - start, size);
    if (n <= 0) continue;
    const run = field(op, 5) + <usize>(unit % runs) * 12;
    const first = load<i32>(run);
    const members = load<i32>(run, 4);
    const record = field(op, 6) + <usize>load<i32>(run, 8) * KV_BYTES;
    const q = field(op, 2) + <usize>(t * heads + first) * headBytes;
    let keys = <usize>load<u32>(record, KV_K) + <usize>start * keyBytes;
    let keyScales = <usize>load<u32>(record, KV_K_SCALES) + (<usize>start << 2);
    let out = scores;
    for (let p = 0; p < n; p++) {
      const factor = load<f32>(keyScales) * scale;
      if (members == 1) score1(q, headBytes, keys, keyBytes, factor, out, scoreBytes);
      else if (members == 2) score2(q, headBytes, keys, keyBytes, factor, out, scoreBytes);
      else if (members == 3) score3(q, headBytes, keys, keyBytes, factor, out, scoreBytes);
      else score4(q, headBytes, keys, keyBytes, factor, out, scoreBytes);
      keys += keyBytes;
      keyScales += 4;
      out += 4;
    }
    const part = field(op, 4) + <usize>(t * heads + first) * rowBytes + <usize>chunk * partBytes;
    const vScales = <usize>load<u32>(record, KV_V_SCALES) + (<usize>start << 2);
    for (let j: usize = 0; j < <usize>members; j++) {
      const row = scores + j * scoreBytes;
      const top = largest(row, n);
      store<f32>(part + j * rowBytes, top);
      store<f32>(part + j * rowBytes, weigh(row, n, top, vScales), 4);
    }
    const values = <usize>load<u32>(record, KV_V) + <usize>start * keyBytes;
    for (let d = 0; d < headDim; d += 16) {
      const v = values + <usize>(d << 1);
      const to = part + PART_BYTES + <usize>(d << 2);
      if (headDim - d < 16) gatherTail(scores, v, keyBytes, n, to, rowBytes, scoreBytes, members);
      else if (members == 1) gather1(scores, v, keyBytes, n, to, rowBytes, scoreBytes);
      else if (members == 2) gather2(scores, v, keyBytes, n, to, rowBytes, scoreBytes);
      else if (members == 3) gather3(scores, v, keyBytes, n, to, rowBytes, scoreBytes);
      else gather4(scores, v, keyBytes, n, to, rowBytes, scoreBytes);
    }
  }
}

/** The last 8 values of heads whose width is no multiple of 16. */
function gatherTail(weights: usize, v: usize, stride: usize, positions: i32, out: usize, outStride: usize, rowBytes: usize, members: i32): void {
  for (let j = 0; j < members; j++) {
    let a = f32x4.splat(0);
    let b = f32x4.splat(0);
    for (let p: usize = 0; p < <usize>positions; p++) {
      const w = v128.load32_splat(weights + (p << 2));
      const v0 = v128.load(v + p * stride);
      a = f32x4.add(a, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v0))));
      b = f32x4.add(b, f32x4.mul(w, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v0))));
    }
    v128.store(out, a);
    v128.store(out, b, 16);
    weights += rowBytes;
    out += outStride;
  }
}
