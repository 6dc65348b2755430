/** Looking up embedding rows in tiles of the products' layout. */
import { DeviceError, type PlacedTile } from '../backend.ts';
import type { Chunk } from './arena.ts';
import { STORAGE } from './gpu.ts';
import type { Workshop } from './layer.ts';
import { BLOCK, type Format } from './layout.ts';
import { type GpuTile, segmentOf } from './product.ts';
import type { Recorder } from './recorder.ts';

/** 32-bit words of an entry of embed.wgsl. */
const ENTRY_WORDS = 8;

export interface Embedding {
  /** residual[t] = row ids[t]. Writes the places to look up to the queue at once. */
  record(recorder: Recorder, ids: Uint32Array): void;
  bytes: number;
  destroy(): void;
}

/** Tiles that one dispatch can reach. */
interface Shelf {
  format: Format;
  chunk: Chunk;
  tiles: { tile: GpuTile; row: number; col: number }[];
}

/** `tiles` cover the whole vocabulary. */
export function createEmbedding({ checked, pipelines, scratch, sizes }: Workshop, tiles: PlacedTile[]): Embedding {
  const { device } = checked;
  const shelves: Shelf[] = [];
  for (const placed of tiles) {
    const tile = placed.tile as GpuTile;
    const { format } = tile.layout;
    const { chunk } = tile.allocation;
    let shelf = shelves.find((some) => some.format === format && some.chunk === chunk);
    if (!shelf) {
      shelf = { format, chunk, tiles: [] };
      shelves.push(shelf);
    }
    shelf.tiles.push({ tile, row: placed.row, col: placed.col });
  }
  const prepared = shelves.map((shelf) => {
    const perToken = Math.max(1, mostSideBySide(shelf));
    const entries = checked.create('the embedding', () =>
      device.createBuffer({
        label: 'embedding entries',
        size: sizes.maxBatch * perToken * ENTRY_WORDS * 4,
        usage: STORAGE(),
      }),
    );
    return {
      shelf,
      entries,
      group: pipelines.group('embed', [shelf.chunk.buffer, entries, scratch.residual]),
      pipeline: pipelines.get('embed', {}, shelf.format),
    };
  });
  return {
    record(recorder, ids) {
      let covered = 0;
      for (const { shelf, entries, group, pipeline } of prepared) {
        const words: number[] = [];
        ids.forEach((id, token) => {
          for (const { tile, row, col } of shelf.tiles) {
            if (id < row || id >= row + tile.rows) continue;
            words.push(...segmentOf(tile), id - row, tile.cols / BLOCK, col / BLOCK, token);
            covered += tile.cols;
          }
        });
        if (words.length === 0) continue;
        device.queue.writeBuffer(entries, 0, Uint32Array.from(words));
        recorder.dispatch(pipeline, group, words.length / ENTRY_WORDS);
      }
      if (covered !== ids.length * sizes.hyper.dim) {
        throw new DeviceError('unsupported', 'A token lies outside the embedding that this device holds.');
      }
    },
    bytes: prepared.reduce((sum, { entries }) => sum + entries.size, 0),
    destroy: () => {
      for (const { entries } of prepared) entries.destroy();
    },
  };
}

function mostSideBySide({ tiles }: Shelf): number {
  const counts = new Map<number, number>();
  for (const { row } of tiles) counts.set(row, (counts.get(row) ?? 0) + 1);
  // Tiles whose rows begin elsewhere may still overlap; then count them all.
  const starts = [...counts.keys()].sort((a, b) => a - b);
  const overlap = tiles.some(({ row, tile }) => starts.some((start) => start > row && start < row + tile.rows));
  return overlap ? tiles.length : Math.max(0, ...counts.values());
}
