/** From what a member holds, in the model's coordinates, to the local shares that a backend computes with. */
import type { HyperParameters } from '../model/types.ts';
import { kvHeadsOf } from '../plan/inspect.ts';
import { count, each, scale } from '../plan/ranges.ts';
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

/** Values of a whole vector at the owned indices. */
function cut(vector: Float32Array, ranges: readonly Range[]): Float32Array {
  const out = new Float32Array(count(ranges));
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

/** One layer's local share. Tiles outside `qHeads` and `ffn` are not used, so that a share can shrink before tiles go. */
export function localShare(
  loaded: LoadedLayer,
  qHeads: readonly Range[],
  ffn: readonly Range[],
  hyper: HyperParameters,
): LayerShare {
  const { headDim } = hyper;
  const group = hyper.heads / hyper.kvHeads;
  const kvRanges = kvHeadsOf(qHeads, hyper);
  const kvHeads = [...each(kvRanges)];
  const q = scale(qHeads, headDim);
  const kv = scale(kvRanges, headDim);
  const { qBias, kBias, vBias, ...whole } = loaded.vectors;
  return {
    qToKv: [...each(qHeads)].map((head) => kvHeads.indexOf(Math.floor(head / group))),
    kvHeads,
    ffn: count(ffn),
    tiles: {
      q: placeRows(loaded.tiles.q, q),
      k: placeRows(loaded.tiles.k, kv),
      v: placeRows(loaded.tiles.v, kv),
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
