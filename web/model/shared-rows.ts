/** Columns out of a source that only gives ranges and is far away: its rows are fetched once for all who ask for columns. */
import { readRuns } from './sources.ts';
import type { ByteSource } from './types.ts';

/** What is fetched, and kept, in one piece. */
const BLOCK_BYTES = 2 ** 20;
/** Devices that load the same model go through it side by side: this much lets some lag behind the others. */
const KEPT_BYTES = 64 * 2 ** 20;

/**
 * The source with `readStrided`, which keeps the rows that it fetched last. A fetch that several wait for goes on when one
 * of them gives up. Ranges are read as before: only one device wants each of them.
 */
export function withSharedRows(source: ByteSource, keptBytes = KEPT_BYTES): ByteSource {
  /** By number, the one used longest ago first. */
  const blocks = new Map<number, Promise<Uint8Array>>();

  function block(index: number): Promise<Uint8Array> {
    const from = index * BLOCK_BYTES;
    const bytes = blocks.get(index) ?? source.read(from, Math.min(source.size, from + BLOCK_BYTES));
    blocks.delete(index);
    blocks.set(index, bytes);
    bytes.catch(() => blocks.get(index) === bytes && blocks.delete(index));
    for (const oldest of blocks.keys()) {
      if (blocks.size * BLOCK_BYTES <= keptBytes) break;
      blocks.delete(oldest);
    }
    return bytes;
  }

  const rows: ByteSource = {
    name: source.name,
    size: source.size,
    async read(from, to, signal) {
      const out = new Uint8Array(to - from);
      const first = Math.floor(from / BLOCK_BYTES);
      const wanted = Array.from({ length: Math.ceil(to / BLOCK_BYTES) - first }, (_, i) => block(first + i));
      for (const [i, bytes] of (await Promise.all(wanted)).entries()) {
        signal?.throwIfAborted();
        const start = (first + i) * BLOCK_BYTES;
        const [low, high] = [Math.max(from, start), Math.min(to, start + bytes.length)];
        out.set(bytes.subarray(low - start, high - start), low - from);
      }
      return out;
    },
  };

  return {
    ...source,
    readStrided: (offset, stride, length, count, signal) => readRuns(rows, offset, stride, length, count, signal),
  };
}
