/** Columns out of a source that only gives ranges and is far away: its rows are fetched once for all who ask for columns. */
import { readRuns } from './sources.ts';
import type { ByteSource } from './types.ts';

/** Rows are kept in blocks of the file: small, so that little is fetched that nobody wants. */
const BLOCK_BYTES = 64 * 1024;
/** Devices that load the same model go through it side by side: this much lets some lag behind the others. */
const KEPT_BYTES = 64 * 2 ** 20;

/**
 * The source with `readStrided`, which keeps the rows that it fetched last. A fetch that several wait for goes on when one
 * of them gives up. Ranges are read as before: only one device wants each of them.
 */
export function withSharedRows(source: ByteSource, keptBytes = KEPT_BYTES): ByteSource {
  /** By number, the one used longest ago first. */
  const blocks = new Map<number, Promise<Uint8Array>>();

  /** Blocks [from, to), those that lie together and are missing in one fetch. */
  function fetched(from: number, to: number): Promise<Uint8Array>[] {
    const wanted: Promise<Uint8Array>[] = [];
    for (let index = from; index < to; index++) {
      if (!blocks.has(index)) {
        let end = index + 1;
        while (end < to && !blocks.has(end)) end++;
        fetchRun(index, end);
      }
      const bytes = blocks.get(index) as Promise<Uint8Array>;
      blocks.delete(index);
      blocks.set(index, bytes);
      wanted.push(bytes);
    }
    for (const oldest of blocks.keys()) {
      if (blocks.size * BLOCK_BYTES <= keptBytes) break;
      blocks.delete(oldest);
    }
    return wanted;
  }

  function fetchRun(from: number, to: number): void {
    const run = source.read(from * BLOCK_BYTES, Math.min(source.size, to * BLOCK_BYTES));
    for (let index = from; index < to; index++) {
      const start = (index - from) * BLOCK_BYTES;
      // Copies: a view would keep the whole run in memory.
      const bytes = run.then((all) => all.slice(start, start + BLOCK_BYTES));
      blocks.set(index, bytes);
      bytes.catch(() => blocks.get(index) === bytes && blocks.delete(index));
    }
  }

  const rows: ByteSource = {
    name: source.name,
    size: source.size,
    async read(from, to, signal) {
      const out = new Uint8Array(to - from);
      const first = Math.floor(from / BLOCK_BYTES);
      const wanted = fetched(first, Math.ceil(to / BLOCK_BYTES));
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
