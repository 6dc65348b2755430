/** Golden data (shared/golden, copies in tests/fixtures): how to read it and how to judge by it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { repoPath } from './node-model.ts';

export type Logit = [token: number, logit: number];

export interface GoldenCase {
  name: string;
  /** Only in the file of the default model. */
  text?: string;
  ids: number[];
  /** llama.cpp's own greedy continuation. */
  greedy: number[];
  exactDisagreesAt: number[];
  steps: { llamacpp: Logit[]; exact: Logit[] }[];
  /** Exact logits of the last prompt position; only in the small models' files. */
  exactLogits?: number[];
  llamacppMaxTopError?: number;
  llamacppRmsError?: number;
}

export interface Golden {
  model: string;
  sha256: string;
  cases: GoldenCase[];
}

export const readGolden = (path: string): Golden => JSON.parse(readFileSync(path, 'utf8'));

/** Small models with their answers: those in tests/fixtures always, all of shared/golden/tiny where it is there. */
export function tinyModels(): { name: string; gguf: string; golden: Golden }[] {
  const folder = ['../shared/golden/tiny', 'tests/fixtures'].map(repoPath).find((path) => existsSync(path)) ?? '';
  return readdirSync(folder)
    .filter((name) => name.startsWith('tiny-') && name.endsWith('.gguf'))
    .map((name) => ({
      name: name.replace('.gguf', ''),
      gguf: `${folder}/${name}`,
      golden: readGolden(`${folder}/${name.replace('.gguf', '.json')}`),
    }));
}

/** Largest difference of the exact top 8 from our logits at the same tokens. */
export function topError(ours: ArrayLike<number>, exact: Logit[]): number {
  return exact.reduce((worst, [token, logit]) => Math.max(worst, Math.abs(ours[token] - logit)), 0);
}

export function rms(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return Math.sqrt(sum / a.length);
}

export function argmax(logits: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}

/** Between the exact first and second: below this a step's token is a tie that rounding may decide. */
export function tieMargin(ourError: number): number {
  return Math.min(0.1, 2 * ourError);
}
