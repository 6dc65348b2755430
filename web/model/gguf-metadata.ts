/** Metadata of a GGUF header whose long lists of texts are made when they are first asked for. */
import type { MetadataValue } from './types.ts';

/** Texts as a header has them, checked for their lengths: a 64-bit length before each. */
export interface PackedTexts {
  bytes: Uint8Array;
  count: number;
}

/**
 * As a Map of plain values. A vocabulary is two lists of up to 300,000 texts, ten times as large in memory as in the file;
 * whoever only looks whether a model can run needs none of them.
 */
export class LazyMetadata extends Map<string, MetadataValue> {
  readonly #packed = new Map<string, PackedTexts>();

  setPacked(key: string, texts: PackedTexts): void {
    this.set(key, []);
    this.#packed.set(key, texts);
  }

  override get(key: string): MetadataValue | undefined {
    this.#unpack(key);
    return super.get(key);
  }

  override forEach(use: (value: MetadataValue, key: string, map: Map<string, MetadataValue>) => void): void {
    this.#unpackAll();
    super.forEach(use);
  }

  override entries(): MapIterator<[string, MetadataValue]> {
    this.#unpackAll();
    return super.entries();
  }

  override values(): MapIterator<MetadataValue> {
    this.#unpackAll();
    return super.values();
  }

  override [Symbol.iterator](): MapIterator<[string, MetadataValue]> {
    return this.entries();
  }

  #unpack(key: string): void {
    const texts = this.#packed.get(key);
    if (!texts) return;
    this.#packed.delete(key);
    this.set(key, unpack(texts));
  }

  #unpackAll(): void {
    for (const key of this.#packed.keys()) this.#unpack(key);
  }
}

function unpack({ bytes, count }: PackedTexts): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const texts: string[] = new Array(count);
  for (let i = 0, at = 0; i < count; i++) {
    const from = at + 8;
    at = from + view.getUint32(at, true);
    texts[i] = textOf(bytes, from, at);
  }
  return texts;
}

// A byte order mark may be a token of its own.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** UTF-8 bytes from `from` up to `to`, as text; what is none becomes U+FFFD. */
export function textOf(bytes: Uint8Array, from: number, to: number): string {
  // Most tokens are a few ASCII letters, for which a decoder's call costs more than it does.
  if (to - from <= 16) {
    let ascii = '';
    let i = from;
    for (; i < to && bytes[i]! < 128; i++) ascii += String.fromCharCode(bytes[i]!);
    if (i === to) return ascii;
  }
  return decoder.decode(bytes.subarray(from, to));
}
