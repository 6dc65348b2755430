/** Loaded sets as values: what of an old one serves a new one, and putting one together. */
import { count, each, normalize, subtract } from '../../plan/ranges.ts';
import type { Range } from '../../plan/types.ts';
import type { Tile } from '../backend.ts';
import type { HeldTile, LayerMatrixRole, LoadedLayer, LoadedWeights, Share } from './types.ts';
import type { WantedMatrix, WantedVector } from './wanted.ts';

/** A matrix of a share and the tiles that it is made of. */
export interface FilledMatrix {
  wanted: WantedMatrix;
  tiles: HeldTile[];
}

/** A vector of a share; undefined while it is not read. */
export interface FilledVector {
  wanted: WantedVector;
  values: Float32Array | undefined;
}

/** All tiles of a loaded set; one that serves embedding and head is there once. */
export function tilesOf(weights: LoadedWeights): Set<Tile> {
  const { layers, embedding = [], head = [] } = weights;
  const inLayers = [...layers.values()].flatMap(({ tiles }) => Object.values(tiles).flat());
  return new Set([...inLayers, ...embedding, ...head].map(({ tile }) => tile));
}

/** A tile's extent along the axis that its matrix is cut along. */
export function extent(axis: 'rows' | 'cols', tile: Pick<HeldTile, 'rows' | 'cols'>): Range {
  return axis === 'rows' ? tile.rows : tile.cols;
}

const isWithinOne = ([from, to]: Range, ranges: readonly Range[]): boolean =>
  ranges.some(([outerFrom, outerTo]) => from >= outerFrom && to <= outerTo);

/**
 * Of the tiles that are held of a matrix, those that serve a wanted part of it as they are. Held ones may overlap: the
 * larger are chosen, so that a matrix is made of few tiles.
 */
export function usableTiles(
  { axis, ranges }: Pick<WantedMatrix, 'axis' | 'ranges'>,
  held: readonly HeldTile[],
): HeldTile[] {
  const length = (tile: HeldTile) => count([extent(axis, tile)]);
  const chosen: HeldTile[] = [];
  for (const tile of held.toSorted((a, b) => length(b) - length(a))) {
    const whole = extent(axis, tile);
    const free = chosen.every((other) => extent(axis, other)[1] <= whole[0] || extent(axis, other)[0] >= whole[1]);
    if (free && isWithinOne(whole, ranges)) chosen.push(tile);
  }
  return chosen;
}

/** The ranges of a matrix that none of its tiles covers. Two that touch are kept apart. */
export function missingOf({ wanted: { axis, ranges }, tiles }: FilledMatrix): Range[] {
  const covered = tiles.map((tile) => extent(axis, tile)).sort((a, b) => a[0] - b[0]);
  return ranges.flatMap((range) => subtract([range], covered));
}

/** Tiles that a loaded set has of a matrix. */
export function tilesOfMatrix(
  { role, layer }: Pick<WantedMatrix, 'role' | 'layer'>,
  current: LoadedWeights,
  tied: boolean,
): readonly HeldTile[] {
  if (role !== 'embedding' && role !== 'head') return current.layers.get(layer)?.tiles[role] ?? [];
  const { embedding = [], head = [] } = current;
  if (!tied) return role === 'embedding' ? embedding : head;
  // Where both are held, the head's tiles are among the embedding's.
  return embedding.length > 0 ? embedding : head;
}

/** A vector that a loaded set has. */
export function vectorOf({ role, layer }: WantedVector, current: LoadedWeights): Float32Array | undefined {
  return role === 'outputNorm' ? current.outputNorm : current.layers.get(layer)?.vectors[role];
}

/** Puts a loaded set together out of everything that a share wants. */
export function assemble(
  share: Share,
  tied: boolean,
  matrices: readonly FilledMatrix[],
  vectors: readonly FilledVector[],
): LoadedWeights {
  const layers = new Map<number, { tiles: Record<LayerMatrixRole, HeldTile[]>; vectors: LoadedLayer['vectors'] }>();
  for (const layer of each([share.layers])) {
    layers.set(layer, { tiles: { q: [], k: [], v: [], o: [], gate: [], up: [], down: [] }, vectors: {} });
  }
  const outside = new Map<'embedding' | 'head', HeldTile[]>();
  for (const { wanted, tiles } of matrices) {
    const { role, layer } = wanted;
    const sorted = tiles.toSorted((a, b) => a.rows[0] - b.rows[0] || a.cols[0] - b.cols[0]);
    if (role === 'embedding' || role === 'head') outside.set(role, sorted);
    else layers.get(layer)!.tiles[role] = sorted;
  }
  const embedding = outside.get('embedding');
  const vocab = normalize(share.vocab);
  const shared = tied && share.head ? embedding?.filter(({ rows }) => isWithinOne(rows, vocab)) : undefined;
  let outputNorm: Float32Array | undefined;
  for (const { wanted, values } of vectors) {
    if (wanted.role === 'outputNorm') {
      outputNorm = values;
      continue;
    }
    const layer = layers.get(wanted.layer)!;
    layer.vectors = { ...layer.vectors, [wanted.role]: values };
  }
  return { share, layers, embedding, head: shared ?? outside.get('head'), outputNorm };
}
