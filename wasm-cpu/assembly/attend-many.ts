// Attention of several positions: keys and values become f32 a block at a time, once for all query heads of their KV head and
// TILE positions, and meet them in products of matrices whose sums stay in registers. Four positions are the lanes of a vector,
// as in a panel of activations; two such fours go together. Nothing here depends on which other positions are in a batch.
import { chunkRoom, keyScalesOf, keysOf, lowers, uppers, valuesOf } from './kv';
import {
  A_F32, A_N, CHUNK, KV_BYTES, PANEL, TOGETHER, TOGETHER_BYTES, count, field, fieldFloat, fieldInt, position, take,
} from './layout';
import { panelColumn } from './panel';
import { LOWEST, exp2, madd } from './simd';

/** Cached positions in a block: a part of a chunk, and whole TOGETHERs. web/device/wasm/scratch.ts makes room for it and for a tile. */
// @ts-ignore: decorator
@inline const BLOCK: i32 = 48;
/** New positions that share a block's conversion. */
// @ts-ignore: decorator
@inline const TILE: i32 = 16;

/** Rows a, b, c, d of four columns → columns one after another, `stride` bytes apart. */
// @ts-ignore: decorator
@inline
function transpose(a: v128, b: v128, c: v128, d: v128, out: usize, stride: usize): void {
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  v128.store(out, v128.shuffle<i32>(ab, cd, 0, 1, 4, 5));
  v128.store(out + stride, v128.shuffle<i32>(ab, cd, 2, 3, 6, 7));
  const ef = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const gh = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(out + 2 * stride, v128.shuffle<i32>(ef, gh, 0, 1, 4, 5));
  v128.store(out + 3 * stride, v128.shuffle<i32>(ef, gh, 2, 3, 6, 7));
}

/** Queries of one head at four positions, the last of them again behind the last; columns 32 bytes apart. */
function takeQueries(q: usize, stride: usize, positions: i32, headBytes: usize, out: usize): void {
  const q1 = q + (positions > 1 ? stride : 0);
  const q2 = q1 + (positions > 2 ? stride : 0);
  const q3 = q2 + (positions > 3 ? stride : 0);
  for (let d: usize = 0; d < headBytes; d += 16) {
    transpose(v128.load(q + d), v128.load(q1 + d), v128.load(q2 + d), v128.load(q3 + d), out + (d << 3), 32);
  }
}

/** Keys as f32, four keys side by side: [n/4][headDim][4]; whole TOGETHERs of them. */
function takeKeys(keys: usize, headDim: i32, n: i32, out: usize): void {
  const fourBytes = <usize>(headDim << 4);
  for (let p = 0; p < n; p += TOGETHER) {
    for (const end = out + fourBytes; out < end; out += 32) {
      let to = out;
      for (let i: usize = 0; i < TOGETHER_BYTES; i += 16) {
        const words = v128.load(keys + i);
        v128.store(to, lowers(words));
        v128.store(to, uppers(words), 16);
        to += fourBytes;
      }
      keys += TOGETHER_BYTES;
    }
    out += 2 * fourBytes;
  }
}

/** Scores of two fours of queries with four keys: 2^(score) is what counts. */
function scoreFour(q: usize, keys: usize, end: usize, scales: usize, scale: f32, out: usize): void {
  let a0 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  // One column a turn: see gemm.ts.
  while (keys < end) {
    const a = v128.load(q);
    const b = v128.load(q, 16);
    const k0 = v128.load32_splat(keys);
    const k1 = v128.load32_splat(keys, 4);
    const k2 = v128.load32_splat(keys, 8);
    const k3 = v128.load32_splat(keys, 12);
    a0 = madd(a, k0, a0);
    b0 = madd(b, k0, b0);
    a1 = madd(a, k1, a1);
    b1 = madd(b, k1, b1);
    a2 = madd(a, k2, a2);
    b2 = madd(b, k2, b2);
    a3 = madd(a, k3, a3);
    b3 = madd(b, k3, b3);
    q += 32;
    keys += 16;
  }
  const factors = f32x4.mul(v128.load(scales), f32x4.splat(scale));
  let f = v128.shuffle<i32>(factors, factors, 0, 0, 0, 0);
  v128.store(out, f32x4.mul(a0, f));
  v128.store(out, f32x4.mul(b0, f), 16);
  f = v128.shuffle<i32>(factors, factors, 1, 1, 1, 1);
  v128.store(out, f32x4.mul(a1, f), 32);
  v128.store(out, f32x4.mul(b1, f), 48);
  f = v128.shuffle<i32>(factors, factors, 2, 2, 2, 2);
  v128.store(out, f32x4.mul(a2, f), 64);
  v128.store(out, f32x4.mul(b2, f), 80);
  f = v128.shuffle<i32>(factors, factors, 3, 3, 3, 3);
  v128.store(out, f32x4.mul(a3, f), 96);
  v128.store(out, f32x4.mul(b3, f), 112);
}

