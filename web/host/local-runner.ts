/** A Runner over one executor that holds the whole model. */

import { selectCandidates } from '../device/candidates.ts';
import type { Executor } from '../device/executor.ts';
import { ALONE, runStage } from '../device/member.ts';
import type { Forwarded, Runner, Want } from './runner.ts';

export interface LocalRunnerOptions {
  context: number;
  maxBatch: number;
}

export function createLocalRunner(executor: Executor, { context, maxBatch }: LocalRunnerOptions): Runner {
  const { vocab } = executor.hyper;
  /** A copy: `again` may come after the backend has reused its memory. */
  let logits = new Float32Array(0);

  function summarize(want: Want): Forwarded {
    const positions = logits.length / vocab;
    const row = (t: number) => logits.subarray(t * vocab, (t + 1) * vocab);
    const candidates = Array.from({ length: positions }, (_, t) =>
      selectCandidates([{ row: 0, logits: row(t) }], want),
    );
    return want.full ? { candidates, full: row(positions - 1).slice() } : { candidates };
  }

  return {
    context,
    maxBatch,
    vocab,
    async forward(ids, position, want) {
      const output = want ? { logits: want.positions } : 'none';
      const result = await runStage(executor, ALONE, { position, count: ids.length, input: { ids }, output });
      if (!want) return { candidates: [] };
      if (logits.length !== result.length) logits = new Float32Array(result.length);
      logits.set(result);
      return summarize(want);
    },
    async again(want) {
      return summarize(want);
    },
  };
}
