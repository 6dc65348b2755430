/** Compiles a step's operations into the kernels' program: records of 32 fields (wasm-cpu/assembly/layout.ts). */

import type { Operation } from '../../mesh/operations.ts';
import type { HyperParameters } from '../../model/types.ts';
import type { LayerShare, PlacedTile, StepOp, Tile } from '../backend.ts';
import type { PackedTile } from './pack.ts';
import { SCALE_FORMS } from './scales.ts';
import type { Scratch } from './scratch.ts';
import { blocksOf, summarized } from './selection.ts';

export const OP_FIELDS = 32;

const CODE = {
  embed: 1,
  merge: 2,
  norm: 3,
  matmulQ4: 4,
  matmulQ8: 5,
  matmulFloat: 6,
  rope: 7,
  attention: 8,
  combine: 9,
  silu: 10,
  clear: 11,
  summarize: 12,
} as const;

const TILE_KIND = { f32: 0, f16: 1, bf16: 2, q4: 3, q8: 4 } as const;

export interface WasmTile extends Tile, PackedTile {}

/** A layer's share with its vectors and KV records in memory. */
export interface ResidentLayer {
  share: LayerShare;
  vectors: Partial<Record<keyof LayerShare['vectors'], number>>;
  /** Address of the KV records, in the order of share.kvHeads. */
  kv: number;
  /** Runs of query heads of one KV head: first head, heads, KV head (i32 each). */
  runs: { at: number; count: number };
}

export interface ProgramContext {
  hyper: HyperParameters;
  threads: number;
  scratch: Scratch;
  layer(layer: number): ResidentLayer;
  embedding: PlacedTile[];
  head: { tiles: PlacedTile[]; norm: number; rows: number };
  /** Address of the logits, room for as many positions as the step wants. */
  logits: number;
  /** Where a summary of their blocks goes, if one is wanted. */
  summary?: number | undefined;
}

class Fields {
  readonly words = new Int32Array(OP_FIELDS);
  private readonly floats = new Float32Array(this.words.buffer);
  constructor(code: number) {
    this.words[0] = code;
    this.words[1] = 1; // a barrier, unless the next operation is independent
  }
  set(from: number, ...values: number[]): this {
    this.words.set(values, from);
    return this;
  }
  float(at: number, value: number): this {
    this.floats[at] = value;
    return this;
  }
  independent(): this {
    this.words[1] = 0;
    return this;
  }
}

/** Records from `first` on, up to the next section: what a profile shows as one operation. The last one has a barrier. */
export interface Section {
  first: number;
  operation: Operation;
  layer: number | undefined;
}

export interface Program {
  words: Int32Array;
  sections: Section[];
}

