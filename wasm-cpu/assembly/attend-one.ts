// Attention of one position, in chunks of cached positions, so that threads can share a row and the result does not depend on
// how many there are. The parts of a row are put together by `combine`.
import { chunkRoom, keyScalesOf, keysOf, uppers, valuesOf } from './kv';
import {
  CHUNK, KV_BYTES, PART_BYTES, TOGETHER, TOGETHER_BYTES, chunksOf, field, fieldFloat, fieldInt, position, take,
} from './layout';
import { LOWEST, exp2, madd, max4, sum4 } from './simd';

/** Bytes of a head's scores of one chunk; a constant, so that addresses of four heads take no additions. */
// @ts-ignore: decorator
@inline const ROW: usize = <usize>(CHUNK << 2) + 16;

/** Queries of `members` heads times `scale`, ROW bytes apart. */
function takeQueries(q: usize, members: i32, headBytes: usize, scale: f32, out: usize): void {
  const factor = f32x4.splat(scale);
  for (let m = 0; m < members; m++) {
    for (let i: usize = 0; i < headBytes; i += 16) v128.store(out + i, f32x4.mul(v128.load(q + i), factor));
    q += headBytes;
    out += ROW;
  }
}

/**
 * Sums of products with one weight for each lane's word: out[m][4·f + lane] = Σ over pairs of lower · weights[m][2i] + upper ·
 * weights[m][2i + 1]. Scores, where a word is two columns of a key and weights are a query; output, where it is two positions
 * of a column of V and weights are theirs. Columns or positions of `fours` vectors, `step` bytes from a pair to the next; rows of
 * weights are ROW bytes apart. Two sums of a vector where that fills the units that multiply. Inlined with a constant number of
 * members and fours, 9 vectors of sums at most, what they do not need falls away.
 */
