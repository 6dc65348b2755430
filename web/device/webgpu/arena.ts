/**
 * Memory for weights: a few large buffers that tiles are cut from, so that one binding reaches the tiles of a whole product.
 */
import { DeviceError } from '../backend.ts';
import { type CheckedDevice, roundUp, STORAGE } from './gpu.ts';

/** Smallest usual size of a chunk, in bytes: little is wasted, and a small model has few chunks all the same. */
const LEAST_CHUNK_BYTES = 16 * 2 ** 20;
/** Layers that a chunk has room for, at least. */
const LAYERS_PER_CHUNK = 2;
/** Tiles begin on multiples of this, in bytes; the shaders count in vec4. */
const ALIGNMENT = 16;

interface Free {
  at: number;
  bytes: number;
}

export interface Chunk {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
}

interface OwnedChunk extends Chunk {
  /** Ascending, never adjacent. */
  free: Free[];
  ready: Promise<unknown>;
}

export interface Allocation {
  readonly chunk: Chunk;
  /** Place in the chunk, in bytes. */
  readonly at: number;
  readonly bytes: number;
  readonly layer?: number | undefined;
}

/** Where the first tile of a layer lies, and what its tiles take. */
interface Home {
  chunk: OwnedChunk;
  bytes: number;
}

export interface Arena {
  /**
   * Tiles of a layer come to lie in one chunk, as long as there is room, so that their products share a dispatch.
   * Rejects with DeviceError `memory`.
   */
  allocate(bytes: number, layer?: number): Promise<Allocation>;
  release(allocation: Allocation): void;
  /** Bytes of all chunks. */
  bytes(): number;
}

/** `layerBytes`: about what a layer takes; used until there is one. */
export function createArena(checked: CheckedDevice, layerBytes: number): Arena {
  const chunks = new Set<OwnedChunk>();
  const largest = Math.min(checked.device.limits.maxStorageBufferBindingSize, checked.device.limits.maxBufferSize);

  const homes = new Map<number, Home>();

  /** What a layer takes: as much as the largest of the others, since most are alike. */
  const expected = (layer: number | undefined): number => {
    const others = [...homes].filter(([other]) => other !== layer);
    return others.length > 0 ? Math.max(...others.map(([, { bytes }]) => bytes)) : roundUp(layerBytes, ALIGNMENT);
  };

  /** Whole layers, so that none begins in one chunk and ends in another. */
  const usualBytes = (layer: number | undefined): number => {
    const bytes = expected(layer);
    const layers = Math.max(LAYERS_PER_CHUNK, Math.ceil(LEAST_CHUNK_BYTES / bytes));
    return Math.max(1, Math.min(layers, Math.floor(largest / bytes))) * bytes;
  };

  const settle = (layer: number | undefined, chunk: OwnedChunk, bytes: number) => {
    if (layer === undefined) return;
    const home = homes.get(layer) ?? { chunk, bytes: 0 };
    home.bytes += bytes;
    if (home.bytes > 0) homes.set(layer, home);
    else homes.delete(layer);
  };

  const forget = (chunk: OwnedChunk) => {
    chunks.delete(chunk);
    // It may still be the home of a layer.
    chunk.free = [];
  };

  /** Room of `bytes` in a chunk where `room` bytes are free in one piece. */
  const takeFrom = (chunk: OwnedChunk, bytes: number, room: number): { chunk: OwnedChunk; at: number } | undefined => {
    const index = chunk.free.findIndex((free) => free.bytes >= room);
    const free = chunk.free[index];
    if (!free) return undefined;
    const { at } = free;
    if (free.bytes === bytes) chunk.free.splice(index, 1);
    else chunk.free[index] = { at: at + bytes, bytes: free.bytes - bytes };
    return { chunk, at };
  };

  const take = (bytes: number, layer: number | undefined): { chunk: OwnedChunk; at: number } => {
    const home = layer === undefined ? undefined : homes.get(layer);
    // A layer begins where all of it fits.
    const wanted = layer === undefined || home ? 0 : expected(layer);
    const room = wanted > largest ? bytes : Math.max(bytes, wanted);
    for (const chunk of home ? [home.chunk, ...chunks] : chunks) {
      const place = takeFrom(chunk, bytes, room);
      if (place) return place;
    }
    const size = Math.max(bytes, Math.min(usualBytes(layer), largest));
    let buffer: GPUBuffer | undefined;
    const ready = checked.createNow(`${Math.ceil(size / 2 ** 20)} MiB of weights`, () => {
      buffer = checked.device.createBuffer({ label: 'weights', size, usage: STORAGE() });
    });
    const chunk: OwnedChunk = {
      buffer: buffer!,
      bytes: size,
      free: bytes === size ? [] : [{ at: bytes, bytes: size - bytes }],
      ready: ready.catch((error: unknown) => {
        forget(chunk);
        throw error;
      }),
    };
    chunks.add(chunk);
    return { chunk, at: 0 };
  };

  return {
    async allocate(wanted, layer) {
      const bytes = roundUp(wanted, ALIGNMENT);
      if (bytes > largest) {
        throw new DeviceError(
          'memory',
          `A tile of ${Math.ceil(bytes / 2 ** 20)} MiB is more than this GPU binds at once (${Math.floor(largest / 2 ** 20)} MiB): cut it into smaller ones.`,
        );
      }
      const { chunk, at } = take(bytes, layer);
      settle(layer, chunk, bytes);
      try {
        await chunk.ready;
      } catch (error) {
        settle(layer, chunk, -bytes);
        throw error;
      }
      return { chunk, at, bytes, layer };
    },
    release({ chunk, at, bytes, layer }) {
      const owned = chunk as OwnedChunk;
      settle(layer, owned, -bytes);
      const next = owned.free.findIndex((free) => free.at > at);
      owned.free.splice(next < 0 ? owned.free.length : next, 0, { at, bytes });
      owned.free = joined(owned.free);
      if (owned.free.length === 1 && owned.free[0]!.bytes === owned.bytes) {
        forget(owned);
        owned.buffer.destroy();
      }
    },
    bytes: () => [...chunks].reduce((sum, chunk) => sum + chunk.bytes, 0),
  };
}

function joined(free: Free[]): Free[] {
  const out: Free[] = [];
  for (const piece of free) {
    const last = out.at(-1);
    if (last && last.at + last.bytes === piece.at) last.bytes += piece.bytes;
    else out.push({ ...piece });
  }
  return out;
}
