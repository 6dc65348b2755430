/** Buffers between the operations of a step, sized for the largest layer share and batch. */
import { CHUNK } from './kv-cache.ts';
import type { WasmMemory } from './memory.ts';

/** A record of activations, as wasm-cpu/assembly/layout.ts has it. */
const RECORD_BYTES = 28;
/** Positions in a panel of activations, and bytes of a panel of weights: 8 rows of f32 by 2 blocks of 32 columns. */
const PANEL = 4;
const WEIGHT_PANEL_BYTES = 4 * 8 * 64;
/** Cached and new positions that attention of several takes together (wasm-cpu/assembly/attend-many.ts). */
const BLOCK = 48;
const TILE = 16;
/** Query heads that attention takes together; wasm-cpu/assembly/attend-one.ts has a kernel for each number up to it. */
export const MOST_HEADS_TOGETHER = 4;

export interface ScratchSize {
  maxBatch: number;
  dim: number;
  headDim: number;
  ropeDims: number;
  heads: number;
  kvHeads: number;
  ffn: number;
  context: number;
  threads: number;
}

/** Room for activations of up to a number of values a position: f32 of all positions, 24-bit integers of one. */
interface ActivationBuffer {
  hml: number;
  hi: number;
  lo: number;
  scale: number;
  sum: number;
  f32: number;
}

export interface Scratch {
  ids: number;
  residual: number;
  partial: number;
  /** Rope's cosines and sines: f32[maxBatch][ropeDims]. */
  table: number;
  q: number;
  k: number;
  v: number;
  gate: number;
  up: number;
  /** Attention rows of one position in parts, one a chunk of cached positions; `partsPerRow` at most. */
  parts: number;
  partsPerRow: number;
  /** What attention keeps while it computes, one run of `attentionBytes` a thread. */
  attention: number;
  attentionBytes: number;
  /** Weights unpacked for a product with several positions, one panel of `weightBytes` a thread. */
  weights: number;
  weightBytes: number;
  normed: ActivationBuffer;
  attended: ActivationBuffer;
  inner: ActivationBuffer;
  /** Writes a record that reads `buffer` as `n` values a position; returns its address. */
  record(buffer: ActivationBuffer, n: number): number;
  free(): void;
}

/** Queries and scores of a run of heads, as `attendOne` keeps them: rows of a chunk's scores, with room for four behind each. */
const ONE_BYTES = 2 * MOST_HEADS_TOGETHER * (4 * CHUNK + 16);

/**
 * A block of keys or values in f32 and, for every two fours of queries, as `attendMany` keeps them: columns of queries and of
 * output, scores, and 96 bytes. A whole tile's, or the batch's where that is smaller.
 */
function manyBytes(headDim: number, batch: number): number {
  const fours = MOST_HEADS_TOGETHER * Math.ceil(Math.min(TILE, batch) / PANEL);
  return 4 * BLOCK * headDim + (fours / 2) * (64 * headDim + 32 * BLOCK + 96);
}

export function createScratch(memory: WasmMemory, size: ScratchSize): Scratch {
  const { maxBatch: batch, dim, headDim } = size;
  const owned: number[] = [];
  const allocate = (bytes: number) => {
    const at = memory.allocate(bytes);
    owned.push(at);
    return at;
  };
  const floats = (perPosition: number) => allocate(4 * batch * perPosition);
  const activations = (capacity: number): ActivationBuffer => ({
    hml: allocate(3 * capacity),
    hi: allocate(2 * capacity),
    lo: allocate(2 * capacity),
    scale: allocate((4 * capacity) / 32),
    sum: allocate((4 * capacity) / 32),
    f32: allocate(4 * Math.ceil(batch / PANEL) * PANEL * capacity),
  });
  const partsPerRow = Math.ceil(size.context / CHUNK);
  const most = Math.max(ONE_BYTES, manyBytes(headDim, batch), 4 * partsPerRow);
  // Whole cache lines, so that threads do not share one.
  const attentionBytes = Math.ceil(most / 64) * 64;
  const records = new Map<string, number>();
  return {
    ids: allocate(4 * batch),
    residual: floats(dim),
    partial: floats(dim),
    table: floats(size.ropeDims),
    q: floats(size.heads * headDim),
    k: floats(size.kvHeads * headDim),
    v: floats(size.kvHeads * headDim),
    gate: floats(size.ffn),
    up: floats(size.ffn),
    parts: allocate(4 * size.heads * partsPerRow * (4 + headDim)),
    partsPerRow,
    attention: allocate(attentionBytes * size.threads),
    attentionBytes,
    weights: allocate(WEIGHT_PANEL_BYTES * size.threads),
    weightBytes: WEIGHT_PANEL_BYTES,
    normed: activations(dim),
    attended: activations(size.heads * headDim),
    inner: activations(size.ffn),
    record(buffer, n) {
      const key = `${buffer.f32}/${n}`;
      const known = records.get(key);
      if (known !== undefined) return known;
      const at = allocate(RECORD_BYTES);
      const { hml, hi, lo, scale, sum, f32 } = buffer;
      memory.u32().set([hml, hi, lo, scale, sum, f32, n], at >>> 2);
      records.set(key, at);
      return at;
    },
    free() {
      for (const at of owned) memory.free(at);
    },
  };
}
