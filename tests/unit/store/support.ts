import { IDBFactory, IDBKeyRange } from 'fake-indexeddb';
import { openShardStore, type ShardStore } from '../../../web/device/store/store.ts';
import { BLOCKS } from '../../../web/model/quant.ts';
import type { ByteSource, Runs, TensorInfo, TensorType } from '../../../web/model/types.ts';

/** A browser profile without anything stored. */
export function freshIndexedDb(): void {
  globalThis.indexedDB = new IDBFactory();
  globalThis.IDBKeyRange = IDBKeyRange;
}

/** Bytes that differ from place to place, so that a wrong offset shows. */
export function patternBytes(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + seed, 0x9e3779b1) ^ (i >>> 7);
  return new Uint8Array(words.buffer, 0, length);
}

export interface CountingSource extends ByteSource {
  /** How often each byte has been asked for. */
  readonly counts: Uint8Array;
  readonly requests: { from: number; bytes: number }[];
  /** Bytes handed out since the last call. */
  taken(): number;
}

/** A file in memory that knows what was read of it. */
export function countingSource(file: Uint8Array, options: { strided?: boolean; many?: boolean } = {}): CountingSource {
  const counts = new Uint8Array(file.length);
  const requests: { from: number; bytes: number }[] = [];
  let taken = 0;
  const take = (from: number, to: number) => {
    for (let i = from; i < to; i++) counts[i]!++;
    taken += to - from;
    // Not a copy: whoever reads may not write into it, nor let its buffer go.
    return file.subarray(from, to);
  };
  return {
    name: 'test.gguf',
    size: file.length,
    counts,
    requests,
    taken() {
      const bytes = taken;
      taken = 0;
      return bytes;
    },
    async read(from, to, signal) {
      await new Promise((resolve) => setImmediate(resolve));
      signal?.throwIfAborted();
      requests.push({ from, bytes: to - from });
      return take(from, to);
    },
    ...(options.strided && {
      async readStrided(offset: number, stride: number, length: number, count: number) {
        await new Promise((resolve) => setImmediate(resolve));
        requests.push({ from: offset, bytes: length * count });
        const out = new Uint8Array(length * count);
        for (let i = 0; i < count; i++) out.set(take(offset + i * stride, offset + i * stride + length), i * length);
        return out;
      },
    }),
    ...(options.many && {
      async readMany(places: readonly Runs[], into: Uint8Array) {
        await new Promise((resolve) => setImmediate(resolve));
        const each = places.flatMap(({ offset, stride, length, count }) =>
          Array.from({ length: count }, (_, i) => take(offset + i * stride, offset + i * stride + length)),
        );
        requests.push({ from: places[0]?.offset ?? 0, bytes: each.reduce((sum, bytes) => sum + bytes.length, 0) });
        into.set(Buffer.concat(each));
      },
    }),
  };
}

export function tensorOf(name: string, type: TensorType, rows: number, cols: number, offset = 0): TensorInfo {
  const { values, bytes } = BLOCKS[type];
  return { name, type, rows, cols, offset, bytes: ((rows * cols) / values) * bytes };
}

/** Opens the store, which must succeed, and collects its notes. */
export async function openStore(): Promise<{ store: ShardStore; notes: string[] }> {
  const notes: string[] = [];
  const store = await openShardStore({ onNote: (text) => notes.push(text) });
  if (!store) throw new Error(`The store did not open: ${notes.join(' ')}`);
  return { store, notes };
}

/** The rectangle's bytes, cut from the file in the simplest way. */
export function expectedBytes(file: Uint8Array, tensor: TensorInfo, rows: [number, number], cols: [number, number]) {
  const rowBytes = tensor.bytes / tensor.rows;
  const [from, to] = cols.map((col) => (col * rowBytes) / tensor.cols) as [number, number];
  const out: Uint8Array[] = [];
  for (let row = rows[0]; row < rows[1]; row++) {
    const start = tensor.offset + row * rowBytes;
    out.push(file.subarray(start + from, start + to));
  }
  return Buffer.concat(out);
}
