/** A member's share from raw bytes to tiles in a backend; only what is not there yet. */
import { freeTileData } from '../../model/free.ts';
import { dequantize } from '../../model/quant.ts';
import { repackPart } from '../../model/repack.ts';
import { createSpareBuffers } from '../../model/spare.ts';
import type { Catalogue, MatrixRole } from '../../model/types.ts';
import { count, intersect } from '../../plan/ranges.ts';
import type { Range } from '../../plan/types.ts';
import type { Backend, Tile } from '../backend.ts';
import { giveWay } from '../pace.ts';
import type { TensorPart } from '../part.ts';
import type { StreamingPartReader } from '../store/types.ts';
import {
  assemble,
  extent,
  type FilledMatrix,
  type FilledVector,
  missingOf,
  tilesOf,
  tilesOfMatrix,
  usableTiles,
  vectorOf,
} from './loaded.ts';
import { cutIntoTiles, deviceBytes, MAX_TILE_BYTES } from './tile-size.ts';
import type { HeldTile, LoadedChange, LoadedWeights, LoadProgress, Share } from './types.ts';
import { type WantedMatrix, wantedMatrices, wantedVectors } from './wanted.ts';
import type { WarmTiles } from './warm.ts';

/** Buffers kept for the next tiles in their repacked form. */
const SPARE_BYTES = 4 << 20;

type TileHolder = Pick<Backend, 'addTile' | 'cutTile' | 'dropTile' | 'reserve'>;

export interface ShareLoad {
  catalogue: Catalogue;
  reader: StreamingPartReader;
  /** May still be on its way when nothing is held: what it is to hold is read meanwhile. */
  backend: TileHolder | Promise<TileHolder>;
  share: Share;
  signal?: AbortSignal | undefined;
  onProgress?: LoadProgress | undefined;
  /** Largest tile in device bytes. */
  maxTileBytes?: number;
}

