/**
 * The header of a GGUF file, versions 2 and 3, little-endian, also split over several files.
 *
 * Not `@huggingface/gguf`: it reads URLs and paths, not our sources (picked files, several files in a row), keeps its
 * whole read-ahead in a 50 MB buffer, makes a decoder and a copy for every one of a vocabulary's half million strings,
 * and leaves unchecked what the engine relies on: that tensors lie inside the file, aligned, without overlap, under
 * different names. What a header claims is never believed here before the file's size allows it, so that time and
 * memory stay bounded by the bytes that are really there.
 */
import { contentDigest } from './digest.ts';
import { MODEL_MAGIC } from './distributed-llama/header.ts';
import { freeBuffer } from './free.ts';
import { LazyMetadata, type PackedTexts, textOf } from './gguf-metadata.ts';
import { sha256Hex } from './hash.ts';
import { BLOCKS } from './quant.ts';
import { partsOf } from './sources.ts';
import {
  type ByteSource,
  type MetadataValue,
  ModelError,
  type ModelFile,
  type TensorInfo,
  type TensorType,
} from './types.ts';

/** First read of a header, in bytes; every further one doubles what is there. */
const FIRST_READ = 1 << 18;
/** Larger headers are refused. The vocabularies of Llama 3 and Gemma 3 take 8 and 15 MB. */
const MAX_HEADER = 1 << 26;
const MAX_ENTRIES = 1 << 16;
const MAX_TENSORS = 1 << 16;
const MAX_ARRAY = 1 << 22;
const MAX_KEY = 1 << 16;
const MAX_NAME = 256;
const MAX_STRING = 1 << 23;
/** GGML's own limit. */
const MAX_DIMENSIONS = 4;
const DEFAULT_ALIGNMENT = 32;

/** Names of GGML's tensor types by number, to say what a file has; those in `BLOCKS` are supported. */
const TYPE_NAMES: Readonly<Record<number, string>> = {
  0: 'F32',
  1: 'F16',
  2: 'Q4_0',
  3: 'Q4_1',
  4: 'Q4_2',
  5: 'Q4_3',
  6: 'Q5_0',
  7: 'Q5_1',
  8: 'Q8_0',
  9: 'Q8_1',
  10: 'Q2_K',
  11: 'Q3_K',
  12: 'Q4_K',
  13: 'Q5_K',
  14: 'Q6_K',
  15: 'Q8_K',
  16: 'IQ2_XXS',
  17: 'IQ2_XS',
  18: 'IQ3_XXS',
  19: 'IQ1_S',
  20: 'IQ4_NL',
  21: 'IQ3_S',
  22: 'IQ2_S',
  23: 'IQ4_XS',
  24: 'I8',
  25: 'I16',
  26: 'I32',
  27: 'I64',
  28: 'F64',
  29: 'IQ1_M',
  30: 'BF16',
  31: 'Q4_0_4_4',
  32: 'Q4_0_4_8',
  33: 'Q4_0_8_8',
  34: 'TQ1_0',
  35: 'TQ2_0',
  36: 'IQ4_NL_4_4',
  37: 'IQ4_NL_4_8',
  38: 'IQ4_NL_8_8',
  39: 'MXFP4',
  40: 'NVFP4',
};

/** GGUF's numbers for the types of metadata values. */
const STRING = 8;
const ARRAY = 9;

type Scalar = { bytes: number; read(view: DataView, at: number): MetadataValue };

/** 64-bit integers become numbers where they are exact as such, else bigints. */
const wide = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;

