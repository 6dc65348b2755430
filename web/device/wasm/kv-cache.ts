/** A KV head's keys and values in memory, as wasm-cpu/assembly/kv.ts has them: read and written as dense slices. */
import type { KvSlice } from '../backend.ts';
import type { WasmMemory } from './memory.ts';

/** Cached positions in a chunk (wasm-cpu/assembly/layout.ts). */
export const CHUNK = 384;
/** Positions of keys, or columns of values, that lie side by side. */
const TOGETHER = 12;

/** Positions that a KV head of `context` positions has room for. */
export function kvRoom(context: number): number {
  return Math.ceil(context / TOGETHER) * TOGETHER;
}

/** K and V of one head over the whole context: 16-bit integers and a scale a position, up to 11 positions more. */
export function kvHeadBytes(context: number, headDim: number): number {
  return kvRoom(context) * (4 * headDim + 8);
}

export interface KvHead {
  /** Address of the first chunk. */
  at: number;
  /** Positions (see `kvRoom`). */
  room: number;
  headDim: number;
}

/** Positions `from` to `to` of a head. */
export function readKvHead(memory: WasmMemory, head: KvHead, from: number, to: number): KvSlice {
  const { headDim } = head;
  const positions = to - from;
  const pairs = headDim / 2;
  const k = new Int32Array(positions * pairs);
  const v = new Int16Array(positions * headDim);
  const kScales = new Float32Array(positions);
  const vScales = new Float32Array(positions);
  const words = memory.i32();
  const integers = memory.i16();
  const scales = memory.f32();
  for (let i = 0; i < positions; i++) {
    const { keys, keyScale, valueScale, values, stride, before } = placeOf(head, from + i);
    for (let c = 0, out = i * pairs, at = keys; c < pairs; c++, at += TOGETHER) k[out + c] = words[at];
    for (let first = 0, group = values; first < headDim; first += TOGETHER, group += stride) {
      const count = Math.min(TOGETHER, headDim - first);
      const out = i * headDim + first;
      for (let c = 0, at = group + before * count; c < count; c++, at += 2) v[out + c] = integers[at];
    }
    kScales[i] = scales[keyScale];
    vScales[i] = scales[valueScale];
  }
  return { k: new Int16Array(k.buffer), v, kScales, vScales };
}

/** Puts a slice's positions from `from` on. */
export function writeKvHead(memory: WasmMemory, head: KvHead, from: number, slice: KvSlice): void {
  const { headDim } = head;
  const { k, v, kScales, vScales } = slice;
  const words = memory.i32();
  const integers = memory.i16();
  const scales = memory.f32();
  for (let i = 0; i < kScales.length; i++) {
    const { keys, keyScale, valueScale, values, stride, before } = placeOf(head, from + i);
    const source = i * headDim;
    for (let c = 0, at = keys; c < headDim; c += 2, at += TOGETHER) {
      words[at] = (k[source + c] & 0xffff) | (k[source + c + 1] << 16);
    }
    for (let first = 0, group = values; first < headDim; first += TOGETHER, group += stride) {
      const count = Math.min(TOGETHER, headDim - first);
      for (let c = 0, at = group + before * count; c < count; c++, at += 2) integers[at] = v[source + first + c];
    }
    scales[keyScale] = kScales[i];
    scales[valueScale] = vScales[i];
  }
}

/**
 * Where a position lies. Indices of words: `keys`, its first two columns, 12 words from the next two. Of floats: its scales. Of 16-bit
 * integers: `values`, where it would begin were it one of the chunk's first two positions; `stride` from twelve columns to the next;
 * and `before` integers of each column come before its own.
 */
function placeOf({ at, room: all, headDim }: KvHead, position: number) {
  const chunk = Math.floor(position / CHUNK);
  const inChunk = position % CHUNK;
  const room = Math.min(CHUNK, all - chunk * CHUNK);
  const start = at + chunk * CHUNK * (4 * headDim + 8);
  const lane = inChunk % TOGETHER;
  const scales = (start + 2 * room * headDim) >>> 2;
  return {
    keys: (start >>> 2) + (inChunk - lane) * (headDim / 2) + lane,
    keyScale: scales + inChunk,
    valueScale: scales + room + inChunk,
    values: 2 * (scales + 2 * room) + (inChunk & 1),
    stride: TOGETHER * room,
    before: inChunk & ~1,
  };
}
