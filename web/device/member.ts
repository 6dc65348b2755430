/** How a member takes a batch through its stage: alone in one step, or in steps between exchanges with the others. */
import type { Range } from '../plan/types.ts';
import type { Step } from './backend.ts';
import { type Executor, soloLayers } from './executor.ts';

/** Adds the partial sums of all members of a stage; everyone gets the same bits. */
export interface Exchange {
  /** Members of the stage, this one included. */
  readonly members: number;
  /**
   * @param partial count × dim; may be overwritten once the promise has resolved
   * @param tag names the sum: layer and half of the layer
   */
  allReduce(partial: Float32Array, tag: { layer: number; half: 'attention' | 'ffn' }): Promise<Float32Array>;
}

/** A member without company. */
export const ALONE: Exchange = {
  members: 1,
  allReduce: async (partial) => partial,
};

export interface Batch {
  position: number;
  count: number;
  /** Token ids for the first stage's embedding, or the residual stream (count × dim) that another device made. */
  input: { ids: Uint32Array } | { residual: Float32Array };
  /** Only these layers of the member's; default all. */
  layers?: Range;
  /** What to give back: the residual stream for the next stage, or logits of owned vocabulary rows. */
  output: 'none' | 'residual' | { logits: 'last' | 'all' };
}

/** Runs a batch through this member's layers. The result is a view that the next batch may overwrite. */
export async function runStage(executor: Executor, exchange: Exchange, batch: Batch): Promise<Float32Array> {
  const { position, count, input, output, layers = executor.weights.share.layers } = batch;
  const start: Pick<Step, 'ids' | 'residual'> = 'ids' in input ? { ids: input.ids } : { residual: input.residual };
  const first: Step['ops'] = 'ids' in input ? [{ op: 'embed' }] : [];
  const last: Step['ops'] = typeof output === 'object' ? [{ op: 'head', positions: output.logits }] : [];
  const kind = typeof output === 'object' ? 'logits' : output;
  if (exchange.members === 1) {
    const ops = [...first, ...soloLayers(layers), ...last];
    return executor.run({ position, count, ...start, ops, output: kind });
  }
  return sharedStage(executor, exchange, layers, { position, count, start, first, last, kind });
}

interface SharedRun extends Pick<Step, 'position' | 'count'> {
  start: Pick<Step, 'ids' | 'residual'>;
  first: Step['ops'];
  last: Step['ops'];
  kind: 'none' | 'residual' | 'logits';
}

async function sharedStage(
  executor: Executor,
  exchange: Exchange,
  [from, to]: Range,
  run: SharedRun,
): Promise<Float32Array> {
  const { position, count } = run;
  let input: Pick<Step, 'ids' | 'residual' | 'add'> = run.start;
  let before = run.first;
  for (let layer = from; layer < to; layer++) {
    for (const half of ['attention', 'ffn'] as const) {
      const partial = await executor.run({
        position,
        count,
        ...input,
        ops: [...before, { op: half, layer }],
        output: 'partial',
      });
      input = { add: await exchange.allReduce(partial, { layer, half }) };
      before = [];
    }
  }
  return executor.run({ position, count, ...input, ops: [...before, ...run.last], output: run.kind });
}
