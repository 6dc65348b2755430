/** Random shares of random models, put into any backend, so that two backends can be compared step by step. */
import type { Backend, LayerShare, PlacedTile, TileData } from '../../web/device/backend.ts';
import type { HyperParameters } from '../../web/model/types.ts';

type PlainKind = 'q4' | 'q8' | 'q8-16' | 'q8-mins' | 'f32' | 'f16' | 'bf16';
/** With scales and minima that are halves, as files of most types have them; `q4-eight`: and the minima are −8 · scale. */
type HalvedKind = 'q4-halves' | 'q4-eight' | 'q8-halves' | 'q8-mins-halves';
export type TileKind = PlainKind | HalvedKind;

/** All that a kernel may find in a file. */
export const TILE_KINDS: readonly TileKind[] = [
  ...(['q4', 'q4-halves', 'q4-eight', 'q8', 'q8-halves', 'q8-16', 'q8-mins', 'q8-mins-halves'] as const),
  ...(['f32', 'f16', 'bf16'] as const),
];

/** Small deterministic generator (mulberry32), uniform in [0, 1). */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** f32 to the nearest half or bfloat16 bits would need rounding; these helpers make bits of moderate values directly. */
function randomHalf(random: () => number): number {
  const exponent = 8 + Math.floor(random() * 6); // 2^-7 .. 2^-2
  return (random() < 0.5 ? 0x8000 : 0) | (exponent << 10) | Math.floor(random() * 1024);
}

function randomBrain(random: () => number): number {
  const exponent = 119 + Math.floor(random() * 6);
  return (random() < 0.5 ? 0x8000 : 0) | (exponent << 7) | Math.floor(random() * 128);
}

export function randomTile(kind: TileKind, rows: number, cols: number, random: () => number): TileData {
  switch (kind) {
    case 'q4-halves':
      return withHalves(randomTile('q4', rows, cols, random));
    case 'q4-eight': {
      const tile = withHalves(randomTile('q4', rows, cols, random));
      if (tile.kind !== 'q4') throw new Error('randomTile gave another kind.');
      return { ...tile, mins: tile.scales.map((scale) => -8 * scale) };
    }
    case 'q8-halves':
      return withHalves(randomTile('q8', rows, cols, random));
    case 'q8-mins-halves':
      return withHalves(randomTile('q8-mins', rows, cols, random));
    default:
      return plainTile(kind, rows, cols, random);
  }
}

/** Scales and minima rounded to halves, of which one in eight is smaller, down to subnormals, or zero. */
function withHalves(tile: TileData): Extract<TileData, { kind: 'q4' | 'q8' }> {
  if ('values' in tile) throw new Error('Plain values have no scales.');
  const halves = (values: Float32Array) =>
    values.map((value, i) => {
      const v = i % 24 === 3 ? 0 : i % 8 === 5 ? value * 2 ** -(i % 16) : value;
      const step = 2 ** Math.max(-24, Math.floor(Math.log2(Math.abs(v))) - 10);
      return Math.round(v / step) * step;
    });
  const scales = halves(tile.scales);
  return tile.kind === 'q4'
    ? { ...tile, scales, mins: halves(tile.mins) }
    : { ...tile, scales, ...(tile.mins && { mins: halves(tile.mins) }) };
}

function plainTile(kind: PlainKind, rows: number, cols: number, random: () => number): TileData {
  const size = rows * cols;
  const fill = (n: number, f: () => number) => Float32Array.from({ length: n }, f);
  const scale = () => (random() < 0.1 ? -1 : 1) * (0.002 + random() * 0.02);
  switch (kind) {
    case 'q4': {
      const quants = Uint8Array.from({ length: size / 2 }, () => Math.floor(random() * 256));
      const scales = fill(size / 32, scale);
      const mins = scales.map((s) => -8 * s * (0.8 + 0.4 * random()));
      return { rows, cols, kind: 'q4', block: 32, quants, scales, mins };
    }
    case 'q8':
    case 'q8-16':
    case 'q8-mins': {
      const block = kind === 'q8-16' ? 16 : 32;
      const quants = Int8Array.from({ length: size }, () =>
        kind === 'q8-mins' ? Math.floor(random() * 32) : Math.floor(random() * 256) - 128,
      );
      const scales = fill(size / block, () => scale() / 16);
      const mins = kind === 'q8-mins' ? scales.map((s) => -16 * s) : undefined;
      return { rows, cols, kind: 'q8', block, quants, scales, mins };
    }
    case 'f32':
      return { rows, cols, kind, values: fill(size, () => (random() - 0.5) * 0.2) };
    case 'f16':
      return { rows, cols, kind, values: Uint16Array.from({ length: size }, () => randomHalf(random)) };
    case 'bf16':
      return { rows, cols, kind, values: Uint16Array.from({ length: size }, () => randomBrain(random)) };
  }
}

export interface RandomShape {
  layers: number;
  dim: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  ffn: number;
  vocab: number;
  ropeLayout?: 'pairs' | 'halves';
  ropeDims?: number;
  bias?: boolean;
  headNorm?: boolean;
}

