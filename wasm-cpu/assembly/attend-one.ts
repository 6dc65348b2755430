// Attention of one position, in chunks of cached positions, so that threads can share a row and the result does not depend on
// how many there are. The parts of a row are put together by `combine`.
import {
  CHUNK, KV_BYTES, KV_K, KV_K_SCALES, KV_V, KV_V_SCALES, PART_BYTES, chunksOf, field, fieldFloat, fieldInt, position, take,
} from './layout';
import { LOWEST, exp2, madd, max4, sum4, sums4 } from './simd';

/** Bytes of a head's scores of one chunk; a constant, so that addresses of four heads take no additions. */
// @ts-ignore: decorator
@inline const ROW: usize = <usize>(CHUNK << 2) + 16;
/** Positions whose values are gathered at a time: a page of them for heads of 64, which the prefetcher brings in. */
// @ts-ignore: decorator
@inline const GATHERED: i32 = 32;

/**
 * The upper 16-bit integers of four words as f32: from an address on, every other one. Takes fewer of the units that multiply
 * need too than a load that extends.
 */
// @ts-ignore: decorator
@inline
function uppers(words: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(words, 16));
}

/** Queries of `members` heads, times `scale`: their even columns, then their odd ones, four of each head in turn. */
function spread(q: usize, members: i32, headBytes: usize, scale: f32, out: usize): void {
  const factor = f32x4.splat(scale);
  const turn = <usize>(members << 4);
  for (let m = 0; m < members; m++) {
    let even = out + <usize>(m << 4);
    let odd = even + (headBytes >> 1) * <usize>members;
    for (const end = q + headBytes; q < end; q += 32) {
      const x = f32x4.mul(v128.load(q), factor);
      const y = f32x4.mul(v128.load(q, 16), factor);
      v128.store(even, v128.shuffle<i32>(x, y, 0, 2, 4, 6));
      v128.store(odd, v128.shuffle<i32>(x, y, 1, 3, 5, 7));
      even += turn;
      odd += turn;
    }
  }
}

/**
 * Scores of `members` query heads (see `spread`) with n cached keys. As many keys at a time as keep the multipliers busy and
 * their sums, inputs and weights in 15 registers; scores behind the last key are anything. Inlined with a constant number of
 * members, what they do not need falls away.
 */
// @ts-ignore: decorator
@inline
function score(members: i32, q: usize, keys: usize, keyBytes: usize, scales: usize, n: i32, out: usize): void {
  const turn = members == 3 ? 3 : members == 4 ? 2 : 4;
  for (let p = 0; p < n; p += turn) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    let b0 = f32x4.splat(0);
    let b1 = f32x4.splat(0);
    let b2 = f32x4.splat(0);
    let b3 = f32x4.splat(0);
    let c0 = f32x4.splat(0);
    let c1 = f32x4.splat(0);
    let c2 = f32x4.splat(0);
    let d0 = f32x4.splat(0);
    let d1 = f32x4.splat(0);
    let from = q;
    for (let odd = 0; odd < 2; odd++) {
      // Even columns are the upper ones of words that begin one column earlier.
      let k = keys - (odd ? 0 : 2);
      const end = k + keyBytes;
      while (k < end) {
        const k0 = uppers(v128.load(k));
        const k1 = uppers(v128.load(k + keyBytes));
        const k2 = turn > 2 ? uppers(v128.load(k + 2 * keyBytes)) : k0;
        const k3 = turn > 3 ? uppers(v128.load(k + 3 * keyBytes)) : k0;
        let x = v128.load(from);
        a0 = madd(k0, x, a0);
        a1 = madd(k1, x, a1);
        if (turn > 2) a2 = madd(k2, x, a2);
        if (turn > 3) a3 = madd(k3, x, a3);
        if (members > 1) {
          x = v128.load(from, 16);
          b0 = madd(k0, x, b0);
          b1 = madd(k1, x, b1);
          if (turn > 2) b2 = madd(k2, x, b2);
          if (turn > 3) b3 = madd(k3, x, b3);
        }
        if (members > 2) {
          x = v128.load(from, 32);
          c0 = madd(k0, x, c0);
          c1 = madd(k1, x, c1);
          if (turn > 2) c2 = madd(k2, x, c2);
        }
        if (members > 3) {
          x = v128.load(from, 48);
          d0 = madd(k0, x, d0);
          d1 = madd(k1, x, d1);
        }
        k += 16;
        from += <usize>(members << 4);
      }
    }
    const factor = v128.load(scales);
    v128.store(out, f32x4.mul(sums4(a0, a1, a2, a3), factor));
    if (members > 1) v128.store(out + ROW, f32x4.mul(sums4(b0, b1, b2, b3), factor));
    if (members > 2) v128.store(out + 2 * ROW, f32x4.mul(sums4(c0, c1, c2, c2), factor));
    if (members > 3) v128.store(out + 3 * ROW, f32x4.mul(sums4(d0, d1, d1, d1), factor));
    keys += <usize>turn * keyBytes;
    scales += <usize>(turn << 2);
    out += <usize>(turn << 2);
  }
}

