/** What the tests of the shard store run inside a page. */
import { createStore, get, keys, set } from 'idb-keyval';
import { createPartReader } from '../../../web/device/store/reader.ts';
import { openShardStore } from '../../../web/device/store/store.ts';
import type { ByteProgress } from '../../../web/device/store/types.ts';
import { httpSource } from '../../../web/model/http.ts';
import type { TensorInfo } from '../../../web/model/types.ts';

export interface Loaded {
  /** SHA-256 of all tensors' bytes, one after the other. */
  hash: string;
  progress: ByteProgress | undefined;
  notes: string[];
}

/** Reads all tensors through the store and waits until everything new is stored. */
export async function loadAll(url: string, tensors: readonly TensorInfo[]): Promise<Loaded> {
  const notes: string[] = [];
  const store = await openShardStore({ onNote: (text) => notes.push(text) });
  const reader = createPartReader({ source: await httpSource(url), digest: 'virtual', store });
  let progress: ByteProgress | undefined;
  const all: Uint8Array<ArrayBuffer>[] = [];
  const parts = tensors.map((tensor) => ({
    tensor,
    rows: [0, tensor.rows] as [number, number],
    cols: [0, tensor.cols] as [number, number],
  }));
  for await (const { bytes } of reader.stream(parts, { onProgress: (now) => (progress = now) }))
    all.push(bytes.slice());
  await store?.flush();
  const whole = await new Blob(all).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', whole));
  return { hash: [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join(''), progress, notes };
}

/** Bytes in the store. */
export async function storedBytes(): Promise<number> {
  const store = await openShardStore();
  return (await store!.list()).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Deletes everything that is stored. */
export async function deleteAll(): Promise<void> {
  const store = await openShardStore();
  for (const { digest } of await store!.list()) await store!.remove(digest);
}

/** Changes one byte of one stored piece behind the store's back; gives the piece's size. */
export async function damageOnePiece(): Promise<number> {
  const raw = createStore('edgevisor-shards', 'shards');
  const pieces = (await keys(raw)).filter((key): key is string[] => Array.isArray(key) && key[0] === 'piece');
  const key = pieces[Math.floor(pieces.length / 2)]!;
  const value = await get<{ bytes: Uint8Array }>(key, raw);
  value!.bytes[value!.bytes.length >> 1]! ^= 1;
  await set(key, value, raw);
  return value!.bytes.length;
}
