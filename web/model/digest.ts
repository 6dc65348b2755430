/** The stable name of a model's content, out of its headers and a few samples of the data. */
import { sha256Hex } from './hash.ts';
import type { ByteSource } from './types.ts';

/** Samples of the data that go into the digest: models with the same header (fine-tunes) differ everywhere. */
const SAMPLES = 8;
const SAMPLE_BYTES = 4096;

/** `headers`: SHA-256 of every file's header, in order. Rejects as the source does. */
export async function contentDigest(
  source: ByteSource,
  headers: readonly string[],
  signal?: AbortSignal,
): Promise<string> {
  const last = source.size - SAMPLE_BYTES;
  const samples: Promise<Uint8Array>[] = [];
  for (let i = 0; i < SAMPLES; i++) {
    const from = Math.max(0, Math.floor((last * (i + 1)) / SAMPLES));
    samples.push(source.read(from, Math.min(source.size, from + SAMPLE_BYTES), signal));
  }
  const parts = [`size ${source.size}`, ...headers, ...(await Promise.all(samples)).map((sample) => sha256Hex(sample))];
  return sha256Hex(new TextEncoder().encode(parts.join('\n')));
}