/** Makes scores LOWEST where a key comes after the query's position. `seen`: keys that the first of four positions sees, n at most. */
function mask(scores: usize, seen: i32, n: i32): void {
  const lanes = i32x4(0, 1, 2, 3);
  for (let p = max(seen, 0); p < n; p++) {
    const at = scores + (<usize>p << 5);
    const hidden = i32x4.gt_s(i32x4.splat(p - seen + 1), lanes);
    v128.store(at, v128.bitselect(f32x4.splat(LOWEST), v128.load(at), hidden));
  }
}

/**
 * Scores of one four of queries → 2^(score − maximum) · V scale, in place. State: maximum, sum, and what sums up to now are to
 * be multiplied with (four f32 each, 32 bytes apart).
 */
function weigh(scores: usize, n: i32, vScales: usize, state: usize): void {
  const end = scores + (<usize>n << 5);
  let top = v128.load(state);
  for (let at = scores; at < end; at += 32) top = f32x4.pmax(top, v128.load(at));
  const fade = exp2(f32x4.sub(v128.load(state), top));
  let sum = f32x4.splat(0);
  for (; scores < end; scores += 32) {
    const e = exp2(f32x4.sub(v128.load(scores), top));
    sum = f32x4.add(sum, e);
    v128.store(scores, f32x4.mul(e, v128.load32_splat(vScales)));
    vScales += 4;
  }
  v128.store(state, top);
  v128.store(state, f32x4.add(f32x4.mul(v128.load(state, 32), fade), sum), 32);
  v128.store(state, fade, 64);
}

/** Values of n positions from `at` on in a chunk as f32: [n][headDim], and one more where n is odd. `at` is even. */
function takeValues(values: usize, room: i32, at: i32, n: i32, headDim: i32, out: usize): void {
  const headBytes = <usize>(headDim << 2);
  for (let column = 0; column < headDim; column += TOGETHER) {
    const bytes = <usize>(min(TOGETHER, headDim - column) << 2);
    let from = values + <usize>(column * room << 1) + <usize>(at >> 1) * bytes;
    let to = out + <usize>(column << 2);
    for (let p = 0; p < n; p += 2) {
      for (let i: usize = 0; i < bytes; i += 16) {
        const words = v128.load(from + i);
        v128.store(to + i, lowers(words));
        v128.store(to + headBytes + i, uppers(words));
      }
      from += bytes;
      to += 2 * headBytes;
    }
  }
}

// @ts-ignore: decorator
@inline
function addFaded(out: usize, fade: v128, sum: v128): void {
  v128.store(out, f32x4.add(f32x4.mul(v128.load(out), fade), sum));
}

/** Four columns of the output of two fours of queries: out = out · fade + Σ weight · v over a block. */
function gatherFour(weights: usize, end: usize, v: usize, stride: usize, state: usize, out: usize): void {
  let a0 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  while (weights < end) {
    const a = v128.load(weights);
    const b = v128.load(weights, 16);
    const v0 = v128.load32_splat(v);
    const v1 = v128.load32_splat(v, 4);
    const v2 = v128.load32_splat(v, 8);
    const v3 = v128.load32_splat(v, 12);
    a0 = madd(a, v0, a0);
    b0 = madd(b, v0, b0);
    a1 = madd(a, v1, a1);
    b1 = madd(b, v1, b1);
    a2 = madd(a, v2, a2);
    b2 = madd(b, v2, b2);
    a3 = madd(a, v3, a3);
    b3 = madd(b, v3, b3);
    weights += 32;
    v += stride;
  }
  const fa = v128.load(state, 64);
  const fb = v128.load(state, 80);
  addFaded(out, fa, a0);
  addFaded(out + 16, fb, b0);
  addFaded(out + 32, fa, a1);
  addFaded(out + 48, fb, b1);
  addFaded(out + 64, fa, a2);
  addFaded(out + 80, fb, b2);
  addFaded(out + 96, fa, a3);
  addFaded(out + 112, fb, b3);
}