// @ts-ignore: decorator
@inline
function addUp(
  members: i32, fours: i32, weights: usize, words: usize, step: usize, pairs: i32, out: usize, outStride: usize,
): void {
  const split = fours * members <= 4;
  const zero = f32x4.splat(0);
  let a0 = zero;
  let a1 = zero;
  let a2 = zero;
  let b0 = zero;
  let b1 = zero;
  let b2 = zero;
  let c0 = zero;
  let c1 = zero;
  let c2 = zero;
  let d0 = zero;
  let d1 = zero;
  // Of the second halves, where the sums of one would be too few.
  let a0o = zero;
  let a1o = zero;
  let a2o = zero;
  let b0o = zero;
  let b1o = zero;
  let c0o = zero;
  let d0o = zero;
  // The lower halves are the upper ones of words that begin one integer earlier: V8 would keep words that are loaded once.
  let at = words - 2;
  for (const end = weights + (<usize>pairs << 3); weights < end; weights += 8) {
    {
      const x0 = uppers(v128.load(at, 0));
      const x1 = fours > 1 ? uppers(v128.load(at, 16)) : x0;
      const x2 = fours > 2 ? uppers(v128.load(at, 32)) : x0;
      let w = v128.load32_splat(weights, 0);
      a0 = madd(x0, w, a0);
      if (fours > 1) a1 = madd(x1, w, a1);
      if (fours > 2) a2 = madd(x2, w, a2);
      if (members > 1) {
        w = v128.load32_splat(weights, ROW);
        b0 = madd(x0, w, b0);
        if (fours > 1) b1 = madd(x1, w, b1);
        if (fours > 2) b2 = madd(x2, w, b2);
      }
      if (members > 2) {
        w = v128.load32_splat(weights, 2 * ROW);
        c0 = madd(x0, w, c0);
        if (fours > 1) c1 = madd(x1, w, c1);
        if (fours > 2) c2 = madd(x2, w, c2);
      }
      if (members > 3) {
        w = v128.load32_splat(weights, 3 * ROW);
        d0 = madd(x0, w, d0);
        if (fours > 1) d1 = madd(x1, w, d1);
      }
    }
    // Never true: loads of one block all move to its front, and there are no registers for those of both halves.
    if (!at) break;
    {
      const x0 = uppers(v128.load(at, 2));
      const x1 = fours > 1 ? uppers(v128.load(at, 18)) : x0;
      const x2 = fours > 2 ? uppers(v128.load(at, 34)) : x0;
      let w = v128.load32_splat(weights, 4);
      if (split) a0o = madd(x0, w, a0o);
      else a0 = madd(x0, w, a0);
      if (fours > 1) {
        if (split) a1o = madd(x1, w, a1o);
        else a1 = madd(x1, w, a1);
      }
      if (fours > 2) {
        if (split) a2o = madd(x2, w, a2o);
        else a2 = madd(x2, w, a2);
      }
      if (members > 1) {
        w = v128.load32_splat(weights, ROW + 4);
        if (split) b0o = madd(x0, w, b0o);
        else b0 = madd(x0, w, b0);
        if (fours > 1) {
          if (split) b1o = madd(x1, w, b1o);
          else b1 = madd(x1, w, b1);
        }
        if (fours > 2) b2 = madd(x2, w, b2);
      }
      if (members > 2) {
        w = v128.load32_splat(weights, 2 * ROW + 4);
        if (split) c0o = madd(x0, w, c0o);
        else c0 = madd(x0, w, c0);
        if (fours > 1) c1 = madd(x1, w, c1);
        if (fours > 2) c2 = madd(x2, w, c2);
      }
      if (members > 3) {
        w = v128.load32_splat(weights, 3 * ROW + 4);
        if (split) d0o = madd(x0, w, d0o);
        else d0 = madd(x0, w, d0);
        if (fours > 1) d1 = madd(x1, w, d1);
      }
    }
    at += step;
  }
  v128.store(out, split ? f32x4.add(a0, a0o) : a0);
  if (fours > 1) v128.store(out, split ? f32x4.add(a1, a1o) : a1, 16);
  if (fours > 2) v128.store(out, split ? f32x4.add(a2, a2o) : a2, 32);
  if (members > 1) {
    v128.store(out + outStride, split ? f32x4.add(b0, b0o) : b0);
    if (fours > 1) v128.store(out + outStride, split ? f32x4.add(b1, b1o) : b1, 16);
    if (fours > 2) v128.store(out + outStride, b2, 32);
  }
  if (members > 2) {
    v128.store(out + 2 * outStride, split ? f32x4.add(c0, c0o) : c0);
    if (fours > 1) v128.store(out + 2 * outStride, c1, 16);
    if (fours > 2) v128.store(out + 2 * outStride, c2, 32);
  }
  if (members > 3) {
    v128.store(out + 3 * outStride, split ? f32x4.add(d0, d0o) : d0);
    if (fours > 1) v128.store(out + 3 * outStride, d1, 16);
  }
}

/** `addUp` over `blocks` of TOGETHER positions or columns, `blockBytes` from one to the next, then over `rest` (0, 4 or 8). */
// @ts-ignore: decorator
@inline
function addUpBlocks(
  members: i32, weights: usize, words: usize, pairs: i32, blocks: i32, blockBytes: usize, rest: i32, out: usize,
  outStride: usize,
): void {
  for (let i = 0; i < blocks; i++) {
    addUp(members, members > 3 ? 2 : 3, weights, words, TOGETHER_BYTES, pairs, out, outStride);
    if (members > 3) addUp(members, 1, weights, words + 32, TOGETHER_BYTES, pairs, out + 32, outStride);
    words += blockBytes;
    out += TOGETHER_BYTES;
  }
  if (rest == 8) addUp(members, 2, weights, words, 32, pairs, out, outStride);
  else if (rest == 4) addUp(members, 1, weights, words, 16, pairs, out, outStride);
}

/** `addUpBlocks` for a number of members that is no constant. */
function addUpAll(
  members: i32, weights: usize, words: usize, pairs: i32, blocks: i32, blockBytes: usize, rest: i32, out: usize,
  outStride: usize,
): void {
  if (members == 1) addUpBlocks(1, weights, words, pairs, blocks, blockBytes, rest, out, outStride);
  else if (members == 2) addUpBlocks(2, weights, words, pairs, blocks, blockBytes, rest, out, outStride);
  else if (members == 3) addUpBlocks(3, weights, words, pairs, blocks, blockBytes, rest, out, outStride);
  else addUpBlocks(4, weights, words, pairs, blocks, blockBytes, rest, out, outStride);
}

