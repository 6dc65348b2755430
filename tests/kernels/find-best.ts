/** A backend's own candidates beside those of all its logits. */
import type { Backend, BackendOptions } from '../../web/device/backend.ts';
import { decodeBest } from '../../web/device/best.ts';
import { selectCandidates } from '../../web/device/candidates.ts';
import type { Candidates } from '../../web/device/want.ts';
import { hyperOf, type RandomShape, randomSource } from './random-model.ts';

/** Head rows, many of them alike, so that most logits are ties; more than one chunk of candidates.wgsl. */
export const BEST_ROWS = 1500;
const BEST_PATTERNS = 200;

export interface BestFound {
  /** Found by the device. */
  actual: { ids: number[]; logits: number[]; logSumExp: number };
  /** Out of all logits. */
  expected: { ids: number[]; logits: number[]; logSumExp: number };
}

/** The device's own candidates beside those of the whole row of logits; the last row has a NaN among them. */
export async function findBestOf(
  make: (options: BackendOptions) => Promise<Backend>,
  rows = BEST_ROWS,
): Promise<BestFound[]> {
  const shape: RandomShape = { layers: 1, dim: 32, heads: 1, kvHeads: 1, headDim: 32, ffn: 32, vocab: rows };
  const random = randomSource(5);
  const backend = await make({ hyper: hyperOf(shape), context: 8, maxBatch: 4 });
  try {
    const patterns = Array.from({ length: BEST_PATTERNS }, (_, p) =>
      Float32Array.from({ length: shape.dim }, () => (p === 0 ? 0 : random() - 0.5)),
    );
    const values = new Float32Array(rows * shape.dim);
    for (let row = 0; row < rows; row++) values.set(patterns[Math.floor(random() * BEST_PATTERNS)]!, row * shape.dim);
    const tile = await backend.addTile('head', { rows, cols: shape.dim, kind: 'f32', values });
    backend.setHead([{ tile, row: 0, col: 0 }], new Float32Array(shape.dim).fill(1));
    const results: BestFound[] = [];
    for (const [top, temperature, spoilt] of [
      ...([1, 5, 64] as const).flatMap((top) => [0, 0.4].map((temperature) => [top, temperature, false] as const)),
      [3, 1, true] as const,
    ]) {
      const residual = Float32Array.from({ length: shape.dim }, () => random() - 0.5);
      if (spoilt) residual[3] = Number.NaN;
      const step = { position: 0, count: 1, residual, ops: [{ op: 'head', positions: 'last' } as const] };
      const logits = (await backend.run({ ...step, output: 'logits' })).slice();
      const best = await backend.run({ ...step, output: 'best', best: { top, temperature } });
      const actual = decodeBest(best, temperature, (row) => row);
      const expected = selectCandidates([{ row: 0, logits }], { positions: 'last', top, temperature });
      const kept = await backend.selection?.readLogits();
      if (!kept?.every((logit, i) => Object.is(logit, logits[i]))) throw new Error('The logits did not stay.');
      const plain = ({ ids, logits, logSumExp }: Candidates) => ({ ids: [...ids], logits: [...logits], logSumExp });
      results.push({ actual: plain(actual), expected: plain(expected) });
    }
    return results;
  } finally {
    backend.destroy();
  }
}