/** One unit is one run of query heads of one KV head at TILE positions. Gives panels of activations. */
export function attendMany(op: usize, thread: i32): void {
  const heads = fieldInt(op, 3);
  const headDim = fieldInt(op, 7);
  const scale = fieldFloat(op, 8);
  const runs = fieldInt(op, 11);
  const record = field(op, 13);
  const n = load<i32>(record, A_N);
  const activations = <usize>load<u32>(record, A_F32);
  const headBytes = <usize>(headDim << 2);
  const stride = <usize>heads * headBytes;
  // Of two fours: columns of queries, scores of a block, state, columns of output.
  const queryBytes = headBytes << 3;
  const scoreBytes: usize = <usize>BLOCK << 5;
  const stateBytes: usize = 96;
  const pairBytes = 2 * queryBytes + scoreBytes + stateBytes;
  const block = field(op, 9) + <usize>thread * field(op, 10);
  const pairs = block + <usize>BLOCK * headBytes;
  const total = runs * ((count() + TILE - 1) / TILE);
  for (;;) {
    const unit = take(op, 1);
    if (unit >= total) break;
    // Late positions first: they take longest, and the end of an operation should be short.
    const start = ((total - 1 - unit) / runs) * TILE;
    const positions = min(TILE, count() - start);
    const run = field(op, 5) + <usize>(unit % runs) * 12;
    const first = load<i32>(run);
    const members = load<i32>(run, 4);
    const kv = field(op, 6) + <usize>load<i32>(run, 8) * KV_BYTES;
    // Fours: all heads at the first panel's positions, then at the next one's; a last one alone goes twice.
    const fours = members * ((positions + PANEL - 1) / PANEL);
    const padded = (fours + 1) & ~1;
    for (let i = 0; i < padded; i++) {
      const f = min(i, fours - 1);
      const t = f / members * PANEL;
      const pair = pairs + <usize>(i >> 1) * pairBytes;
      const side = <usize>(i & 1) << 4;
      const q = field(op, 2) + <usize>(start + t) * stride + <usize>(first + f % members) * headBytes;
      takeQueries(q, stride, positions - t, headBytes, pair + side);
      const state = pair + queryBytes + scoreBytes;
      v128.store(state + side, f32x4.splat(LOWEST));
      v128.store(state + side, f32x4.splat(0), 32);
      const out = state + stateBytes + side;
      for (let d: usize = 0; d < queryBytes; d += 32) v128.store(out + d, f32x4.splat(0));
    }
    const end = position() + start + positions;
    for (let from = 0; from < end; from += BLOCK) {
      const size = min(BLOCK, end - from);
      const at = from % CHUNK;
      const room = chunkRoom(kv, from / CHUNK);
      const keys = keysOf(kv, from / CHUNK, headDim);
      const scales = keyScalesOf(keys, room, headDim);
      const keyScales = scales + (<usize>at << 2);
      const valueScales = keyScales + (<usize>room << 2);
      takeKeys(keys + <usize>(at * headDim << 1), headDim, size, block);
      for (let i = 0; i < padded; i += 2) {
        const pair = pairs + <usize>(i >> 1) * pairBytes;
        const scores = pair + queryBytes;
        // Keys that the first position of each four sees in this block, and those that any of them does.
        const seenA = position() + start + i / members * PANEL + 1 - from;
        const seenB = position() + start + min(i + 1, fours - 1) / members * PANEL + 1 - from;
        const some = min(size, seenB + PANEL - 1);
        for (let p = 0; p < some; p += 4) {
          const four = block + <usize>p * headBytes;
          scoreFour(pair, four, four + 4 * headBytes, keyScales + (<usize>p << 2), scale, scores + (<usize>p << 5));
        }
        mask(scores, seenA, some);
        mask(scores + 16, seenB, some);
        weigh(scores, some, valueScales, scores + scoreBytes);
        weigh(scores + 16, some, valueScales, scores + scoreBytes + 16);
      }
      takeValues(valuesOf(scales, room), room, at, size, headDim, block);
      for (let i = 0; i < padded; i += 2) {
        const scores = pairs + <usize>(i >> 1) * pairBytes + queryBytes;
        const state = scores + scoreBytes;
        const seen = position() + start + min(i + 1, fours - 1) / members * PANEL + PANEL - from;
        const last = scores + (<usize>max(0, min(size, seen)) << 5);
        for (let d: usize = 0; d < headBytes; d += 16) {
          gatherFour(scores, last, block + d, headBytes, state, state + stateBytes + (d << 3));
        }
      }
    }
    for (let i = 0; i < fours; i++) {
      const state = pairs + <usize>(i >> 1) * pairBytes + queryBytes + scoreBytes + (<usize>(i & 1) << 4);
      const factor = f32x4.div(f32x4.splat(1), v128.load(state, 32));
      const to = panelColumn(activations, n, start + i / members * PANEL, (first + i % members) * headDim);
      for (let d: usize = 0; d < headBytes; d += 4) {
        v128.store(to + (d << 2), f32x4.mul(v128.load(state + stateBytes + (d << 3)), factor));
      }
    }
  }
}
