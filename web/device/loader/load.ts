/** A member's share from raw bytes to tiles in a backend; only what is not there yet. */
import { dequantize } from '../../model/quant.ts';
import { repackPart } from '../../model/repack.ts';
import type { Catalogue, MatrixRole } from '../../model/types.ts';
import { subtract } from '../../plan/ranges.ts';
import type { Range } from '../../plan/types.ts';
import type { Backend, Tile, TileData } from '../backend.ts';
import { giveWay } from '../pace.ts';
import type { TensorPart } from '../part.ts';
import { freeBuffer } from '../store/free.ts';
import type { StreamingPartReader } from '../store/types.ts';
import {
  assemble,
  cutsOf,
  extent,
  type FilledMatrix,
  type FilledVector,
  tilesOf,
  usableTiles,
  vectorOf,
} from './loaded.ts';
import { cutIntoTiles, MAX_TILE_BYTES } from './tile-size.ts';
import type { HeldTile, LoadedChange, LoadedWeights, LoadProgress, Share } from './types.ts';
import { wantedMatrices, wantedVectors } from './wanted.ts';

export interface ShareLoad {
  catalogue: Catalogue;
  reader: StreamingPartReader;
  backend: Pick<Backend, 'addTile' | 'cutTile' | 'dropTile'>;
  share: Share;
  signal?: AbortSignal | undefined;
  onProgress?: LoadProgress | undefined;
  /** Largest tile in device bytes. */
  maxTileBytes?: number;
}

/** Something to read, and what becomes of it. */
type Order = TensorPart & ({ role: MatrixRole; matrix: FilledMatrix } | { vector: FilledVector });

/**
 * Loads a whole share. Rejects with ModelError or DeviceError, or with the signal's reason; then nothing of it is left
 * in the backend.
 */
export async function loadShare(load: ShareLoad): Promise<LoadedWeights> {
  return (await loadMissing({ ...load, current: undefined })).weights;
}

/**
 * Loads what `share` has and `current` lacks. Tiles of `current` that lie within the new share are kept as they are; of one
 * that reaches beyond it, the part within is copied on the device, or read again where it cannot be cut there.
 * Rejects as `loadShare`; then `current` is untouched.
 */
export async function loadMissing(load: ShareLoad & { current: LoadedWeights | undefined }): Promise<LoadedChange> {
  const { catalogue, share, current, maxTileBytes = MAX_TILE_BYTES } = load;
  const { tied } = catalogue.hyper;
  const matrices = wantedMatrices(catalogue, share).map(
    (wanted): FilledMatrix => ({ wanted, tiles: current ? usableTiles(wanted, current, tied) : [] }),
  );
  const vectors = wantedVectors(catalogue, share).map(
    (wanted): FilledVector => ({ wanted, values: current && vectorOf(wanted, current) }),
  );
  const made: Tile[] = [];
  try {
    if (current) await cutMatrices(matrices, current, load, made);
    const orders = [
      ...matrices.flatMap((matrix) => ordersOfMatrix(matrix, maxTileBytes)),
      ...vectors.filter(({ values }) => !values).map(orderOfVector),
    ].sort((a, b) => a.tensor.offset - b.tensor.offset || a.rows[0] - b.rows[0] || a.cols[0] - b.cols[0]);
    await carryOut(orders, load, made);
  } catch (error) {
    for (const tile of made) load.backend.dropTile(tile);
    throw error;
  }
  const weights = assemble(share, tied, matrices, vectors);
  const used = tilesOf(weights);
  return { weights, added: made, released: current ? [...tilesOf(current)].filter((tile) => !used.has(tile)) : [] };
}

/** Cuts what can be had from tiles that reach beyond the share. */
async function cutMatrices(
  matrices: readonly FilledMatrix[],
  current: LoadedWeights,
  { catalogue, backend, signal }: ShareLoad,
  made: Tile[],
): Promise<void> {
  for (const matrix of matrices) {
    const { axis } = matrix.wanted;
    for (const { tile: whole, range } of cutsOf(matrix.wanted, current, catalogue.hyper.tied)) {
      signal?.throwIfAborted();
      const began = performance.now();
      const place = { rows: whole.rows, cols: whole.cols, [axis]: range };
      const tile = await backend.cutTile(whole.tile, within(place.rows, whole.rows), within(place.cols, whole.cols));
      if (!tile) continue;
      made.push(tile);
      matrix.tiles.push({ ...place, tile });
      await giveWay(performance.now() - began);
    }
  }
}

/** A range counted from where another begins. */
const within = ([from, to]: Range, [start]: Range): Range => [from - start, to - start];

/** One order for each tile that the matrix lacks. */
function ordersOfMatrix(matrix: FilledMatrix, maxTileBytes: number): Order[] {
  const { role, tensor, axis, ranges } = matrix.wanted;
  const covered = matrix.tiles.map((tile) => extent(axis, tile)).sort((a, b) => a[0] - b[0]);
  return ranges
    .flatMap((range) => subtract([range], covered))
    .flatMap((range) => cutIntoTiles(tensor, axis, range, maxTileBytes))
    .map((range) => {
      const whole: Pick<HeldTile, 'rows' | 'cols'> = { rows: [0, tensor.rows], cols: [0, tensor.cols] };
      return { tensor, ...whole, [axis]: range, role, matrix };
    });
}

function orderOfVector(vector: FilledVector): Order {
  const { tensor } = vector.wanted;
  return { tensor, rows: [0, tensor.rows], cols: [0, tensor.cols], vector };
}

/** Reads, repacks and hands over everything, in order. Adds the tiles made to `made`. */
async function carryOut(
  orders: readonly Order[],
  { reader, backend, signal, onProgress }: ShareLoad,
  made: Tile[],
): Promise<void> {
  let next = 0;
  const stream = reader.stream(orders, { ...(signal && { signal }), ...(onProgress && { onProgress }) });
  for await (const { bytes, widened } of stream) {
    const began = performance.now();
    const order = orders[next++]!;
    const { tensor, rows, cols } = order;
    if ('vector' in order) {
      order.vector.values = dequantize(tensor.type, bytes, tensor.rows * tensor.cols);
      continue;
    }
    const data = repackPart(tensor.type, bytes, rows[1] - rows[0], widened, cols);
    const tile = await backend.addTile(order.role, data);
    freeTileData(data);
    made.push(tile);
    order.matrix.tiles.push({ rows, cols, tile });
    await giveWay(performance.now() - began);
    signal?.throwIfAborted();
  }
}

/** A backend copies what it is given, so the repacked form can go at once. */
function freeTileData(data: TileData): void {
  for (const field of Object.values(data)) if (ArrayBuffer.isView(field)) freeBuffer(field);
}
