// Attention over cached keys and values, in chunks of positions, so that threads can share one long row and so that the
// result does not depend on how many there are. Query heads of one KV head go together: they share the conversion of
// its integers. The parts of a row are put together by `combine` (see quantize.ts).
import {
  KV_BYTES, KV_K, KV_K_SCALES, KV_V, KV_V_SCALES, PART_BYTES, chunksOf, count, field, fieldFloat, fieldInt, position, take,
} from './layout';
import { exp4, madd, max4, sum4 } from './simd';

/** Positions whose values stay in the first cache while all columns are gathered. */
// @ts-ignore: decorator
@inline const GATHERED: i32 = 64;

/** Four 16-bit integers as f32. */
// @ts-ignore: decorator
@inline
function four(at: usize): v128 {
  return f32x4.convert_i32x4_s(v128.load16x4_s(at));
}

/**
 * Scores of `members` query heads with n cached keys, two keys at a time, so that their conversion and the loads of q are
 * shared. Inlined with a constant number of members, what they do not need falls away.
 */
// @ts-ignore: decorator
@inline
function score(
  members: i32, q: usize, headBytes: usize, keys: usize, keyBytes: usize, scales: usize, scale: f32, n: i32,
  out: usize, rowBytes: usize,
): void {
  for (let p = 0; p < n; p += 2) {
    const first = keys + <usize>p * keyBytes;
    // An odd last key goes twice.
    const second = first + (p + 1 < n ? keyBytes : 0);
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    let b0 = f32x4.splat(0);
    let b1 = f32x4.splat(0);
    let b2 = f32x4.splat(0);
    let b3 = f32x4.splat(0);
    for (let i: usize = 0; i < keyBytes; i += 8) {
      const a = four(first + i);
      const b = four(second + i);
      const at = q + (i << 1);
      let x = v128.load(at);
      a0 = madd(a, x, a0);
      b0 = madd(b, x, b0);
      if (members > 1) {
        x = v128.load(at + headBytes);
        a1 = madd(a, x, a1);
        b1 = madd(b, x, b1);
      }
      if (members > 2) {
        x = v128.load(at + 2 * headBytes);
        a2 = madd(a, x, a2);
        b2 = madd(b, x, b2);
      }
      if (members > 3) {
        x = v128.load(at + 3 * headBytes);
        a3 = madd(a, x, a3);
        b3 = madd(b, x, b3);
      }
    }
    const at = out + (<usize>p << 2);
    const next = second == first ? at : at + 4;
    const fa = load<f32>(scales + (<usize>p << 2)) * scale;
    const fb = load<f32>(scales + (next - out)) * scale;
    store<f32>(at, sum4(a0) * fa);
    store<f32>(next, sum4(b0) * fb);
    if (members > 1) {
      store<f32>(at + rowBytes, sum4(a1) * fa);
      store<f32>(next + rowBytes, sum4(b1) * fb);
    }
    if (members > 2) {
      store<f32>(at + 2 * rowBytes, sum4(a2) * fa);
      store<f32>(next + 2 * rowBytes, sum4(b2) * fb);
    }
    if (members > 3) {
      store<f32>(at + 3 * rowBytes, sum4(a3) * fa);
      store<f32>(next + 3 * rowBytes, sum4(b3) * fb);
    }
  }
}