/** `fours` times four columns of the output of `members` query heads: out (+)= Σ weight · v over n positions. */
// @ts-ignore: decorator
@inline
function gatherSome(
  members: i32, fours: i32, weights: usize, v: usize, stride: usize, n: i32, out: usize, outStride: usize, start: bool,
): void {
  const zero = f32x4.splat(0);
  const out1 = out + outStride;
  const out2 = out1 + outStride;
  const out3 = out2 + outStride;
  let a0 = start ? zero : v128.load(out);
  let b0 = start || fours < 2 ? zero : v128.load(out, 16);
  let c0 = start || fours < 3 ? zero : v128.load(out, 32);
  let d0 = start || fours < 4 ? zero : v128.load(out, 48);
  let a1 = start || members < 2 ? zero : v128.load(out1);
  let b1 = start || members < 2 || fours < 2 ? zero : v128.load(out1, 16);
  let c1 = start || members < 2 || fours < 3 ? zero : v128.load(out1, 32);
  let d1 = start || members < 2 || fours < 4 ? zero : v128.load(out1, 48);
  let a2 = start || members < 3 ? zero : v128.load(out2);
  let b2 = start || members < 3 || fours < 2 ? zero : v128.load(out2, 16);
  let c2 = start || members < 3 || fours < 3 ? zero : v128.load(out2, 32);
  let a3 = start || members < 4 ? zero : v128.load(out3);
  let b3 = start || members < 4 || fours < 2 ? zero : v128.load(out3, 16);
  const end = weights + (<usize>n << 2);
  while (weights < end) {
    const a = uppers(v128.load(v));
    const b = fours > 1 ? uppers(v128.load(v, 16)) : a;
    const c = fours > 2 ? uppers(v128.load(v, 32)) : a;
    const d = fours > 3 ? uppers(v128.load(v, 48)) : a;
    let w = v128.load32_splat(weights);
    a0 = madd(a, w, a0);
    if (fours > 1) b0 = madd(b, w, b0);
    if (fours > 2) c0 = madd(c, w, c0);
    if (fours > 3) d0 = madd(d, w, d0);
    if (members > 1) {
      w = v128.load32_splat(weights, ROW);
      a1 = madd(a, w, a1);
      if (fours > 1) b1 = madd(b, w, b1);
      if (fours > 2) c1 = madd(c, w, c1);
      if (fours > 3) d1 = madd(d, w, d1);
    }
    if (members > 2) {
      w = v128.load32_splat(weights, 2 * ROW);
      a2 = madd(a, w, a2);
      if (fours > 1) b2 = madd(b, w, b2);
      if (fours > 2) c2 = madd(c, w, c2);
    }
    if (members > 3) {
      w = v128.load32_splat(weights, 3 * ROW);
      a3 = madd(a, w, a3);
      if (fours > 1) b3 = madd(b, w, b3);
    }
    weights += 4;
    v += stride;
  }
  v128.store(out, a0);
  if (fours > 1) v128.store(out, b0, 16);
  if (fours > 2) v128.store(out, c0, 32);
  if (fours > 3) v128.store(out, d0, 48);
  if (members > 1) {
    v128.store(out1, a1);
    if (fours > 1) v128.store(out1, b1, 16);
    if (fours > 2) v128.store(out1, c1, 32);
    if (fours > 3) v128.store(out1, d1, 48);
  }
  if (members > 2) {
    v128.store(out2, a2);
    if (fours > 1) v128.store(out2, b2, 16);
    if (fours > 2) v128.store(out2, c2, 32);
  }
  if (members > 3) {
    v128.store(out3, a3);
    if (fours > 1) v128.store(out3, b3, 16);
  }
}

