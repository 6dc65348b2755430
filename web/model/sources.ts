/** Bytes by ranges out of memory, out of a picked file, and out of several files in a row. HTTP is in `http.ts`. */
import { type ByteSource, ModelError, type Runs } from './types.ts';

/** Several files that are one model; `parts` follow each other without gaps. */
export interface JoinedSource extends ByteSource {
  readonly parts: readonly ByteSource[];
}

/** The files that make up a source, in order: its parts, or itself. */
export function partsOf(source: ByteSource): readonly ByteSource[] {
  return 'parts' in source ? (source as JoinedSource).parts : [source];
}

/** Throws ModelError `truncated` unless [from, to) lies within the source. */
export function checkRange(source: ByteSource, from: number, to: number): void {
  if (!(Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 0 && from <= to && to <= source.size)) {
    throw new ModelError(
      'truncated',
      `${source.name} has ${source.size} bytes, but bytes ${from} to ${to} are needed. The file is incomplete: download it again.`,
    );
  }
}

/** As `checkRange`, for `count` runs of `length` bytes, `stride` apart. */
export function checkRuns(source: ByteSource, offset: number, stride: number, length: number, count: number): void {
  checkRange(source, offset, offset + Math.max(0, count - 1) * stride + length);
}

/** Bytes that are read at once to cut runs out of them. */
const BAND_BYTES = 4 * 2 ** 20;

/** What `readStrided` gives, out of a source that can only read ranges: a few rows at a time, cut here. */
export async function readRuns(
  source: ByteSource,
  offset: number,
  stride: number,
  length: number,
  count: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  checkRuns(source, offset, stride, length, count);
  const out = new Uint8Array(length * count);
  const atOnce = Math.max(1, Math.floor(BAND_BYTES / Math.max(1, stride)));
  for (let first = 0; first < count; first += atOnce) {
    const runs = Math.min(atOnce, count - first);
    const from = offset + first * stride;
    const bytes = await source.read(from, from + (runs - 1) * stride + length, signal);
    for (let i = 0; i < runs; i++) out.set(bytes.subarray(i * stride, i * stride + length), (first + i) * length);
  }
  return out;
}

/** A source over bytes in memory. What it reads are views, not copies. */
export function bytesSource(bytes: Uint8Array, name = 'memory'): ByteSource {
  const source: ByteSource = {
    name,
    size: bytes.length,
    async read(from, to, signal) {
      signal?.throwIfAborted();
      checkRange(source, from, to);
      return bytes.subarray(from, to);
    },
  };
  return source;
}

/** A source over a file that a person picked or dropped. Reads only the ranges that are asked for. */
export function fileSource(file: Blob): ByteSource {
  const source: ByteSource = {
    name: 'name' in file && typeof file.name === 'string' ? file.name : 'file',
    size: file.size,
    async read(from, to, signal) {
      signal?.throwIfAborted();
      checkRange(source, from, to);
      let bytes: Uint8Array;
      try {
        bytes = new Uint8Array(await file.slice(from, to).arrayBuffer());
      } catch (cause) {
        throw new ModelError(
          'network',
          `${source.name} can no longer be read: it was moved, changed or removed after it was picked. Pick it again.`,
          { cause },
        );
      }
      signal?.throwIfAborted();
      if (bytes.length !== to - from)
        throw new ModelError('truncated', `${source.name} became shorter. Pick it again.`);
      return bytes;
    },
  };
  return source;
}