/** What a device has already, where its share changes. */
interface Held {
  current: LoadedWeights | undefined;
  warm?: WarmTiles | undefined;
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
 * Loads what `share` has and the device lacks. Tiles that it has, in use or warm, and that lie within the new share are
 * taken as they are; of one that reaches beyond it, the part within is copied on the device, or read again where it cannot
 * be cut there. Rejects as `loadShare`; then what was in use still is.
 */
export async function loadMissing(load: ShareLoad & Held): Promise<LoadedChange> {
  const { catalogue, share, current, warm, maxTileBytes = MAX_TILE_BYTES } = load;
  const { tied } = catalogue.hyper;
  const matrices = wantedMatrices(catalogue, share).map(
    (wanted): FilledMatrix => ({ wanted, tiles: usableTiles(wanted, heldOf(wanted, load, tied)) }),
  );
  const vectors = wantedVectors(catalogue, share).map(
    (wanted): FilledVector => ({ wanted, values: current && vectorOf(wanted, current) }),
  );
  warm?.makeRoom(missingBytes(matrices), new Set(matrices.flatMap(({ tiles }) => tiles.map(({ tile }) => tile))));
  const made: Tile[] = [];
  try {
    await cutMatrices(matrices, load, made);
    const orders = [
      ...matrices.flatMap((matrix) => ordersOfMatrix(matrix, maxTileBytes)),
      ...vectors.filter(({ values }) => !values).map(orderOfVector),
    ].sort((a, b) => a.tensor.offset - b.tensor.offset || a.rows[0] - b.rows[0] || a.cols[0] - b.cols[0]);
    await carryOut(orders, load, made);
  } catch (error) {
    if (made.length > 0) {
      const backend = await load.backend;
      for (const tile of made) backend.dropTile(tile);
    }
    throw error;
  }
  const weights = assemble(share, tied, matrices, vectors);
  const used = tilesOf(weights);
  return { weights, added: made, released: current ? [...tilesOf(current)].filter((tile) => !used.has(tile)) : [] };
}

function heldOf(wanted: WantedMatrix, { current, warm }: Held, tied: boolean): HeldTile[] {
  const inUse = current ? tilesOfMatrix(wanted, current, tied) : [];
  return [...inUse, ...(warm?.of(wanted.role, wanted.layer) ?? [])];
}

/** Device bytes of what is not there. */
function missingBytes(matrices: readonly FilledMatrix[]): number {
  return matrices.reduce((sum, matrix) => {
    const { tensor, axis } = matrix.wanted;
    return sum + deviceBytes(tensor.type, count(missingOf(matrix)) * (axis === 'rows' ? tensor.cols : tensor.rows));
  }, 0);
}

/** Cuts what can be had from tiles that reach beyond the share. */
async function cutMatrices(matrices: readonly FilledMatrix[], load: ShareLoad & Held, made: Tile[]): Promise<void> {
  const { catalogue, signal } = load;
  for (const matrix of matrices) {
    const { axis } = matrix.wanted;
    if (missingOf(matrix).length === 0) continue;
    for (const whole of heldOf(matrix.wanted, load, catalogue.hyper.tied)) {
      for (const range of missingOf(matrix).flatMap((gap) => intersect([gap], [extent(axis, whole)]))) {
        signal?.throwIfAborted();
        const began = performance.now();
        const place = { rows: whole.rows, cols: whole.cols, [axis]: range };
        const backend = await load.backend;
        const tile = await backend.cutTile(whole.tile, within(place.rows, whole.rows), within(place.cols, whole.cols));
        if (!tile) continue;
        made.push(tile);
        matrix.tiles.push({ ...place, tile });
        await giveWay(performance.now() - began);
      }
    }
  }
}

/** A range counted from where another begins. */
const within = ([from, to]: Range, [start]: Range): Range => [from - start, to - start];

/** One order for each tile that the matrix lacks. */
function ordersOfMatrix(matrix: FilledMatrix, maxTileBytes: number): Order[] {
  const { role, tensor, axis } = matrix.wanted;
  return missingOf(matrix)
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

/** Of the tile that an order becomes; a vector goes to the device with its layer. */
function bytesOnDevice(order: Order): number {
  const { tensor, rows, cols } = order;
  return 'vector' in order ? 0 : deviceBytes(tensor.type, (rows[1] - rows[0]) * (cols[1] - cols[0]));
}

async function madeReady(orders: readonly Order[], { backend, signal }: ShareLoad): Promise<TileHolder> {
  const ready = await backend;
  signal?.throwIfAborted();
  ready.reserve?.(orders.reduce((sum, order) => sum + bytesOnDevice(order), 0));
  return ready;
}

/** Reads, repacks and hands over everything, in order. Adds the tiles made to `made`. */
async function carryOut(orders: readonly Order[], load: ShareLoad, made: Tile[]): Promise<void> {
  const { reader, signal, onProgress } = load;
  let next = 0;
  let backend: TileHolder | undefined;
  const buffers = createSpareBuffers(SPARE_BYTES);
  const stream = reader.stream(orders, { ...(signal && { signal }), ...(onProgress && { onProgress }) });
  try {
    for await (const { bytes, widened } of stream) {
      backend ??= await madeReady(orders, load);
      const began = performance.now();
      const order = orders[next++]!;
      const { tensor, rows, cols } = order;
      if ('vector' in order) {
        order.vector.values = dequantize(tensor.type, bytes, tensor.rows * tensor.cols);
        continue;
      }
      const data = repackPart(tensor.type, bytes, rows[1] - rows[0], widened, cols, buffers.take);
      const tile = await backend.addTile(order.role, data, order.matrix.wanted.layer);
      freeTileData(data, buffers.give);
      made.push(tile);
      order.matrix.tiles.push({ rows, cols, tile });
      await giveWay(performance.now() - began);
      signal?.throwIfAborted();
    }
  } finally {
    buffers.close();
  }
}
