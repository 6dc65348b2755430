/** From what a member holds, in the model's coordinates, to the local shares that a backend computes with. */
import type { HyperParameters } from '../model/types.ts';
import type { Range } from '../plan/types.ts';
import type { LayerShare, PlacedTile } from './backend.ts';
import type { HeldTile, LoadedLayer } from './loader/types.ts';

/** Where a global index lies when the ranges are packed without gaps. Throws for an index outside them. */
export function localIndex(ranges: readonly Range[], index: number): number {
  let before = 0;
  for (const [from, to] of ranges) {
    if (index >= from && index < to) return before + index - from;
    before += to - from;
  }
  throw new Error(`${index} is not owned`);
}

const scaled = (ranges: readonly Range[], factor: number): Range[] =>
  ranges.map(([from, to]): Range => [from * factor, to * factor]);

const length = (ranges: readonly Range[]): number => ranges.reduce((sum, [from, to]) => sum + to - from, 0);

const numbers = (ranges: readonly Range[]): number[] =>
  ranges.flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i));

/** Values of a whole vector at the owned indices. */
function cut(vector: Float32Array, ranges: readonly Range[]): Float32Array {
  const out = new Float32Array(length(ranges));
  let at = 0;
  for (const [from, to] of ranges) {
    out.set(vector.subarray(from, to), at);
    at += to - from;
  }
  return out;
}

/** Places tiles whose rows are split; those that lie outside the ranges are left out. */
export function placeRows(tiles: readonly HeldTile[], ranges: readonly Range[]): PlacedTile[] {
  return tiles
    .filter(({ rows }) => ranges.some(([from, to]) => rows[0] >= from && rows[1] <= to))
    .map(({ tile, rows }) => ({ tile, row: localIndex(ranges, rows[0]), col: 0 }));
}

function placeCols(tiles: readonly HeldTile[], ranges: readonly Range[]): PlacedTile[] {
  return tiles
    .filter(({ cols }) => ranges.some(([from, to]) => cols[0] >= from && cols[1] <= to))
    .map(({ tile, cols, rows }) => ({ tile, row: rows[0], col: localIndex(ranges, cols[0]) }));
}

/** KV heads that query heads attend to, ascending. */
export function kvHeadsOf(qHeads: readonly Range[], hyper: HyperParameters): number[] {
  const group = hyper.heads / hyper.kvHeads;
  return [...new Set(numbers(qHeads).map((head) => Math.floor(head / group)))];
}

/** One layer's local share. Tiles outside `qHeads` and `ffn` are not used, so that a share can shrink before tiles go. */
export function localShare(
  loaded: LoadedLayer,
  qHeads: readonly Range[],
  ffn: readonly Range[],
  hyper: HyperParameters,
): LayerShare {
  const { headDim } = hyper;
  const group = hyper.heads / hyper.kvHeads;
  const kvHeads = kvHeadsOf(qHeads, hyper);
  const q = scaled(qHeads, headDim);
  const kv = kvHeads.map((head): Range => [head * headDim, (head + 1) * headDim]);
  const { qBias, kBias, vBias, ...whole } = loaded.vectors;
  return {
    qToKv: numbers(qHeads).map((head) => kvHeads.indexOf(Math.floor(head / group))),
    kvHeads,
    ffn: length(ffn),
    tiles: {
      q: placeRows(loaded.tiles.q, q),
      k: placeRows(loaded.tiles.k, mergeTouching(kv)),
      v: placeRows(loaded.tiles.v, mergeTouching(kv)),
      o: placeCols(loaded.tiles.o, q),
      gate: placeRows(loaded.tiles.gate, ffn),
      up: placeRows(loaded.tiles.up, ffn),
      down: placeCols(loaded.tiles.down, ffn),
    },
    vectors: {
      ...whole,
      ...(qBias && { qBias: cut(qBias, q) }),
      ...(kBias && { kBias: cut(kBias, kv) }),
      ...(vBias && { vBias: cut(vBias, kv) }),
    },
  };
}

/** Ranges that touch become one, so that a tile over several heads lies inside a range. */
function mergeTouching(ranges: readonly Range[]): Range[] {
  const out: Range[] = [];
  for (const [from, to] of ranges) {
    const last = out.at(-1);
    if (last && last[1] === from) last[1] = to;
    else out.push([from, to]);
  }
  return out;
}