/** Sums of n keys → scores, by the keys' scales; gives the largest. Scores behind the last one are LOWEST. */
function largest(scores: usize, n: i32, scales: usize): f32 {
  let top = f32x4.splat(LOWEST);
  for (const end = scores + (<usize>(n & ~3) << 2); scores < end; scores += 16) {
    const s = f32x4.mul(v128.load(scores), v128.load(scales));
    top = f32x4.pmax(top, s);
    v128.store(scores, s);
    scales += 16;
  }
  if (n & 3) {
    const s = f32x4.mul(v128.load(scores), v128.load(scales));
    const there = i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(n & 3));
    const last = v128.bitselect(s, f32x4.splat(LOWEST), there);
    top = f32x4.pmax(top, last);
    v128.store(scores, last);
  }
  return max4(top);
}

/** Scores → 2^(score − maximum) · V scale, in place, and a 0 behind them; gives their sum before the V scale. */
function weigh(scores: usize, n: i32, maximum: f32, vScales: usize): f32 {
  let total = f32x4.splat(0);
  const top = f32x4.splat(maximum);
  const end = scores + (<usize>n << 2);
  for (; scores < end; scores += 16) {
    const e = exp2(f32x4.sub(v128.load(scores), top));
    total = f32x4.add(total, e);
    v128.store(scores, f32x4.mul(e, v128.load(vScales)));
    vScales += 16;
  }
  // Values go in pairs, and a scale that nobody has written may be anything.
  store<f32>(end, 0);
  return sum4(total);
}

/** One unit is one run of query heads of one KV head and one chunk. A part holds maximum, sum, 2 unused, then headDim values. */
export function attendOne(op: usize, thread: i32): void {
  const headDim = fieldInt(op, 7);
  const runs = fieldInt(op, 11);
  const headBytes = <usize>(headDim << 2);
  const rowBytes = field(op, 12) * (PART_BYTES + headBytes);
  const queries = field(op, 9) + <usize>thread * field(op, 10);
  const scores = queries + 4 * ROW;
  const chunks = chunksOf(position() + 1);
  const total = runs * chunks;
  for (;;) {
    const unit = take(op, 1);
    if (unit >= total) break;
    // A head's chunks one after another, as they lie.
    const chunk = unit % chunks;
    const n = min(position() + 1 - chunk * CHUNK, CHUNK);
    const run = field(op, 5) + <usize>(unit / chunks) * 12;
    const first = load<i32>(run);
    const members = load<i32>(run, 4);
    const record = field(op, 6) + <usize>load<i32>(run, 8) * KV_BYTES;
    const room = chunkRoom(record, chunk);
    const keys = keysOf(record, chunk, headDim);
    const keyScales = keyScalesOf(keys, room, headDim);
    const values = valuesOf(keyScales, room);
    takeQueries(field(op, 2) + <usize>first * headBytes, members, headBytes, fieldFloat(op, 8), queries);
    const blocks = (n + TOGETHER - 1) / TOGETHER;
    addUpAll(members, queries, keys, headDim >> 1, blocks, <usize>(TOGETHER * headDim << 1), 0, scores, ROW);
    const part = field(op, 4) + <usize>first * rowBytes + <usize>chunk * (PART_BYTES + headBytes);
    for (let j: usize = 0; j < <usize>members; j++) {
      const row = scores + j * ROW;
      const top = largest(row, n, keyScales);
      store<f32>(part + j * rowBytes, top);
      store<f32>(part + j * rowBytes, weigh(row, n, top, keyScales + <usize>(room << 2)), 4);
    }
    const columns = <usize>(TOGETHER * room << 1);
    const rest = headDim % TOGETHER;
    addUpAll(members, scores, values, (n + 1) >> 1, headDim / TOGETHER, columns, rest, part + PART_BYTES, rowBytes);
  }
}