const SCALARS: Readonly<Record<number, Scalar>> = {
  0: { bytes: 1, read: (view, at) => view.getUint8(at) },
  1: { bytes: 1, read: (view, at) => view.getInt8(at) },
  2: { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  3: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  4: { bytes: 4, read: (view, at) => view.getUint32(at, true) },
  5: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  6: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  7: { bytes: 1, read: (view, at) => view.getUint8(at) !== 0 },
  10: { bytes: 8, read: (view, at) => wide(view.getBigUint64(at, true)) },
  11: { bytes: 8, read: (view, at) => wide(view.getBigInt64(at, true)) },
  12: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
};

/**
 * Reads a model's header: metadata, the table of tensors, and the digest (a few samples of the data).
 * `source` is one file, or the joined files of a split model; offsets are absolute in it.
 * Rejects with ModelError: `not-a-model` (no GGUF at all), `truncated` (file ends too early or parts are missing),
 * `corrupt` (contradicts itself), `unsupported` (version, byte order, tensor types, by name), or as the source does.
 */
export async function readModelFile(source: ByteSource, signal?: AbortSignal): Promise<ModelFile> {
  const parts = partsOf(source);
  const headers: Header[] = [];
  for (const part of parts) headers.push(await readHeader(part, signal));
  const first = headers[0];
  if (!first) throw new ModelError('not-a-model', 'There is no file to read a model from.');
  checkSplits(headers, source.name);

  const tensors = new Map<string, TensorInfo>();
  let start = 0;
  for (const [index, header] of headers.entries()) {
    for (const tensor of header.tensors) {
      if (tensors.has(tensor.name)) throw new ModelError('corrupt', `Two tensors are named ${tensor.name}.`);
      tensors.set(tensor.name, { ...tensor, offset: tensor.offset + start });
    }
    start += parts[index]!.size;
  }
  const expected = first.metadata.get('split.tensors.count');
  if (parts.length > 1 && typeof expected === 'number' && expected !== tensors.size) {
    throw new ModelError(
      'corrupt',
      `The parts of ${source.name} hold ${tensors.size} tensors together, not ${expected}: they do not belong together.`,
    );
  }
  const hashes = headers.map((header) => header.hash);
  const digest = await contentDigest(source, hashes, signal);
  return { source, metadata: first.metadata, tensors, digest };
}

function checkSplits(headers: readonly Header[], name: string): void {
  const count = headers[0]!.metadata.get('split.count');
  const expected = typeof count === 'number' && count > 1 ? count : 1;
  if (expected !== headers.length) {
    throw new ModelError(
      'truncated',
      `${name} is one part of a model in ${expected} files, but ${headers.length} of them were opened. Open all parts together.`,
    );
  }
  if (expected === 1) return;
  for (const [index, header] of headers.entries()) {
    if (header.metadata.get('split.no') !== index || header.metadata.get('split.count') !== expected) {
      throw new ModelError(
        'corrupt',
        `The file in place ${index + 1} of ${name} is not part ${index + 1} of that model.`,
      );
    }
  }
}

/** The header of one file. Offsets are absolute in that file. */
interface Header {
  metadata: Map<string, MetadataValue>;
  tensors: TensorInfo[];
  /** SHA-256 of the header's bytes. */
  hash: string;
}

async function readHeader(source: ByteSource, signal?: AbortSignal): Promise<Header> {
  const cursor = makeCursor(source, signal);
  await checkMagic(cursor);
  const tensorCount = await cursor.count('tensors', MAX_TENSORS, 8 + 4 + 8 + 4 + 8);
  const entries = await cursor.count('metadata entries', MAX_ENTRIES, 8 + 4 + 1);

  const metadata = new LazyMetadata();
  for (let i = 0; i < entries; i++) {
    const key = await cursor.string('metadata key', MAX_KEY);
    if (metadata.has(key)) throw new ModelError('corrupt', `Metadata ${show(key)} occurs twice in ${source.name}.`);
    const value = await readValue(cursor, await cursor.u32(), key);
    if (isPacked(value)) metadata.setPacked(key, value);
    else metadata.set(key, value);
  }
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  if (typeof alignment !== 'number' || alignment < 8 || alignment > 1 << 20 || (alignment & (alignment - 1)) !== 0) {
    throw new ModelError(
      'corrupt',
      `${source.name} asks for an alignment of ${String(alignment)}, which is no power of two.`,
    );
  }

  const claims: TensorClaim[] = [];
  for (let i = 0; i < tensorCount; i++) claims.push(await readTensor(cursor));
  const dataStart = Math.ceil(cursor.position() / alignment) * alignment;
  const hash = sha256Hex(cursor.consumed());
  cursor.release();
  return { metadata, tensors: placeTensors(claims, source, dataStart, alignment), hash };
}

async function checkMagic(cursor: Cursor): Promise<void> {
  const { name } = cursor.source;
  const start = await cursor.peek(64);
  const text = String.fromCharCode(...start);
  if (!text.startsWith('GGUF')) {
    if (/^\s*</.test(text)) {
      throw new ModelError(
        'not-a-model',
        `${name} is a web page, not a model. Use the address of the .gguf file itself.`,
      );
    }
    if (text.startsWith('version https://git-lfs')) {
      throw new ModelError('not-a-model', `${name} is only a Git LFS pointer to a model. Download the file itself.`);
    }
    if (start.length >= 4 && new DataView(start.buffer, start.byteOffset).getUint32(0, true) === MODEL_MAGIC) {
      throw new ModelError('not-a-model', `${name} is a model of distributed-llama: its name must end in .m.`);
    }
    throw new ModelError('not-a-model', `${name} is not a GGUF model: it does not start with "GGUF".`);
  }
  cursor.skip(4);
  const version = await cursor.u32();
  if (version === 2 || version === 3) return;
  if (version === 2 << 24 || version === 3 << 24) {
    throw new ModelError('unsupported', `${name} is a big-endian GGUF file. Use the little-endian one.`);
  }
  throw new ModelError(
    'unsupported',
    `${name} is GGUF version ${version}. Versions 2 and 3 are supported: convert it again.`,
  );
}

async function readValue(cursor: Cursor, type: number, key: string): Promise<MetadataValue | PackedTexts> {
  if (type === STRING) return cursor.string(`metadata ${show(key)}`, MAX_STRING);
  const scalar = SCALARS[type];
  if (scalar) return cursor.scalar(scalar);
  if (type === ARRAY) return readArray(cursor, key);
  throw new ModelError('corrupt', `Metadata ${show(key)} of ${cursor.source.name} has the unknown type ${type}.`);
}

const isPacked = (value: MetadataValue | PackedTexts): value is PackedTexts =>
  typeof value === 'object' && 'bytes' in value;

async function readArray(cursor: Cursor, key: string): Promise<MetadataValue[] | PackedTexts> {
  const element = await cursor.u32();
  const smallest = element === STRING ? 8 : element === ARRAY ? 12 : (SCALARS[element]?.bytes ?? 1);
  const count = await cursor.count(`elements in metadata ${show(key)}`, MAX_ARRAY, smallest);
  if (element === STRING) {
    const start = cursor.position();
    for (let i = 0; i < count; i++) {
      // Half a million strings a vocabulary: an await for each of them would take longer than reading them.
      if (!cursor.skipStringNow(MAX_STRING)) await cursor.skipString(`metadata ${show(key)}`, MAX_STRING);
    }
    return { bytes: cursor.copySince(start), count };
  }
  const each = SCALARS[element];
  if (each) return cursor.scalars(each, count);
  // Nothing in use has arrays in arrays.
  if (count === 0) return [];
  throw new ModelError('corrupt', `Metadata ${show(key)} of ${cursor.source.name} has the unknown type ${element}.`);
}

/** A tensor as the header claims it, not yet checked against the file. */
interface TensorClaim {
  name: string;
  type: TensorType;
  rows: number;
  cols: number;
  /** Relative to the start of the data. */
  offset: number;
  bytes: number;
}

async function readTensor(cursor: Cursor): Promise<TensorClaim> {
  const name = await cursor.string('tensor name', MAX_NAME);
  const dimensions = await cursor.u32();
  if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
    throw new ModelError(
      'corrupt',
      `Tensor ${show(name)} has ${dimensions} dimensions; 1 to ${MAX_DIMENSIONS} are possible.`,
    );
  }
  const shape: number[] = [];
  for (let i = 0; i < dimensions; i++) shape.push(await cursor.u64(`dimension of tensor ${show(name)}`));
  const number = await cursor.u32();
  const type = TYPE_NAMES[number] ?? `number ${number}`;
  if (!isSupported(type)) {
    throw new ModelError(
      'unsupported',
      `Tensor ${show(name)} has the type ${type}, which is not supported. Supported are ${Object.keys(BLOCKS).join(', ')}.`,
    );
  }
  const cols = shape[0]!;
  const rows = shape.slice(1).reduce((product, dimension) => product * dimension, 1);
  const block = BLOCKS[type];
  if (cols === 0 || rows === 0 || cols % block.values !== 0) {
    throw new ModelError(
      'corrupt',
      `Tensor ${show(name)} has the shape ${shape.join(' × ')}, which is not possible for ${type}.`,
    );
  }
  const bytes = (cols / block.values) * block.bytes * rows;
  const offset = await cursor.u64(`offset of tensor ${show(name)}`);
  return { name, type, rows, cols, offset, bytes };
}

