// Where a KV head's keys and values lie: in the order in which attention of one position reads them, since it waits for memory
// wherever that is not the next line. Chunks of CHUNK positions follow each other; the last one is as long as the room that is
// left. In a chunk of n positions:
//   keys      i16 [n/12][headDim/2][12][2]   twelve positions, two columns
//   scales    f32 [n] of the keys, then f32 [n] of the values
//   values    i16 for each 12 columns (the last ones may be 8 or 4): [n/2][columns][2]   two positions
// So a word of 32 bits has the integers of two columns, or of two positions. web/device/wasm/kv-cache.ts has the same for reading and
// writing from outside.
import { CHUNK, KV_AT, KV_ROOM, TOGETHER, TOGETHER_BYTES } from './layout';

/** Positions that a chunk has room for. */
// @ts-ignore: decorator
@inline
export function chunkRoom(record: usize, chunk: i32): i32 {
  return min(CHUNK, load<i32>(record, KV_ROOM) - chunk * CHUNK);
}

/** A chunk's keys. */
// @ts-ignore: decorator
@inline
export function keysOf(record: usize, chunk: i32, headDim: i32): usize {
  return <usize>load<u32>(record, KV_AT) + <usize>(chunk * CHUNK) * <usize>((headDim << 2) + 8);
}

/** Scales of a chunk's keys, from its keys; those of its values follow. */
// @ts-ignore: decorator
@inline
export function keyScalesOf(keys: usize, room: i32, headDim: i32): usize {
  return keys + <usize>(room * headDim << 1);
}

/** A chunk's values, from the scales of its keys. */
// @ts-ignore: decorator
@inline
export function valuesOf(keyScales: usize, room: i32): usize {
  return keyScales + <usize>(room << 3);
}

/** The upper halves of four words as f32; takes fewer of the units that multiply need too than a load that extends. */
// @ts-ignore: decorator
@inline
export function uppers(words: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(words, 16));
}

/** The lower halves of four words as f32. */
// @ts-ignore: decorator
@inline
export function lowers(words: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(words, 16), 16));
}

/** Puts one position's key of 16-bit integers `x` among a chunk's keys. */
export function putKey(x: usize, keys: usize, at: i32, headDim: i32): void {
  let to = keys + <usize>(at / TOGETHER * TOGETHER * headDim << 1) + <usize>(at % TOGETHER << 2);
  for (const end = x + <usize>(headDim << 1); x < end; x += 4) {
    store<u32>(to, load<u32>(x));
    to += TOGETHER_BYTES;
  }
}

/** Puts one position's value of 16-bit integers among a chunk's values. */
export function putValue(x: usize, values: usize, room: i32, at: i32, headDim: i32): void {
  for (let column = 0; column < headDim; column += TOGETHER) {
    const columns = min(TOGETHER, headDim - column);
    const to = values + <usize>((column * room + (at >> 1) * 2 * columns + (at & 1)) << 1);
    for (let c = 0; c < columns; c++) store<u16>(to + <usize>(c << 2), load<u16>(x + <usize>((column + c) << 1)));
  }
}
