/**
 * distributed-llama's `.t` files: (key, value) pairs of int32, the chat template, ids of ends of text, then every token
 * with its score; little-endian. Source of the format: `tokenizer.cpp` and `tokenizer-writer.py` of
 * b4rtaz/distributed-llama.
 */
import { type ByteSource, ModelError } from '../types.ts';

export const TOKENIZER_MAGIC = 0x567124;
/** The fixed header from before there were keys, which the original still reads. */
const OLD_MAGIC = 0x567123;

const KEYS = {
  version: 0,
  vocab: 1,
  longest: 2,
  bos: 3,
  eos: 4,
  padding: 5,
  chatEos: 6,
  template: 7,
  chatStop: 8,
  eosCount: 9,
  addBos: 10,
} as const;
type Key = keyof typeof KEYS;

const VERSION = 1;
/** Larger files are refused; Qwen's vocabulary of 151,669 tokens takes 2.4 MB. */
const MAX_BYTES = 1 << 26;
const MAX_HEADER = 1 << 12;
const MAX_TOKENS = 1 << 20;
/** Bytes; the longest tokens of known vocabularies have a few hundred. */
const MAX_TOKEN = 1 << 10;
/** Score and length. */
const TOKEN_HEAD_BYTES = 8;

/** What a `.t` file holds. Ids below `bos` are text that merges, `bos` and above are special. */
export interface TokenizerFile {
  /** Raw bytes of every token. */
  tokens: readonly Uint8Array[];
  scores: Float32Array;
  bos: number;
  /** Ids that end a text, at least one of which most files have. */
  eos: readonly number[];
  addBos: boolean;
  /** Jinja. */
  template?: string;
}

/**
 * Reads a `.t` file. Rejects with ModelError `not-a-model` (something else), `truncated`, or `tokenizer` (contradicts
 * itself, or is of a version that the original does not read either), or as the source does.
 */
export async function readTokenizerFile(source: ByteSource, signal?: AbortSignal): Promise<TokenizerFile> {
  const { name, size } = source;
  if (size > MAX_BYTES) {
    throw new ModelError('tokenizer', `${name} is larger than ${MAX_BYTES >> 20} MiB, which no tokenizer is.`);
  }
  return parse(await source.read(0, size, signal), name);
}

function parse(bytes: Uint8Array, name: string): TokenizerFile {
  const cursor = makeCursor(bytes, name);
  const magic = cursor.int();
  if (magic !== TOKENIZER_MAGIC && magic !== OLD_MAGIC) {
    throw new ModelError('not-a-model', `${name} is no tokenizer of distributed-llama (.t).`);
  }
  const header = magic === OLD_MAGIC ? oldHeader(cursor) : newHeader(cursor, name);
  // The converters of the time wrote the stop text behind the template.
  const template = cursor.take(header.template);
  cursor.take(header.chatStop);
  const eos = [...header.eos];
  if (header.eosCount * 4 > cursor.left()) throw ended(name);
  for (let i = 0; i < header.eosCount; i++) eos.push(cursor.int());

  if (header.vocab < 1 || header.vocab > MAX_TOKENS) {
    throw new ModelError('tokenizer', `${name} claims to have ${header.vocab} tokens, which is not possible.`);
  }
  if (header.vocab * TOKEN_HEAD_BYTES > cursor.left()) throw ended(name);
  const tokens: Uint8Array[] = [];
  const scores = new Float32Array(header.vocab);
  for (let id = 0; id < header.vocab; id++) {
    scores[id] = cursor.float();
    const length = cursor.int();
    if (length > MAX_TOKEN) {
      throw new ModelError('tokenizer', `Token ${id} of ${name} has ${length} bytes, which is not possible.`);
    }
    tokens.push(cursor.take(length));
  }
  if (cursor.left() > 0) {
    throw new ModelError('tokenizer', `${name} goes on for ${cursor.left()} bytes behind its tokens: it is damaged.`);
  }
  for (const id of [header.bos, ...eos]) {
    if (id < 0 || id >= header.vocab) {
      throw new ModelError('tokenizer', `${name} names the token ${id}, but has only ${header.vocab} tokens.`);
    }
  }
  return {
    ...{ tokens, scores, bos: header.bos, addBos: header.addBos },
    eos: [...new Set(eos)],
    ...(template.length > 0 && { template: new TextDecoder().decode(template) }),
  };
}

interface Header {
  vocab: number;
  bos: number;
  /** Those that stand in the header itself. */
  eos: number[];
  addBos: boolean;
  /** Bytes. */
  template: number;
  /** Bytes. */
  chatStop: number;
  /** Further ids behind the template. */
  eosCount: number;
}

