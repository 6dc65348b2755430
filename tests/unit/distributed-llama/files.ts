/** Small files of distributed-llama, written byte by byte from the description of the formats. */
import { openModelFile } from '../../../web/model/open-file.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import type { ModelFile } from '../../../web/model/types.ts';

/** int32s, little-endian. */
export function ints(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setInt32(i * 4, value, true);
  return bytes;
}

/** float32s, little-endian. */
export function floats(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

export const MODEL_MAGIC = 0x0a00abcd;
export const LLAMA = 0xabcd00;
export const QWEN3 = 0xabcd01;

/** A header of pairs, with magic and size. */
export function header(magic: number, pairs: readonly (readonly [key: number, value: number])[]): Uint8Array {
  return ints(magic, 8 + pairs.length * 8, ...pairs.flat());
}

/** Width 32, FFN 64, 1 layer, 2 heads over 1, 300 tokens, context 16, q40. */
export const TINY: readonly (readonly [number, number])[] = [
  [0, 0],
  [1, LLAMA],
  [2, 32],
  [3, 64],
  [4, 1],
  [5, 2],
  [6, 1],
  [9, 300],
  [10, 16],
  [11, 1],
  [12, 10_000],
  [13, 2],
];

/** `TINY` with some of its values changed, or left out (undefined). */
export function tiny(changes: Record<number, number | undefined> = {}): [number, number][] {
  const values = new Map<number, number | undefined>(TINY);
  for (const [key, value] of Object.entries(changes)) values.set(Number(key), value);
  return [...values].filter((pair): pair is [number, number] => pair[1] !== undefined);
}

/** Values of the tensors of `TINY`: matrices that are stored in blocks, and floats. */
export const TINY_BLOCKS = (32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 64 * 32 + 300 * 32) / 32;
export const TINY_FLOATS = 300 * 32 + 3 * 32;

/** A whole `.m` file of that header, zeros for weights. */
export function tinyModel(pairs = tiny(), blockBytes = 18): Uint8Array {
  const start = header(MODEL_MAGIC, pairs);
  return concat(start, new Uint8Array(TINY_BLOCKS * blockBytes + TINY_FLOATS * 4));
}

export interface TinyTokenizer {
  /** Text and score of every token. */
  tokens: readonly (readonly [text: string | Uint8Array, score: number])[];
  bos: number;
  eos?: readonly number[];
  template?: string;
  addBos?: number;
}

const utf8 = (text: string | Uint8Array) => (typeof text === 'string' ? new TextEncoder().encode(text) : text);

/** A `.t` file in its present form. */
export function tokenizerBytes({ tokens, bos, eos = [], template = '', addBos }: TinyTokenizer): Uint8Array {
  const longest = Math.max(...tokens.map(([text]) => utf8(text).length));
  const pairs: [number, number][] = [
    [0, 1],
    [1, tokens.length],
    [2, longest],
    [3, bos],
    ...(template ? ([[7, utf8(template).length]] as [number, number][]) : []),
    [9, eos.length],
    ...(addBos === undefined ? [] : ([[10, addBos]] as [number, number][])),
  ];
  return concat(
    header(0x567124, pairs),
    utf8(template),
    ints(...eos),
    ...tokens.flatMap(([text, score]) => [floats(score), ints(utf8(text).length), utf8(text)]),
  );
}

/** All 256 bytes, then some words, then special tokens: 300 in all with padding. */
export function byteTokenizer(
  words: readonly (readonly [string, number])[],
  special: readonly string[],
  more: Partial<TinyTokenizer> = {},
): TinyTokenizer {
  const bytes = Array.from({ length: 256 }, (_, byte): [Uint8Array, number] => [Uint8Array.of(byte), 0]);
  const bos = bytes.length + words.length;
  return { tokens: [...bytes, ...words, ...special.map((text) => [text, 0] as const)], bos, eos: [bos + 1], ...more };
}

export function open(model: Uint8Array, tokenizer: Uint8Array): Promise<ModelFile> {
  return openModelFile({ model: bytesSource(model, 'x.m'), tokenizer: bytesSource(tokenizer, 'x.t') });
}
