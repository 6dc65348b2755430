/**
 * Which device this tab is in a room, kept over reloads in `sessionStorage`: two tabs of one browser are two devices.
 * A tab that was duplicated starts with a copy of the storage, so the tabs ask each other before one uses a key.
 */
import * as v from 'valibot';
import { newDeviceKey } from './secret.ts';

/** What a tab keeps about a room. */
export interface RoomMemory {
  key: string;
  /** Device id of the host that was seen first: another one later is an impostor. */
  host?: string | undefined;
  /** Host only: who sat where, and who was removed, in case that the server forgets. */
  seats: { id: string; index: number }[];
  banned: string[];
}

const MemorySchema = v.object({
  key: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  host: v.optional(v.string()),
  seats: v.array(v.object({ id: v.string(), index: v.number() })),
  banned: v.array(v.string()),
});

/** Time in ms in which another tab with the same key answers. */
const ANSWER_MS = 200;

const storageName = (room: string) => `edgevisor.room.${room}`;

/** The tab's memory of a room: what it kept, or a new key where it kept none or another tab uses it. */
export async function recallRoom(room: string, storage: Storage): Promise<RoomMemory> {
  const kept = v.safeParse(MemorySchema, parse(storage.getItem(storageName(room))));
  const fresh: RoomMemory = { key: newDeviceKey(), seats: [], banned: [] };
  const memory = kept.success && !(await usedElsewhere(room, kept.output.key)) ? kept.output : fresh;
  keepRoom(room, memory, storage);
  return memory;
}

export function keepRoom(room: string, memory: RoomMemory, storage: Storage): void {
  storage.setItem(storageName(room), JSON.stringify(memory));
}

/** Answers other tabs that ask whether a key is used, until the returned function is called. */
export function holdKey(room: string, key: string): () => void {
  if (typeof BroadcastChannel === 'undefined') return () => undefined;
  const tabs = new BroadcastChannel(storageName(room));
  tabs.onmessage = ({ data }: MessageEvent<{ asks?: string }>) => {
    if (data.asks === key) tabs.postMessage({ holds: key });
  };
  return () => tabs.close();
}

function usedElsewhere(room: string, key: string): Promise<boolean> {
  if (typeof BroadcastChannel === 'undefined') return Promise.resolve(false);
  const tabs = new BroadcastChannel(storageName(room));
  return new Promise((resolve) => {
    const answer = (used: boolean) => {
      clearTimeout(timer);
      tabs.close();
      resolve(used);
    };
    const timer = setTimeout(() => answer(false), ANSWER_MS);
    tabs.onmessage = ({ data }: MessageEvent<{ holds?: string }>) => {
      if (data.holds === key) answer(true);
    };
    tabs.postMessage({ asks: key });
  });
}

function parse(text: string | null): unknown {
  try {
    return JSON.parse(text ?? 'null');
  } catch {
    return undefined;
  }
}
