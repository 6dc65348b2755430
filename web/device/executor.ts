/**
 * One member's part of the model on one backend. It is given token ids or residuals and gives partial sums, residuals
 * or logits; whoever holds several executors adds their partial sums. Its share can change between two steps.
 */
import type { HyperParameters } from '../model/types.ts';
import type { Range } from '../plan/types.ts';
import type { Backend, Step, StepOp } from './backend.ts';
import type { LoadedWeights } from './loader/types.ts';
import { localShare, placeRows } from './local-share.ts';

export interface Executor {
  readonly hyper: HyperParameters;
  readonly backend: Backend;
  /** What it computes with now. */
  readonly weights: LoadedWeights;
  /**
   * Computes with another set from the next step on. KV of heads that stay is kept. The caller drops the tiles that
   * the new set no longer holds, afterwards.
   */
  setWeights(weights: LoadedWeights): void;
  run(step: Step): Promise<Float32Array>;
}

export function createExecutor(hyper: HyperParameters, backend: Backend, weights: LoadedWeights): Executor {
  let current: LoadedWeights | undefined;

  function setWeights(next: LoadedWeights): void {
    const { share } = next;
    for (const layer of current?.layers.keys() ?? []) if (!next.layers.has(layer)) backend.setLayer(layer, undefined);
    for (const [layer, loaded] of next.layers) {
      const unchanged = current?.layers.get(layer) === loaded && sameShare(current.share, share);
      if (!unchanged) backend.setLayer(layer, localShare(loaded, share.qHeads, share.ffn, hyper));
    }
    backend.setEmbedding(next.embedding && placeRows(next.embedding, [[0, hyper.vocab]]));
    backend.setHead(next.head && placeRows(next.head, share.vocab), next.outputNorm);
    current = next;
  }

  setWeights(weights);
  return {
    hyper,
    backend,
    get weights() {
      return current ?? weights;
    },
    setWeights,
    run: (step) => backend.run(step),
  };
}

const sameRanges = (a: readonly Range[], b: readonly Range[]) => JSON.stringify(a) === JSON.stringify(b);

const sameShare = (a: LoadedWeights['share'], b: LoadedWeights['share']) =>
  sameRanges(a.qHeads, b.qHeads) && sameRanges(a.ffn, b.ffn);

/** The operations of layers [from, to) for a member that is alone in its stage: no exchange in between. */
export function soloLayers([from, to]: Range): StepOp[] {
  const ops: StepOp[] = [];
  for (let layer = from; layer < to; layer++) {
    ops.push({ op: 'attention', layer }, { op: 'merge' }, { op: 'ffn', layer }, { op: 'merge' });
  }
  return ops;
}