export function hyperOf(shape: RandomShape): HyperParameters {
  const dims = shape.ropeDims ?? shape.headDim;
  return {
    architecture: 'llama',
    layers: shape.layers,
    dim: shape.dim,
    heads: shape.heads,
    kvHeads: shape.kvHeads,
    headDim: shape.headDim,
    ffn: shape.ffn,
    vocab: shape.vocab,
    context: 4096,
    normEpsilon: 1e-5,
    rope: {
      layout: shape.ropeLayout ?? 'pairs',
      dims,
      frequencies: Float64Array.from({ length: dims / 2 }, (_, i) => 10000 ** ((-2 * i) / dims)),
      magnitude: 1,
    },
    tied: true,
    qkvBias: shape.bias ?? false,
    qkNorm: shape.headNorm ?? false,
  };
}

export interface RandomModel {
  hyper: HyperParameters;
  /** Gives a backend the whole model; matrices come as several tiles where `pieces` > 1. */
  install(backend: Backend): Promise<void>;
}

/** Cuts `total` into `pieces` runs of multiples of `unit`. */
function cuts(total: number, pieces: number, unit: number): [number, number][] {
  const units = Math.ceil(total / unit);
  const out: [number, number][] = [];
  for (let i = 0; i < pieces; i++) {
    const from = Math.floor((units * i) / pieces) * unit;
    const to = Math.min(total, Math.floor((units * (i + 1)) / pieces) * unit);
    if (to > from) out.push([from, to]);
  }
  return out;
}

/**
 * @param kinds the kind of each matrix, in the order q k v o gate up down embedding; the last serves for the rest
 * @param pieces into how many tiles a matrix is cut: row matrices by rows, o and down by columns
 */
export function randomModel(shape: RandomShape, kinds: TileKind[], pieces: number, seed: number): RandomModel {
  const random = randomSource(seed);
  const hyper = hyperOf(shape);
  const { dim, headDim, ffn, vocab, heads, kvHeads } = shape;
  const kind = (i: number) => kinds[Math.min(i, kinds.length - 1)];
  const vector = (n: number, base: number) => Float32Array.from({ length: n }, () => base + (random() - 0.5) * 0.4);
  const byRows = (k: TileKind, rows: number, cols: number) =>
    cuts(rows, pieces, 4).map(([from, to]) => ({ row: from, col: 0, data: randomTile(k, to - from, cols, random) }));
  const byCols = (k: TileKind, rows: number, cols: number) =>
    cuts(cols, pieces, 32).map(([from, to]) => ({ row: 0, col: from, data: randomTile(k, rows, to - from, random) }));
  const layers = Array.from({ length: shape.layers }, () => ({
    tiles: {
      q: byRows(kind(0), heads * headDim, dim),
      k: byRows(kind(1), kvHeads * headDim, dim),
      v: byRows(kind(2), kvHeads * headDim, dim),
      o: byCols(kind(3), dim, heads * headDim),
      gate: byRows(kind(4), ffn, dim),
      up: byRows(kind(5), ffn, dim),
      down: byCols(kind(6), dim, ffn),
    },
    vectors: {
      attentionNorm: vector(dim, 1),
      ffnNorm: vector(dim, 1),
      ...(shape.bias
        ? {
            qBias: vector(heads * headDim, 0),
            kBias: vector(kvHeads * headDim, 0),
            vBias: vector(kvHeads * headDim, 0),
          }
        : {}),
      ...(shape.headNorm ? { qNorm: vector(headDim, 1), kNorm: vector(headDim, 1) } : {}),
    },
  }));
  const embedding = byRows(kind(7), vocab, dim);
  const outputNorm = vector(dim, 1);

  async function install(backend: Backend): Promise<void> {
    const place = (role: Parameters<Backend['addTile']>[0], parts: { row: number; col: number; data: TileData }[]) =>
      Promise.all(
        parts.map(
          async ({ row, col, data }): Promise<PlacedTile> => ({ row, col, tile: await backend.addTile(role, data) }),
        ),
      );
    for (const [layer, { tiles, vectors }] of layers.entries()) {
      const placed = {} as LayerShare['tiles'];
      for (const role of ['q', 'k', 'v', 'o', 'gate', 'up', 'down'] as const)
        placed[role] = await place(role, tiles[role]);
      const qToKv = Array.from({ length: heads }, (_, h) => Math.floor((h * kvHeads) / heads));
      backend.setLayer(layer, {
        qToKv,
        kvHeads: Array.from({ length: kvHeads }, (_, h) => h),
        ffn,
        tiles: placed,
        vectors,
      });
    }
    const table = await place('embedding', embedding);
    backend.setEmbedding(table);
    backend.setHead(table, outputNorm);
  }
  return { hyper, install };
}

/** Largest difference over the largest magnitude of the reference. */
export function relativeError(actual: ArrayLike<number>, reference: ArrayLike<number>): number {
  if (actual.length !== reference.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let magnitude = 0;
  for (let i = 0; i < reference.length; i++) {
    difference = Math.max(difference, Math.abs(actual[i] - reference[i]));
    magnitude = Math.max(magnitude, Math.abs(reference[i]));
    if (!Number.isFinite(actual[i])) return Number.POSITIVE_INFINITY;
  }
  return difference / (magnitude || 1);
}