/** All columns of the output of `members` query heads over a chunk of n positions: even ones, then odd ones. */
// @ts-ignore: decorator
@inline
function gather(members: i32, weights: usize, values: usize, stride: usize, n: i32, out: usize, outStride: usize): void {
  const most = members == 3 ? 3 : members == 4 ? 2 : 4;
  const rest = members == 3 ? 2 : 1;
  for (let p = 0; p < n; p += GATHERED) {
    const some = min(GATHERED, n - p);
    for (let odd = 0; odd < 2; odd++) {
      let v = values - (odd ? 0 : 2);
      let to = out + (odd ? stride : 0);
      let left = <i32>(stride >> 4);
      // Threes, and one or two twos: 4 is not 3 and 1.
      for (; left >= most && !(members == 3 && left == 4); left -= most) {
        gatherSome(members, most, weights, v, stride, some, to, outStride, p == 0);
        v += <usize>(most << 4);
        to += <usize>(most << 4);
      }
      for (; left >= rest; left -= rest) {
        gatherSome(members, rest, weights, v, stride, some, to, outStride, p == 0);
        v += <usize>(rest << 4);
        to += <usize>(rest << 4);
      }
    }
    weights += <usize>(GATHERED << 2);
    values += <usize>GATHERED * stride;
  }
}

/** Scores → 2^(score − maximum) · V scale, in place; gives their sum before the V scale. Scores behind the last one are LOWEST. */
function weigh(scores: usize, n: i32, maximum: f32, vScales: usize): f32 {
  let total = f32x4.splat(0);
  const top = f32x4.splat(maximum);
  for (const end = scores + (<usize>n << 2); scores < end; scores += 16) {
    const e = exp2(f32x4.sub(v128.load(scores), top));
    total = f32x4.add(total, e);
    v128.store(scores, f32x4.mul(e, v128.load(vScales)));
    vScales += 16;
  }
  return sum4(total);
}

/** The largest of n scores; makes those behind the last one LOWEST. */
function largest(scores: usize, n: i32): f32 {
  const end = scores + (<usize>n << 2);
  let top = f32x4.splat(LOWEST);
  v128.store(end, top);
  for (; scores < end; scores += 16) top = f32x4.pmax(top, v128.load(scores));
  return max4(top);
}

/**
 * One unit is one run of query heads of one KV head and one chunk. A part holds maximum, sum, 2 unused, then headDim values:
 * even columns, then odd ones.
 */
export function attendOne(op: usize, thread: i32): void {
  const headDim = fieldInt(op, 7);
  const runs = fieldInt(op, 11);
  const headBytes = <usize>(headDim << 2);
  const keyBytes = <usize>(headDim << 1);
  const partBytes = PART_BYTES + headBytes;
  const rowBytes = field(op, 12) * partBytes;
  const queries = field(op, 9) + <usize>thread * field(op, 10);
  const scores = queries + 4 * headBytes;
  const total = runs * chunksOf(position() + 1);
  for (;;) {
    const unit = take(op, 1);
    if (unit >= total) break;
    const chunk = unit / runs;
    const start = chunk * CHUNK;
    const n = min(position() + 1 - start, CHUNK);
    const run = field(op, 5) + <usize>(unit % runs) * 12;
    const first = load<i32>(run);
    const members = load<i32>(run, 4);
    const record = field(op, 6) + <usize>load<i32>(run, 8) * KV_BYTES;
    spread(field(op, 2) + <usize>first * headBytes, members, headBytes, fieldFloat(op, 8), queries);
    const keys = <usize>load<u32>(record, KV_K) + <usize>start * keyBytes;
    const keyScales = <usize>load<u32>(record, KV_K_SCALES) + (<usize>start << 2);
    if (members == 1) score(1, queries, keys, keyBytes, keyScales, n, scores);
    else if (members == 2) score(2, queries, keys, keyBytes, keyScales, n, scores);
    else if (members == 3) score(3, queries, keys, keyBytes, keyScales, n, scores);
    else score(4, queries, keys, keyBytes, keyScales, n, scores);
    const part = field(op, 4) + <usize>first * rowBytes + <usize>chunk * partBytes;
    const vScales = <usize>load<u32>(record, KV_V_SCALES) + (<usize>start << 2);
    for (let j: usize = 0; j < <usize>members; j++) {
      const row = scores + j * ROW;
      const top = largest(row, n);
      store<f32>(part + j * rowBytes, top);
      store<f32>(part + j * rowBytes, weigh(row, n, top, vScales), 4);
    }
    const values = <usize>load<u32>(record, KV_V) + <usize>start * keyBytes;
    const out = part + PART_BYTES;
    if (members == 1) gather(1, scores, values, keyBytes, n, out, rowBytes);
    else if (members == 2) gather(2, scores, values, keyBytes, n, out, rowBytes);
    else if (members == 3) gather(3, scores, values, keyBytes, n, out, rowBytes);
    else gather(4, scores, values, keyBytes, n, out, rowBytes);
  }
}