function isSupported(type: string): type is TensorType {
  return Object.hasOwn(BLOCKS, type);
}

/** Makes offsets absolute; refuses tensors that are unaligned, overlap, or reach beyond the file. */
function placeTensors(claims: TensorClaim[], source: ByteSource, start: number, alignment: number): TensorInfo[] {
  const tensors = claims.map((claim) => ({ ...claim, offset: claim.offset + start }));
  let previous: TensorInfo | undefined;
  for (const tensor of tensors.toSorted((a, b) => a.offset - b.offset)) {
    const end = tensor.offset + tensor.bytes;
    if (!(end <= source.size)) {
      throw new ModelError(
        'truncated',
        `${source.name} has ${source.size} bytes, but tensor ${show(tensor.name)} ends at byte ${end}. The file is incomplete: download it again.`,
      );
    }
    if (tensor.offset % alignment !== 0) {
      throw new ModelError(
        'corrupt',
        `Tensor ${show(tensor.name)} starts at byte ${tensor.offset}, not at a multiple of ${alignment}.`,
      );
    }
    if (previous && previous.offset + previous.bytes > tensor.offset) {
      throw new ModelError(
        'corrupt',
        `Tensors ${show(previous.name)} and ${show(tensor.name)} overlap in ${source.name}.`,
      );
    }
    previous = tensor;
  }
  return tensors;
}

