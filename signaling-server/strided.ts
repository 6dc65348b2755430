import type { FileHandle } from 'node:fs/promises';

/** `count` pieces of `length` bytes, the first at `offset`, the next each `stride` bytes on: columns of a tensor. */
export interface Strided {
  offset: number;
  stride: number;
  length: number;
  count: number;
}

/** Longest piece: a piece is a part of one row of a tensor, and no row comes near. */
const MAX_LENGTH = 1 << 20;
/** Most bytes of one answer: more is asked for in several. */
const MAX_TOTAL = 256 * (1 << 20);
/** Pieces that lie within this many bytes are read with one call. */
const READ_WINDOW = 1 << 20;

/** Most sets of pieces in one answer: their numbers must fit the address of a request. */
const MAX_SETS = 128;

/**
 * Reads the query of a strided request for a file of `size` bytes: one set of pieces, or several where every parameter
 * stands as often. A string says in words what is wrong with it.
 */
export function parseStrided(query: URLSearchParams, size: number): Strided[] | string {
  const sets = query.getAll('offset').length;
  if (sets > MAX_SETS) return `Ask for at most ${MAX_SETS} sets of pieces at once.`;
  const all: Strided[] = [];
  for (let i = 0; i < Math.max(1, sets); i++) {
    const one = parseSet((key) => query.getAll(key)[i] ?? '', size);
    if (typeof one === 'string') return one;
    all.push(one);
  }
  if (bytesOf(all) > MAX_TOTAL) return `All pieces together must be at most ${MAX_TOTAL} bytes; ask for fewer at once.`;
  return all;
}

/** Bytes of an answer. */
export function bytesOf(sets: readonly Strided[]): number {
  return sets.reduce((sum, { length, count }) => sum + length * count, 0);
}

function parseSet(read: (key: string) => string, size: number): Strided | string {
  const values: Record<keyof Strided, number> = { offset: 0, stride: 0, length: 0, count: 0 };
  for (const key of Object.keys(values) as (keyof Strided)[]) {
    const text = read(key);
    if (!/^\d{1,15}$/.test(text)) return `${key} must be a whole number of bytes, but it is "${text}".`;
    values[key] = Number(text);
  }
  const { offset, stride, length, count } = values;
  if (length < 1 || length > MAX_LENGTH) return `length must be from 1 to ${MAX_LENGTH}.`;
  if (count < 1) return 'count must be at least 1.';
  if (stride < length) return 'stride must be at least length.';
  if (length * count > MAX_TOTAL) return `length × count must be at most ${MAX_TOTAL}; ask for fewer pieces at once.`;
  if (offset + (count - 1) * stride + length > size) return `The last piece ends beyond the file's ${size} bytes.`;
  return values;
}

/** Reads the pieces in order; each yielded buffer holds one or more whole pieces. Throws where the file has shrunk. */
export async function* readStrided(handle: FileHandle, sets: readonly Strided[]): AsyncGenerator<Buffer> {
  for (const one of sets) yield* readSet(handle, one);
}

async function* readSet(handle: FileHandle, strided: Strided): AsyncGenerator<Buffer> {
  const { offset, stride, length, count } = strided;
  const perRead = Math.max(1, Math.floor((READ_WINDOW - length) / stride) + 1);
  for (let done = 0; done < count; done += perRead) {
    const pieces = Math.min(perRead, count - done);
    const span = Buffer.allocUnsafe((pieces - 1) * stride + length);
    await readFully(handle, span, offset + done * stride);
    if (pieces === 1) {
      yield span;
      continue;
    }
    const packed = Buffer.allocUnsafe(pieces * length);
    for (let i = 0; i < pieces; i++) span.copy(packed, i * length, i * stride, i * stride + length);
    yield packed;
  }
}

async function readFully(handle: FileHandle, target: Buffer, position: number): Promise<void> {
  for (let filled = 0; filled < target.length; ) {
    const { bytesRead } = await handle.read(target, filled, target.length - filled, position + filled);
    if (bytesRead === 0) throw new Error('The model file ended early: it was changed while it was being read.');
    filled += bytesRead;
  }
}