/** 8 columns of the output of `members` query heads: out (+)= Σ weight · v over n positions. */
// @ts-ignore: decorator
@inline
function gather8(
  members: i32, weights: usize, rowBytes: usize, v: usize, stride: usize, n: i32, out: usize, outStride: usize, start: bool,
): void {
  const zero = f32x4.splat(0);
  const out1 = out + outStride;
  const out2 = out1 + outStride;
  const out3 = out2 + outStride;
  let a0 = start ? zero : v128.load(out);
  let b0 = start ? zero : v128.load(out, 16);
  let a1 = start || members < 2 ? zero : v128.load(out1);
  let b1 = start || members < 2 ? zero : v128.load(out1, 16);
  let a2 = start || members < 3 ? zero : v128.load(out2);
  let b2 = start || members < 3 ? zero : v128.load(out2, 16);
  let a3 = start || members < 4 ? zero : v128.load(out3);
  let b3 = start || members < 4 ? zero : v128.load(out3, 16);
  for (let p = 0; p < n; p++) {
    const a = four(v);
    const b = four(v + 8);
    let w = v128.load32_splat(weights);
    a0 = madd(a, w, a0);
    b0 = madd(b, w, b0);
    if (members > 1) {
      w = v128.load32_splat(weights + rowBytes);
      a1 = madd(a, w, a1);
      b1 = madd(b, w, b1);
    }
    if (members > 2) {
      w = v128.load32_splat(weights + 2 * rowBytes);
      a2 = madd(a, w, a2);
      b2 = madd(b, w, b2);
    }
    if (members > 3) {
      w = v128.load32_splat(weights + 3 * rowBytes);
      a3 = madd(a, w, a3);
      b3 = madd(b, w, b3);
    }
    weights += 4;
    v += stride;
  }
  v128.store(out, a0);
  v128.store(out, b0, 16);
  if (members > 1) {
    v128.store(out1, a1);
    v128.store(out1, b1, 16);
  }
  if (members > 2) {
    v128.store(out2, a2);
    v128.store(out2, b2, 16);
  }
  if (members > 3) {
    v128.store(out3, a3);
    v128.store(out3, b3, 16);
  }
}

/** All columns of the output of `members` query heads over a chunk of n positions. */
// @ts-ignore: decorator
@inline
function gather(
  members: i32, weights: usize, rowBytes: usize, values: usize, stride: usize, n: i32, out: usize, outStride: usize,
): void {
  for (let p = 0; p < n; p += GATHERED) {
    const some = min(GATHERED, n - p);
    const from = values + <usize>p * stride;
    // A head's values take `stride` bytes as 16-bit integers, 16 of them a turn.
    for (let d: usize = 0; d < stride; d += 16) {
      gather8(members, weights + (<usize>p << 2), rowBytes, from + d, stride, some, out + (d << 1), outStride, p == 0);
    }
  }
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
    const keys = <usize>load<u32>(record, KV_K) + <usize>start * keyBytes;
    const keyScales = <usize>load<u32>(record, KV_K_SCALES) + (<usize>start << 2);
    if (members == 1) score(1, q, headBytes, keys, keyBytes, keyScales, scale, n, scores, scoreBytes);
    else if (members == 2) score(2, q, headBytes, keys, keyBytes, keyScales, scale, n, scores, scoreBytes);
    else if (members == 3) score(3, q, headBytes, keys, keyBytes, keyScales, scale, n, scores, scoreBytes);
    else score(4, q, headBytes, keys, keyBytes, keyScales, scale, n, scores, scoreBytes);
    const part = field(op, 4) + <usize>(t * heads + first) * rowBytes + <usize>chunk * partBytes;
    const vScales = <usize>load<u32>(record, KV_V_SCALES) + (<usize>start << 2);
    for (let j: usize = 0; j < <usize>members; j++) {
      const row = scores + j * scoreBytes;
      const top = largest(row, n);
      store<f32>(part + j * rowBytes, top);
      store<f32>(part + j * rowBytes, weigh(row, n, top, vScales), 4);
    }
    const values = <usize>load<u32>(record, KV_V) + <usize>start * keyBytes;
    const out = part + PART_BYTES;
    if (members == 1) gather(1, scores, scoreBytes, values, keyBytes, n, out, rowBytes);
    else if (members == 2) gather(2, scores, scoreBytes, values, keyBytes, n, out, rowBytes);
    else if (members == 3) gather(3, scores, scoreBytes, values, keyBytes, n, out, rowBytes);
    else gather(4, scores, scoreBytes, values, keyBytes, n, out, rowBytes);
  }
}