function oldHeader(cursor: Cursor): Header {
  const [vocab, , bos, eos] = [cursor.int(), cursor.int(), cursor.int(), cursor.int(), cursor.int()];
  return { vocab: vocab!, bos: bos!, eos: [eos!], addBos: true, template: 0, chatStop: 0, eosCount: 0 };
}

function newHeader(cursor: Cursor, name: string): Header {
  const size = cursor.int();
  if (size < 8 || size > MAX_HEADER || size % 8 !== 0) {
    throw new ModelError('tokenizer', `${name} claims a header of ${size} bytes, which is not possible.`);
  }
  const names = new Map<number, Key>(Object.entries(KEYS).map(([key, number]) => [number, key as Key]));
  const values: Partial<Record<Key, number>> = {};
  const eos: number[] = [];
  for (let at = 8; at < size; at += 8) {
    const number = cursor.int();
    const value = cursor.int();
    const key = names.get(number);
    if (key === undefined) {
      throw new ModelError('tokenizer', `${name} has the header key ${number}, which is not known: it is damaged.`);
    }
    if (key === 'eos' || key === 'chatEos') eos.push(value);
    values[key] = value;
  }
  if (values.version !== VERSION) {
    throw new ModelError(
      'tokenizer',
      `${name} has the version ${values.version ?? 'of none'}, not ${VERSION}. Convert the tokenizer again with distributed-llama's present converter.`,
    );
  }
  const need = (key: 'vocab' | 'bos'): number => {
    const value = values[key];
    if (value === undefined) throw new ModelError('tokenizer', `The header of ${name} lacks the key ${KEYS[key]}.`);
    return value;
  };
  return {
    ...{ vocab: need('vocab'), bos: need('bos'), eos },
    // Releases from before the key always added it.
    addBos: (values.addBos ?? 1) === 1,
    template: values.template ?? 0,
    chatStop: values.chatStop ?? 0,
    eosCount: values.eosCount ?? 0,
  };
}

interface Cursor {
  int(): number;
  float(): number;
  /** A view of the next bytes. */
  take(bytes: number): Uint8Array;
  left(): number;
}

function makeCursor(bytes: Uint8Array, name: string): Cursor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const skip = (count: number): number => {
    if (count < 0) throw new ModelError('tokenizer', `${name} claims a length of ${count} bytes: it is damaged.`);
    if (at + count > bytes.length) throw ended(name);
    at += count;
    return at - count;
  };
  return {
    int: () => view.getInt32(skip(4), true),
    float: () => view.getFloat32(skip(4), true),
    take(count) {
      const from = skip(count);
      return bytes.subarray(from, from + count);
    },
    left: () => bytes.length - at,
  };
}

const ended = (name: string): ModelError =>
  new ModelError('truncated', `${name} ends too early. The file is incomplete: download it again.`);

/** The bytes of a `.t` file, with the keys that the original's present converter writes and the one for adding BOS. */
export function writeTokenizerFile(file: TokenizerFile): Uint8Array {
  const { tokens, scores, eos } = file;
  const template = new TextEncoder().encode(file.template ?? '');
  const pairs: [Key, number][] = [
    ['bos', file.bos],
    ['version', VERSION],
    ['vocab', tokens.length],
    ['longest', tokens.reduce((most, { length }) => Math.max(most, length), 0)],
    ...(template.length > 0 ? ([['template', template.length]] satisfies [Key, number][]) : []),
    ['eosCount', eos.length],
    ['addBos', file.addBos ? 1 : 0],
  ];
  const headerBytes = 8 + pairs.length * 8;
  const tokenBytes = tokens.reduce((sum, { length }) => sum + TOKEN_HEAD_BYTES + length, 0);
  const bytes = new Uint8Array(headerBytes + template.length + eos.length * 4 + tokenBytes);
  const view = new DataView(bytes.buffer);
  let at = 0;
  const int = (value: number) => {
    view.setInt32(at, value, true);
    at += 4;
  };
  const raw = (data: Uint8Array) => {
    bytes.set(data, at);
    at += data.length;
  };
  int(TOKENIZER_MAGIC);
  int(headerBytes);
  for (const [key, value] of pairs) {
    int(KEYS[key]);
    int(value);
  }
  raw(template);
  eos.forEach(int);
  for (const [id, token] of tokens.entries()) {
    view.setFloat32(at, scores[id]!, true);
    at += 4;
    int(token.length);
    raw(token);
  }
  return bytes;
}
