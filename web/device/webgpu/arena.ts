/**
 * Memory for weights: a few large buffers that tiles are cut from, so that one binding reaches the tiles of a whole product.
 */
import { DeviceError } from '../backend.ts';
import { type CheckedDevice, roundUp, STORAGE } from './gpu.ts';

/** Smallest usual size of a chunk, in bytes: little is wasted, and a small model has few chunks all the same. */
const LEAST_CHUNK_BYTES = 16 * 2 ** 20;
/** Layers that should fit a chunk, so that the tiles of a layer mostly share one and their products one dispatch. */
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
}

export interface Arena {
  /** Rejects with DeviceError `memory`. */
  allocate(bytes: number): Promise<Allocation>;
  release(allocation: Allocation): void;
  /** Bytes of all chunks. */
  bytes(): number;
}

/** `layerBytes`: about what a whole layer takes. */
export function createArena(checked: CheckedDevice, layerBytes: number): Arena {
  const chunks = new Set<OwnedChunk>();
  const largest = Math.min(checked.device.limits.maxStorageBufferBindingSize, checked.device.limits.maxBufferSize);

  const usual = roundUp(Math.max(LEAST_CHUNK_BYTES, LAYERS_PER_CHUNK * layerBytes), ALIGNMENT);

  const take = (bytes: number): { chunk: OwnedChunk; at: number } => {
    for (const chunk of chunks) {
      const index = chunk.free.findIndex((free) => free.bytes >= bytes);
      const free = chunk.free[index];
      if (!free) continue;
      const { at } = free;
      if (free.bytes === bytes) chunk.free.splice(index, 1);
      else chunk.free[index] = { at: at + bytes, bytes: free.bytes - bytes };
      return { chunk, at };
    }
    const size = Math.max(bytes, Math.min(usual, largest));
    let buffer: GPUBuffer | undefined;
    const ready = checked.createNow(`${Math.ceil(size / 2 ** 20)} MiB of weights`, () => {
      buffer = checked.device.createBuffer({ label: 'weights', size, usage: STORAGE() });
    });
    const chunk: OwnedChunk = {
      buffer: buffer!,
      bytes: size,
      free: bytes === size ? [] : [{ at: bytes, bytes: size - bytes }],
      ready: ready.catch((error: unknown) => {
        chunks.delete(chunk);
        throw error;
      }),
    };
    chunks.add(chunk);
    return { chunk, at: 0 };
  };

  return {
    async allocate(wanted) {
      const bytes = roundUp(wanted, ALIGNMENT);
      if (bytes > largest) {
        throw new DeviceError(
          'memory',
          `A tile of ${Math.ceil(bytes / 2 ** 20)} MiB is more than this GPU binds at once (${Math.floor(largest / 2 ** 20)} MiB): cut it into smaller ones.`,
        );
      }
      const { chunk, at } = take(bytes);
      await chunk.ready;
      return { chunk, at, bytes };
    },
    release({ chunk, at, bytes }) {
      const owned = chunk as OwnedChunk;
      const next = owned.free.findIndex((free) => free.at > at);
      owned.free.splice(next < 0 ? owned.free.length : next, 0, { at, bytes });
      owned.free = joined(owned.free);
      if (owned.free.length === 1 && owned.free[0]!.bytes === owned.bytes) {
        chunks.delete(owned);
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
