import { chunkRoom, keyScalesOf, keysOf, putKey, putValue, valuesOf } from './kv';
import { CHUNK, KV_BYTES, count, field, fieldFloat, fieldInt, position, firstPiece, nextPiece } from './layout';
import { rmsNorm } from './norm';
import { max4 } from './simd';

const KV_LIMIT: f32 = 32767;

function addBias(x: usize, bias: usize, n: i32): void {
  for (let i: usize = 0; i < <usize>(n << 2); i += 16) v128.store(x + i, f32x4.add(v128.load(x + i), v128.load(bias + i)));
}

/** Rotates the first `dims` values of a head; table: cosines, then sines, dims/2 of each. */
function rotate(x: usize, dims: i32, halves: bool, table: usize): void {
  const half = dims >> 1;
  for (let i = 0; i < half; i++) {
    const a = x + <usize>((halves ? i : i << 1) << 2);
    const b = x + <usize>((halves ? i + half : (i << 1) + 1) << 2);
    const cosine = load<f32>(table + <usize>(i << 2));
    const sine = load<f32>(table + <usize>((i + half) << 2));
    const p = load<f32>(a);
    const q = load<f32>(b);
    store<f32>(a, p * cosine - q * sine);
    store<f32>(b, p * sine + q * cosine);
  }
}

/** f32 → 16-bit integers in the same place; gives their scale. */
function toIntegers(x: usize, headDim: i32): f32 {
  const bytes = <usize>(headDim << 2);
  let amax = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) amax = f32x4.pmax(amax, f32x4.abs(v128.load(x + i)));
  const a = max4(amax);
  // A vector this small is zero for every purpose; its quotient would overflow.
  if (!(a > 1e-30)) {
    memory.fill(x, 0, bytes >> 1);
    return 0;
  }
  const factor = f32x4.splat(KV_LIMIT / a);
  for (let i: usize = 0; i < bytes; i += 32) {
    const x0 = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x + i), factor)));
    const x1 = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x + i, 16), factor)));
    v128.store(x + (i >> 1), i16x8.narrow_i32x4_s(x0, x1));
  }
  return a / KV_LIMIT;
}

/** One head's key or value into the KV cache: 16-bit integers and one scale. Destroys x. */
function keep(x: usize, headDim: i32, record: usize, position: i32, isKey: bool): void {
  const chunk = position / CHUNK;
  const at = position % CHUNK;
  const room = chunkRoom(record, chunk);
  const keys = keysOf(record, chunk, headDim);
  const scales = keyScalesOf(keys, room, headDim);
  store<f32>(scales + <usize>((isKey ? at : room + at) << 2), toIntegers(x, headDim));
  if (isKey) putKey(x, keys, at, headDim);
  else putValue(x, valuesOf(scales, room), room, at, headDim);
}

/**
 * Biases, head norms and rope on q and k; k and v go to the KV cache. One unit is one head of one position.
 * Fields: 2 q, 3 query heads, 4 k, 5 KV heads, 6 v, 7 headDim, 8 rope dims, 9: 1 = halves, 10 table (f32[T][dims]),
 * 11 q bias, 12 k bias, 13 v bias, 14 q norm, 15 k norm (0 where there is none), 16 epsilon, 17 KV records, 18 chunk.
 */
export function ropeAndKeep(op: usize, thread: i32): void {
  const queryHeads = fieldInt(op, 3);
  const kvHeads = fieldInt(op, 5);
  const headDim = fieldInt(op, 7);
  const dims = fieldInt(op, 8);
  const halves = fieldInt(op, 9) != 0;
  const epsilon = fieldFloat(op, 16);
  const chunk = fieldInt(op, 18);
  const headBytes = <usize>(headDim << 2);
  const perPosition = queryHeads + 2 * kvHeads;
  const total = count() * perPosition;
  for (let from = firstPiece(thread, chunk); from < total; from = nextPiece(op, chunk)) {
    const to = min(from + chunk, total);
    for (let i = from; i < to; i++) {
      const t = i / perPosition;
      const unit = i % perPosition;
      const table = field(op, 10) + (<usize>(t * dims) << 2);
      const at = position() + t;
      if (unit < queryHeads) {
        const x = field(op, 2) + <usize>(t * queryHeads + unit) * headBytes;
        if (field(op, 11)) addBias(x, field(op, 11) + <usize>unit * headBytes, headDim);
        if (field(op, 14)) rmsNorm(x, x, field(op, 14), headDim, epsilon);
        rotate(x, dims, halves, table);
      } else if (unit < queryHeads + kvHeads) {
        const head = unit - queryHeads;
        const record = field(op, 17) + <usize>head * KV_BYTES;
        const x = field(op, 4) + <usize>(t * kvHeads + head) * headBytes;
        if (field(op, 12)) addBias(x, field(op, 12) + <usize>head * headBytes, headDim);
        if (field(op, 15)) rmsNorm(x, x, field(op, 15), headDim, epsilon);
        rotate(x, dims, halves, table);
        keep(x, headDim, record, at, true);
      } else {
        const head = unit - queryHeads - kvHeads;
        const record = field(op, 17) + <usize>head * KV_BYTES;
        const x = field(op, 6) + <usize>(t * kvHeads + head) * headBytes;
        if (field(op, 13)) addBias(x, field(op, 13) + <usize>head * headBytes, headDim);
        keep(x, headDim, record, at, false);
      }
    }
  }
}
