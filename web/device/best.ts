/** The best logits as a device finds them itself (shaders/select.wgsl, wasm/selection.ts), so that the others need not be read. */
import { logPositive } from './exponential.ts';
import type { Candidates } from './want.ts';

/** Number of candidates, and the temperature of the sum over all logits; 0 counts as 1. */
export interface Selection {
  top: number;
  temperature: number;
}

/** Most candidates that a device is asked to find: every one costs it a pass over the best of all chunks. */
export const MOST_BEST = 64;

/** Largest `scaleOf`: in f32 a temperature below 3e-39 would give infinity, and infinity times the difference 0 no number. */
const MOST_SCALE = 1e30;

/** What a device multiplies differences of logits by before it takes their exponentials. */
export const scaleOf = (temperature: number): number => Math.min(MOST_SCALE, 1 / (temperature || 1));

const HEADER_WORDS = 4;

export const wordsOfBest = (top: number): number => HEADER_WORDS + 2 * top;

/**
 * What a device answers that has found the best itself.
 * @param peak largest of all logits; not finite where one is NaN or infinite
 * @param sum Σ exp((logit − peak) / temperature) over all of them
 */
export function encodeBest(best: Pick<Candidates, 'ids' | 'logits'>, peak: number, sum: number): Float32Array {
  const values = new Float32Array(wordsOfBest(best.ids.length));
  const words = new Uint32Array(values.buffer);
  values[0] = peak;
  values[1] = sum;
  words[2] = Number(!Number.isFinite(peak));
  words[3] = best.ids.length;
  for (let i = 0; i < best.ids.length; i++) {
    words[HEADER_WORDS + 2 * i] = best.ids[i]!;
    values[HEADER_WORDS + 2 * i + 1] = best.logits[i]!;
  }
  return values;
}

/**
 * Candidates out of such an answer: largest logit, Σ exp((logit − largest) / temperature), whether a logit was NaN or
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
