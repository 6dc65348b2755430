/** Times a whole model on one backend by kind of operation. Runs in node and in a page alike. */
import type { Backend, StepOp } from '../../../web/device/backend.ts';
import { createExecutor, soloLayers } from '../../../web/device/executor.ts';
import { loadShare } from '../../../web/device/loader/load.ts';
import { createPartReader } from '../../../web/device/store/reader.ts';
import { catalogue } from '../../../web/model/catalogue.ts';
import { readModelFile } from '../../../web/model/gguf.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import type { HyperParameters } from '../../../web/model/types.ts';
import type { ModelShape } from '../../../web/plan/shape.ts';

export type Kind = 'embed' | 'attention' | 'ffn' | 'merge' | 'head' | 'whole';
export const KINDS: readonly Kind[] = ['embed', 'attention', 'ffn', 'merge', 'head', 'whole'];

export interface KernelsRequest {
  /** Positions of a prefill step. */
  batch: number;
  /** Positions in the KV cache before a decode step. */
  position: number;
  rounds: number;
}

/** Milliseconds of a step, one a round, over all layers. */
export type StepTimes = Record<Kind, number[]>;

export interface KernelsTimes {
  description: string;
  /** One token at `position`. */
  decode: StepTimes;
  /** `batch` tokens from position 0 on. */
  prefill: StepTimes;
}

/** Opens a model from its bytes, puts all of it on the backend that `make` gives, and measures. */
export async function measureKernels(
  bytes: Uint8Array,
  make: (options: { hyper: HyperParameters; context: number; maxBatch: number }) => Promise<Backend>,
  { batch, position, rounds }: KernelsRequest,
): Promise<{ hyper: HyperParameters; times: KernelsTimes }> {
  const file = await readModelFile(bytesSource(bytes));
  const parts = await catalogue(file);
  const { hyper } = parts;
  const context = Math.max(position + 1, batch);
  const backend = await make({ hyper, context, maxBatch: batch });
  const reader = createPartReader({ source: file.source, digest: file.digest });
  const share = {
    layers: [0, hyper.layers] as [number, number],
    qHeads: [[0, hyper.heads] as [number, number]],
    ffn: [[0, hyper.ffn] as [number, number]],
    vocab: [[0, hyper.vocab] as [number, number]],
    ...{ embedding: true, head: true },
  };
  const { run } = createExecutor(hyper, backend, await loadShare({ catalogue: parts, reader, backend, share }));

  // Any ids do, as long as the numbers that come of them are ordinary ones.
  const ids = Uint32Array.from({ length: context }, (_, i) => (i * 7919 + 1) % hyper.vocab);
  const whole: StepOp[] = [{ op: 'embed' }, ...soloLayers([0, hyper.layers]), { op: 'head', positions: 'last' }];
  for (let at = 0; at < position; at += batch) {
    const count = Math.min(batch, position - at);
    await run({ position: at, count, ids: ids.subarray(at, at + count), ops: whole, output: 'none' });
  }

  async function stepTimes(at: number, count: number): Promise<StepTimes> {
    const times: StepTimes = { embed: [], attention: [], ffn: [], merge: [], head: [], whole: [] };
    // The first round warms up. Kinds take turns, so that all of them see the same machine.
    for (let round = 0; round <= rounds; round++)
      for (const kind of KINDS) {
        const ops = kind === 'whole' ? whole : whole.filter(({ op }) => op === kind);
        const start = performance.now();
        await run({ position: at, count, ids: ids.subarray(at, at + count), ops, output: 'none' });
        if (round > 0) times[kind].push(performance.now() - start);
      }
    return times;
  }

  const decode = await stepTimes(position, 1);
  const prefill = await stepTimes(0, batch);
  backend.destroy();
  return { hyper, times: { description: backend.description, decode, prefill } };
}

/** Multiply-accumulates of the weights in a step of `count` positions; attention over the KV cache is not counted. */
export function weightMacs(hyper: ModelShape, kind: Kind, count: number): number {
  const { layers, dim, heads, kvHeads, headDim, ffn, vocab } = hyper;
  const attention = layers * dim * headDim * (2 * heads + 2 * kvHeads) * count;
  const feedForward = layers * 3 * dim * ffn * count;
  const head = vocab * dim;
  const macs: Record<Kind, number> = {
    ...{ embed: 0, merge: 0, attention, ffn: feedForward, head },
    whole: attention + feedForward + head,
  };
  return macs[kind];
}
