/** The best logits as a device finds them itself (shaders/select.wgsl), so that the others need not be read. */
import { logPositive } from './exponential.ts';
import type { Candidates } from './want.ts';

/** Number of candidates, and the temperature of the sum over all logits; 0 counts as 1. */
export interface Selection {
  top: number;
  temperature: number;
}

/** Most candidates that a device is asked to find: every one costs it a pass over the best of all chunks. */
export const MOST_BEST = 64;

const HEADER_WORDS = 4;

export const wordsOfBest = (top: number): number => HEADER_WORDS + 2 * top;

/**
 * Candidates out of select.wgsl's answer: largest logit, Σ exp((logit − largest) / temperature), whether a logit was NaN or
 * infinite, number of candidates, then local row and logit of each.
 * @param rowToId global vocabulary row of a local one
 */
export function decodeBest(values: Float32Array, temperature: number, rowToId: (row: number) => number): Candidates {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const [peak, sum] = values as unknown as [number, number];
  const [, , unsound, count] = words as unknown as [number, number, number, number];
  const ids = new Uint32Array(count);
  const logits = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    ids[i] = rowToId(words[HEADER_WORDS + 2 * i]!);
    logits[i] = values[HEADER_WORDS + 2 * i + 1]!;
  }
  const sound = unsound === 0 && Number.isFinite(peak);
  return { ids, logits, logSumExp: sound ? peak / (temperature || 1) + logPositive(sum) : Number.NaN };
}