/** Names out of a file, cut to what a message can carry. */
function show(name: string): string {
  return name.length > 80 ? `${name.slice(0, 80)}…` : name;
}

/** Reads forward through a header, fetching more of it when needed. */
interface Cursor {
  readonly source: ByteSource;
  position(): number;
  /** All bytes up to the position. */
  consumed(): Uint8Array;
  /** Gives the memory of the header's bytes back; nothing can be read afterwards. */
  release(): void;
  /** Up to `bytes` bytes from the position on, fewer where the file ends. */
  peek(bytes: number): Promise<Uint8Array>;
  skip(bytes: number): void;
  u32(): Promise<number>;
  /** A 64-bit count that must be exact as a number. */
  u64(what: string): Promise<number>;
  /** A u64 of things of at least `smallest` bytes each, which must fit into the rest of the file. */
  count(what: string, most: number, smallest: number): Promise<number>;
  scalar(type: Scalar): Promise<MetadataValue>;
  scalars(type: Scalar, count: number): Promise<MetadataValue[]>;
  string(what: string, longest: number): Promise<string>;
  /** Reads past a string. */
  skipString(what: string, longest: number): Promise<void>;
  /** As `skipString` where its bytes are already there and the length is plausible, else false and nothing is consumed. */
  skipStringNow(longest: number): boolean;
  /** A copy of all bytes from a position up to this one. */
  copySince(start: number): Uint8Array;
}

