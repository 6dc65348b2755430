/** How a member takes a batch through its stage: alone in one step, or in steps between exchanges with the others. */
import type { Range } from '../plan/types.ts';
import type { Step } from './backend.ts';
import type { Selection } from './best.ts';
import { type Executor, soloLayers } from './executor.ts';
import { type OperationTimer, runTimed } from './run-timed.ts';

/** Adds the partial sums of all members of a stage; everyone gets the same bits. */
export interface Exchange {
  /** Members of the stage, this one included. */
  readonly members: number;
  /**
   * @param partial count × dim; may be overwritten once the promise has resolved
   * @param tag names the sum: layer and half of the layer
   */
  allReduce(partial: Float32Array, tag: { layer: number; half: Half }): Promise<Float32Array>;
  /** A layer that this member looks at more closely than it needs to for itself. */
  watch?: Pick<LayerWatch, 'layer' | 'input'> | undefined;
  /** Compares this member's residual stream after its last layer with the others'; rejects where they differ. */
  verify?(residual: Float32Array): Promise<void>;
}

export type Half = 'attention' | 'ffn';

/** What is seen of one layer in one batch: enough to compute any member's part of it once more. */
export interface LayerWatch {
  readonly layer: number;
  /** The residual stream before a half of the layer, the same at all members; not to be kept. */
  input(half: Half, residual: Float32Array): void;
  /** What every member sent for that half, encoded, in the order of the stage's members; not to be kept. */
  sums(half: Half, parts: readonly Uint8Array[]): void;
  /** The batch is through. Rejects with MeshError `wrong-share` where a member's part was wrong. */
  done(): Promise<void>;
}

/** Decides what to look at. */
export interface Watcher {
  /** Undefined: nothing of this batch. `layers` are those that the batch goes through here. */
  begin(batch: { epoch: number; position: number; count: number; layers: Range }): LayerWatch | undefined;
}

/** A member without company. */
export const ALONE: Exchange = {
  members: 1,
  allReduce: async (partial) => partial,
};

/** Told how long a half of a layer took, in milliseconds, without the exchange that follows. */
export type LayerTimer = (layer: number, half: Half, ms: number) => void;

export interface Batch {
  position: number;
  count: number;
  /** Token ids for the first stage's embedding, or the residual stream (count × dim) that another device made. */
  input: { ids: Uint32Array } | { residual: Float32Array };
  /** Only these layers of the member's; default all. */
  layers?: Range;
  /**
   * What to give back: the residual stream for the next stage, or logits of owned vocabulary rows, or only the best of
   * the last position's (Step's output `best`).
   */
  output: 'none' | 'residual' | { logits: 'last' | 'all'; best?: Selection | undefined };
  /** Measures every layer. A member without company then computes half by half, which is slower. */
  timer?: LayerTimer | undefined;
  /** Measures every operation that the backend can tell from the others. */
  operations?: OperationTimer | undefined;
}

/** Runs a batch through this member's layers. The result is a view that the next batch may overwrite. */
export async function runStage(executor: Executor, exchange: Exchange, batch: Batch): Promise<Float32Array> {
  const { position, count, input, output, timer, operations, layers = executor.weights.share.layers } = batch;
  const via: Steps = operations ? { run: (step) => runTimed(executor, step, operations) } : executor;
  const start: Pick<Step, 'ids' | 'residual'> = 'ids' in input ? { ids: input.ids } : { residual: input.residual };
  const first: Step['ops'] = 'ids' in input ? [{ op: 'embed' }] : [];
  const last: Step['ops'] = typeof output === 'object' ? [{ op: 'head', positions: output.logits }] : [];
  const best = typeof output === 'object' ? output.best : undefined;
  const kind = typeof output !== 'object' ? output : best ? 'best' : 'logits';
  const run: StageSteps = {
    position,
    count,
    start,
    first,
    last,
    result: { output: kind, ...(best && { best }) },
    timer,
  };
  if (exchange.members > 1) return sharedStage(via, exchange, layers, run);
  if (!timer) {
    const ops = [...first, ...soloLayers(layers), ...last];
    return via.run({ position, count, ...start, ops, ...run.result });
  }
  return timedStage(via, layers, run, timer);
}

interface StageSteps extends Pick<Step, 'position' | 'count'> {
  start: Pick<Step, 'ids' | 'residual'>;
  first: Step['ops'];
  last: Step['ops'];
  result: Pick<Step, 'output' | 'best'>;
  timer?: LayerTimer | undefined;
}

/** Whatever runs steps. */
type Steps = Pick<Executor, 'run'>;

async function sharedStage(
  executor: Steps,
  exchange: Exchange,
  [from, to]: Range,
  run: StageSteps,
): Promise<Float32Array> {
  const { position, count, timer } = run;
  const { watch } = exchange;
  let input: Pick<Step, 'ids' | 'residual' | 'add'> = run.start;
  let before = run.first;
  for (let layer = from; layer < to; layer++) {
    for (const half of ['attention', 'ffn'] as const) {
      if (layer === watch?.layer) {
        watch.input(half, await executor.run({ position, count, ...input, ops: before, output: 'residual' }));
        [input, before] = [{}, []];
      }
      const started = performance.now();
      const partial = await executor.run({
        position,
        count,
        ...input,
        ops: [...before, { op: half, layer }],
        output: 'partial',
      });
      timer?.(layer, half, performance.now() - started);
      input = { add: await exchange.allReduce(partial, { layer, half }) };
      before = [];
    }
  }
  if (exchange.verify) {
    const residual = await executor.run({ position, count, ...input, ops: before, output: 'residual' });
    await exchange.verify(residual.slice());
    [input, before] = [{}, []];
  }
  return executor.run({ position, count, ...input, ops: [...before, ...run.last], ...run.result });
}

/** The same operations as in one step, but one step for each half of a layer. The residual is read back to know its end. */
async function timedStage(
  executor: Steps,
  [from, to]: Range,
  { position, count, start, first, last, result }: StageSteps,
  timer: LayerTimer,
): Promise<Float32Array> {
  let input = start;
  let before = first;
  for (let layer = from; layer < to; layer++) {
    for (const half of ['attention', 'ffn'] as const) {
      const started = performance.now();
      const ops: Step['ops'] = [...before, { op: half, layer }, { op: 'merge' }];
      await executor.run({ position, count, ...input, ops, output: 'residual' });
      timer(layer, half, performance.now() - started);
      input = {};
      before = [];
    }
  }
  return executor.run({ position, count, ...input, ops: [...before, ...last], ...result });
}