/** One source over several in a row; a read may cross their borders. Cuts columns where all of them do. */
export function joinSources(parts: readonly ByteSource[]): JoinedSource {
  const starts: number[] = [];
  let size = 0;
  for (const part of parts) {
    starts.push(size);
    size += part.size;
  }
  const source: JoinedSource = {
    name: parts.map((part) => part.name)[0] ?? 'nothing',
    size,
    parts,
    async read(from, to, signal) {
      checkRange(source, from, to);
      const pieces: Promise<Uint8Array>[] = [];
      for (const [index, part] of parts.entries()) {
        const start = starts[index]!;
        const low = Math.max(from, start);
        const high = Math.min(to, start + part.size);
        if (low < high) pieces.push(part.read(low - start, high - start, signal));
      }
      if (pieces.length === 1) return pieces[0]!;
      const out = new Uint8Array(to - from);
      let at = 0;
      for (const piece of await Promise.all(pieces)) {
        out.set(piece, at);
        at += piece.length;
      }
      return out;
    },
  };
  if (parts.length > 0 && parts.every((part) => part.readStrided)) {
    source.readStrided = async (offset, stride, length, count, signal) => {
      const end = offset + (count - 1) * stride + length;
      const index = starts.findLastIndex((start) => start <= offset);
      const part = parts[index];
      // A tensor lies within one file; runs over a border are nobody's, but must not come out wrong.
      if (!part?.readStrided || end > starts[index]! + part.size)
        return readRuns(source, offset, stride, length, count, signal);
      return part.readStrided(offset - starts[index]!, stride, length, count, signal);
    };
  }
  if (parts.length > 0 && parts.every((part) => part.readMany)) {
    source.readMany = async (places, into, signal) => {
      const first = places[0];
      const index = starts.findLastIndex((start) => start <= (first?.offset ?? 0));
      const [part, start] = [parts[index], starts[index]!];
      const within = ({ offset, stride, length, count }: Runs) =>
        offset >= start && offset + (count - 1) * stride + length <= start + (part?.size ?? 0);
      if (part?.readMany && places.every(within)) {
        const there = places.map((place) => ({ ...place, offset: place.offset - start }));
        return part.readMany(there, into, signal);
      }
      const each = await Promise.all(
        places.map(
          ({ offset, stride, length, count }) =>
            source.readStrided?.(offset, stride, length, count, signal) ??
            readRuns(source, offset, stride, length, count, signal),
        ),
      );
      let at = 0;
      for (const bytes of each) {
        into.set(bytes, at);
        at += bytes.length;
      }
    };
  }
  return source;
}

/** `model-00002-of-00003.gguf` in its pieces. */
export interface SplitName {
  prefix: string;
  /** From 1. */
  number: number;
  count: number;
}

/** Most files that a split model may have. */
const MAX_SPLITS = 1000;

/** Reads the name of a split GGUF file; undefined where the name is not one. */
export function splitName(name: string): SplitName | undefined {
  const match = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/.exec(name);
  if (!match) return undefined;
  const number = Number(match[2]);
  const count = Number(match[3]);
  return number >= 1 && number <= count && count <= MAX_SPLITS ? { prefix: match[1]!, number, count } : undefined;
}

/** The names of all files of a split model, in order. */
export function splitSiblings({ prefix, count }: SplitName): string[] {
  const digits = (value: number) => String(value).padStart(5, '0');
  return Array.from({ length: count }, (_, index) => `${prefix}-${digits(index + 1)}-of-${digits(count)}.gguf`);
}

/**
 * The source of a model out of the files that a person picked: one file, or all files of a split model in any order.
 * Throws ModelError `truncated` when some of a split model's files are missing, `not-a-model` for unrelated files.
 */
export function filesSource(files: readonly File[]): ByteSource {
  const first = files[0];
  if (!first) throw new ModelError('not-a-model', 'No file was picked.');
  const split = splitName(first.name);
  if (!split || split.count === 1) {
    if (files.length === 1) return fileSource(first);
    throw new ModelError(
      'not-a-model',
      'Several files were picked that are not the parts of one model. Pick one model.',
    );
  }
  const byName = new Map(files.map((file) => [file.name, file]));
  const names = splitSiblings(split);
  const missing = names.filter((name) => !byName.has(name));
  if (missing.length > 0) {
    throw new ModelError(
      'truncated',
      `This model comes in ${split.count} files. Pick all of them together; missing: ${missing.join(', ')}.`,
    );
  }
  const strangers = files.filter((file) => !names.includes(file.name)).map((file) => file.name);
  if (strangers.length > 0) {
    throw new ModelError(
      'not-a-model',
      `Not part of the same model: ${strangers.join(', ')}. Pick one model at a time.`,
    );
  }
  return joinSources(names.map((name) => fileSource(byName.get(name)!)));
}