export function compileProgram(ops: StepOp[], context: ProgramContext): Program {
  const { hyper, threads, scratch } = context;
  const { dim, headDim } = hyper;
  const out: Fields[] = [];
  const sections: Section[] = [];
  const begin = (operation: Operation, layer?: number) => sections.push({ first: out.length, operation, layer });
  /** Every thread has two pieces of an operation, so that a late one is waited for half of its share at most. */
  const chunkOf = (units: number) => Math.max(1, Math.ceil(units / (2 * threads)));

  function matmul(tiles: PlacedTile[], record: number, y: number, yRows: number, single = false): void {
    if (tiles.length === 0) {
      out.push(new Fields(CODE.clear).set(2, y, 4 * yRows));
      return;
    }
    tiles.forEach(({ tile: held, row, col }, i) => {
      const tile = held as WasmTile;
      const overlaps = (other: PlacedTile) => other.row < row + tile.rows && row < other.row + other.tile.rows;
      const add = tiles.slice(0, i).some(overlaps);
      const fours = Math.ceil(tile.rows / 4);
      const common = [tile.at, fours, tile.cols / 32, record, col / 32, y + 4 * row, 4 * yRows, Number(add)];
      const tail = [chunkOf(fours / 2), Number(single), scratch.weights, scratch.weightBytes];
      const code = tile.kind === 'q4' ? CODE.matmulQ4 : tile.kind === 'q8' ? CODE.matmulQ8 : CODE.matmulFloat;
      const op = new Fields(code).set(2, ...common, ...tail);
      if (tile.scales) op.set(14, SCALE_FORMS[tile.scales]);
      else op.set(16, TILE_KIND[tile.kind]);
      // Only a tile that adds to the same rows must wait for this one.
      const next = tiles[i + 1];
      if (
        next &&
        !tiles.slice(0, i + 1).some((t) => t.row < next.row + next.tile.rows && next.row < t.row + t.tile.rows)
      ) {
        op.independent();
      }
      out.push(op);
    });
  }
  /** The last operation made so far and the next one do not need each other. */
  const together = () => out.at(-1)?.independent();

  function norm(weight: number, partial: number, last: boolean): number {
    const record = scratch.record(scratch.normed, dim);
    const op = new Fields(CODE.norm).set(2, scratch.residual, partial, weight, record).float(6, hyper.normEpsilon);
    out.push(op.set(7, Number(last)));
    return record;
  }

  function attentionPart(layer: number, partial: number): void {
    const { share, vectors, kv, runs } = context.layer(layer);
    const heads = share.qToKv.length;
    const kvHeads = share.kvHeads.length;
    if (heads === 0) {
      begin('merge', layer);
      if (partial) out.push(new Fields(CODE.merge).set(2, scratch.residual, scratch.partial, dim));
      out.push(new Fields(CODE.clear).set(2, scratch.partial, 4 * dim));
      return;
    }
    begin('attentionNorm', layer);
    const normed = norm(vectors.attentionNorm ?? 0, partial, false);
    begin('qkv', layer);
    matmul(share.tiles.q, normed, scratch.q, heads * headDim);
    together();
    matmul(share.tiles.k, normed, scratch.k, kvHeads * headDim);
    together();
    matmul(share.tiles.v, normed, scratch.v, kvHeads * headDim);
    begin('rope', layer);
    const perPosition = heads + 2 * kvHeads;
    out.push(
      new Fields(CODE.rope)
        .set(2, scratch.q, heads, scratch.k, kvHeads, scratch.v, headDim, hyper.rope.dims)
        .set(9, Number(hyper.rope.layout === 'halves'), scratch.table)
        .set(11, vectors.qBias ?? 0, vectors.kBias ?? 0, vectors.vBias ?? 0, vectors.qNorm ?? 0, vectors.kNorm ?? 0)
        .float(16, hyper.normEpsilon)
        .set(17, kv, Math.ceil(perPosition / threads)),
    );
    begin('scores', layer);
    const record = scratch.record(scratch.attended, heads * headDim);
    const { parts, partsPerRow, attention, attentionBytes } = scratch;
    out.push(
      new Fields(CODE.attention)
        .set(2, scratch.q, heads, parts, runs.at, kv, headDim)
        .float(8, Math.LOG2E / Math.sqrt(headDim))
        .set(9, attention, attentionBytes, runs.count, partsPerRow, record),
    );
    begin('join', layer);
    const blocks = chunkOf((heads * headDim) / 32);
    out.push(new Fields(CODE.combine).set(2, record, blocks, parts, headDim, partsPerRow, attention, attentionBytes));
    begin('o', layer);
    matmul(share.tiles.o, record, scratch.partial, dim);
  }

  function ffnPart(layer: number, partial: number): void {
    const { share, vectors } = context.layer(layer);
    if (share.ffn === 0) {
      begin('merge', layer);
      if (partial) out.push(new Fields(CODE.merge).set(2, scratch.residual, scratch.partial, dim));
      out.push(new Fields(CODE.clear).set(2, scratch.partial, 4 * dim));
      return;
    }
    begin('ffnNorm', layer);
    const normed = norm(vectors.ffnNorm ?? 0, partial, false);
    begin('gateUp', layer);
    matmul(share.tiles.gate, normed, scratch.gate, share.ffn);
    together();
    matmul(share.tiles.up, normed, scratch.up, share.ffn);
    begin('act', layer);
    const record = scratch.record(scratch.inner, share.ffn);
    out.push(new Fields(CODE.silu).set(2, record, chunkOf(share.ffn / 32), scratch.gate, scratch.up));
    begin('down', layer);
    matmul(share.tiles.down, record, scratch.partial, dim);
  }

  function embedPart(): void {
    begin('embed');
    for (const { tile: held, row } of context.embedding) {
      const tile = held as WasmTile;
      const { at, rows, cols, kind, scales } = tile;
      const op = new Fields(CODE.embed).set(2, at, row, rows, cols, scratch.ids, scratch.residual, TILE_KIND[kind]);
      if (scales) op.set(14, SCALE_FORMS[scales]);
      out.push(op);
    }
  }

  // A merge is done by the norm that follows it, in the same pass over the residual.
  let owed = 0;
  for (const op of ops) {
    if (op.op === 'merge') owed = scratch.partial;
    else {
      if (op.op === 'embed') embedPart();
      else if (op.op === 'attention') attentionPart(op.layer, owed);
      else if (op.op === 'ffn') ffnPart(op.layer, owed);
      else {
        begin('head');
        const last = op.positions === 'last';
        const { tiles, norm: weight, rows } = context.head;
        matmul(tiles, norm(weight, owed, last), context.logits, Math.ceil(rows / 4) * 4, last);
        if (context.summary) {
          const chunk = chunkOf(blocksOf(rows));
          out.push(new Fields(CODE.summarize).set(2, context.logits, summarized(rows), context.summary, chunk));
        }
      }
      owed = 0;
    }
  }
  if (owed) {
    begin('merge');
    out.push(new Fields(CODE.merge).set(2, scratch.residual, scratch.partial, dim));
  }
  // The caller may read as soon as thread 0 is through.
  if (out.length > 0) (out.at(-1) as Fields).words[1] = 1;
  const words = new Int32Array(out.length * OP_FIELDS);
  out.forEach((op, i) => {
    words.set(op.words, i * OP_FIELDS);
  });
  return { words, sections };
}
