/** A KV head's keys and values in memory, as wasm-cpu/assembly/kv.ts has them: read and written as dense slices. */
import type { KvSlice } from '../backend.ts';
import type { WasmMemory } from './memory.ts';

/** Cached positions in a chunk (wasm-cpu/assembly/layout.ts). */
export const CHUNK = 576;
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
  const slice: KvSlice = {
    k: new Int16Array((to - from) * headDim),
    v: new Int16Array((to - from) * headDim),
    kScales: new Float32Array(to - from),
    vScales: new Float32Array(to - from),
  };
  const integers = memory.i16();
  const scales = memory.f32();
  const columns = valueColumns(headDim);
  for (let p = from; p < to; p++) {
    const { keys, keyScale, valueScale, values, room, inChunk } = placeOf(head, p);
    const out = (p - from) * headDim;
    for (let c = 0; c < headDim; c += 2) {
      slice.k[out + c] = integers[keys + TOGETHER * c];
      slice.k[out + c + 1] = integers[keys + TOGETHER * c + 1];
    }
    for (const { first, count } of columns) {
      const from = values + first * room + (inChunk >> 1) * 2 * count;
      for (let c = 0; c < count; c++) slice.v[out + first + c] = integers[from + 2 * c];
    }
    slice.kScales[p - from] = scales[keyScale];
    slice.vScales[p - from] = scales[valueScale];
  }
  return slice;
}

/** Puts a slice's positions from `from` on. */
export function writeKvHead(memory: WasmMemory, head: KvHead, from: number, slice: KvSlice): void {
  const { headDim } = head;
  const integers = memory.i16();
  const scales = memory.f32();
  const columns = valueColumns(headDim);
  for (let i = 0; i < slice.kScales.length; i++) {
    const { keys, keyScale, valueScale, values, room, inChunk } = placeOf(head, from + i);
    const source = i * headDim;
    for (let c = 0; c < headDim; c += 2) {
      integers[keys + TOGETHER * c] = slice.k[source + c];
      integers[keys + TOGETHER * c + 1] = slice.k[source + c + 1];
    }
    for (const { first, count } of columns) {
      const to = values + first * room + (inChunk >> 1) * 2 * count;
      for (let c = 0; c < count; c++) integers[to + 2 * c] = slice.v[source + first + c];
    }
    scales[keyScale] = slice.kScales[i];
    scales[valueScale] = slice.vScales[i];
  }
}

/** Columns of values that lie side by side: twelves and what is left. */
function valueColumns(headDim: number): { first: number; count: number }[] {
  return Array.from({ length: Math.ceil(headDim / TOGETHER) }, (_, i) => ({
    first: TOGETHER * i,
    count: Math.min(TOGETHER, headDim - TOGETHER * i),
  }));
}

/**
 * Where a position's parts begin: its key's first column (two columns every 12 words), its scales, and its value's first
 * column, were the two positions of its words a vector of their own. Indices of 16-bit integers, or of floats for the scales.
 */
function placeOf({ at, room: all, headDim }: KvHead, position: number) {
  const chunk = Math.floor(position / CHUNK);
  const inChunk = position % CHUNK;
  const room = Math.min(CHUNK, all - chunk * CHUNK);
  const start = at + chunk * CHUNK * (4 * headDim + 8);
  const twelve = Math.floor(inChunk / TOGETHER);
  const scales = (start + 2 * room * headDim) >> 2;
  return {
    room,
    inChunk,
    keys: (start >> 1) + twelve * TOGETHER * headDim + 2 * (inChunk % TOGETHER),
    keyScale: scales + inChunk,
    valueScale: scales + room + inChunk,
    values: ((start + room * (2 * headDim + 8)) >> 1) + (inChunk & 1),
  };
}