function makeCursor(source: ByteSource, signal?: AbortSignal): Cursor {
  const limit = Math.min(source.size, MAX_HEADER);
  let buffer = new Uint8Array(0);
  let view = new DataView(buffer.buffer);
  let filled = 0;
  let at = 0;

  async function fill(need: number): Promise<void> {
    const end = at + need;
    if (end > limit) {
      if (limit < source.size) {
        throw new ModelError('unsupported', `The header of ${source.name} is larger than ${MAX_HEADER >> 20} MiB.`);
      }
      throw new ModelError(
        'truncated',
        `${source.name} ends inside its header. The file is incomplete: download it again.`,
      );
    }
    const target = Math.min(limit, Math.max(end, filled * 2, FIRST_READ));
    const more = await source.read(filled, target, signal);
    const grown = new Uint8Array(target);
    grown.set(buffer.subarray(0, filled));
    grown.set(more, filled);
    freeBuffer(buffer);
    buffer = grown;
    view = new DataView(buffer.buffer);
    filled = target;
  }
  const ensure = (bytes: number): Promise<void> | undefined => (at + bytes > filled ? fill(bytes) : undefined);

  function text(length: number): string {
    at += length;
    return textOf(buffer, at - length, at);
  }

  const cursor: Cursor = {
    source,
    position: () => at,
    consumed: () => buffer.subarray(0, at),
    release: () => freeBuffer(buffer),
    async peek(bytes) {
      const most = Math.min(bytes, source.size - at);
      await ensure(most);
      return buffer.subarray(at, at + most);
    },
    skip(bytes) {
      at += bytes;
    },
    async u32() {
      await ensure(4);
      at += 4;
      return view.getUint32(at - 4, true);
    },
    async u64(what) {
      await ensure(8);
      const value = view.getBigUint64(at, true);
      at += 8;
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
        throw new ModelError('corrupt', `${source.name} claims ${value} as ${what}, which is not possible.`);
      }
      return Number(value);
    },
    async count(what, most, smallest) {
      await ensure(8);
      const value = view.getBigUint64(at, true);
      at += 8;
      if (value > BigInt(most)) {
        throw new ModelError(
          'corrupt',
          `${source.name} claims to have ${value} ${what}. At most ${most} are possible.`,
        );
      }
      if (Number(value) * smallest > source.size - at) {
        throw new ModelError(
          'truncated',
          `${source.name} claims to have ${value} ${what}, more than the file is long. It is incomplete or damaged: download it again.`,
        );
      }
      return Number(value);
    },
    async scalar(type) {
      await ensure(type.bytes);
      at += type.bytes;
      return type.read(view, at - type.bytes);
    },
    async scalars(type, count) {
      await ensure(type.bytes * count);
      const values: MetadataValue[] = [];
      for (let i = 0; i < count; i++, at += type.bytes) values.push(type.read(view, at));
      return values;
    },
    async string(what, longest) {
      const length = await cursor.count(`bytes in a ${what}`, longest, 1);
      await ensure(length);
      return text(length);
    },
    async skipString(what, longest) {
      const length = await cursor.count(`bytes in a ${what}`, longest, 1);
      await ensure(length);
      at += length;
    },
    skipStringNow(longest) {
      if (at + 8 > filled || view.getUint32(at + 4, true) !== 0) return false;
      const length = view.getUint32(at, true);
      if (length > longest || at + 8 + length > filled) return false;
      at += 8 + length;
      return true;
    },
    copySince: (start) => buffer.slice(start, at),
  };
  return cursor;
}
