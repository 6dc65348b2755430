/** In the page: the WebGPU backend against the float64 reference, step by step. */
import type { Backend, Step, StepOp } from '../../../web/device/backend.ts';
import { createWebGpuBackend, type WebGpuOptions } from '../../../web/device/webgpu/index.ts';
import { type RandomShape, randomModel, relativeError, type TileKind } from '../../kernels/random-model.ts';
import { createReferenceBackend } from '../../kernels/reference-backend.ts';

const CONTEXT = 96;
const MAX_BATCH = 32;

export interface Case {
  shape: RandomShape;
  kinds: TileKind[];
  /** Tiles that a matrix is cut into. */
  pieces: number;
  defaultLimits?: boolean;
  /** Other choices than the device's own, so that one machine tests the shaders of all. */
  tuning?: WebGpuOptions['tuning'];
}

export interface CaseErrors {
  /** Largest error over the largest reference value, by what was compared. */
  errors: Record<string, number>;
  /** The same of the cached keys and values. */
  kv: number;
}

const layerOps = (layers: number): StepOp[] =>
  Array.from({ length: layers }, (_, layer): StepOp[] => [
    { op: 'attention', layer },
    { op: 'merge' },
    { op: 'ffn', layer },
    { op: 'merge' },
  ]).flat();

/** Runs steps of 5, 1, 32, 2 and 1 tokens and the parts of one layer, and compares every output. */
export async function compare({ shape, kinds, pieces, defaultLimits, tuning }: Case): Promise<CaseErrors> {
  const model = randomModel(shape, kinds, pieces, 7);
  const options = { hyper: model.hyper, context: CONTEXT, maxBatch: MAX_BATCH };
  const exact = createReferenceBackend({ ...options, rounding: true });
  const actual = await createWebGpuBackend({ ...options, defaultLimits, tuning });
  const errors: Record<string, number> = {};
  try {
    await model.install(exact);
    await model.install(actual);
    const both = async (name: string, step: Step) => {
      const expected = await exact.run(step);
      errors[name] = relativeError(await actual.run(step), expected);
    };
    let position = 0;
    for (const count of [5, 1, 32, 2, 1]) {
      const ids = Uint32Array.from({ length: count }, (_, t) => (17 * (position + t) + 3) % shape.vocab);
      const head: StepOp = { op: 'head', positions: count === 2 ? 'last' : 'all' };
      const step: Step = {
        position,
        count,
        ids,
        ops: [{ op: 'embed' }, ...layerOps(shape.layers), head],
        output: 'logits',
      };
      await both(`logits of ${count} at ${position}`, step);
      position += count;
    }
    for (const count of [3, 1]) {
      const some = (seed: number) => Float32Array.from({ length: count * shape.dim }, (_, i) => Math.sin(i * seed + 1));
      await both(`partial of ${count}`, {
        ...{ position, count, residual: some(0.7), add: some(0.3) },
        ...{ ops: [{ op: 'attention', layer: 0 }], output: 'partial' },
      });
      const ffn: StepOp[] = [{ op: 'ffn', layer: 1 }];
      await both(`FFN partial of ${count}`, { position, count, add: some(0.1), ops: ffn, output: 'partial' });
      await both(`residual of ${count}`, { position, count, ops: [{ op: 'merge' }], output: 'residual' });
      position += count;
    }
    return { errors, kv: await compareKv(actual, exact, shape, position) };
  } finally {
    actual.destroy();
  }
}

async function compareKv(a: Backend, b: Backend, shape: RandomShape, positions: number): Promise<number> {
  let error = 0;
  const values = (integers: Int16Array, scales: Float32Array) =>
    Float32Array.from(integers, (q, i) => q * scales[Math.floor(i / shape.headDim)]!);
  for (let head = 0; head < shape.kvHeads; head++) {
    const [x, y] = [await a.readKv(0, head, 0, positions), await b.readKv(0, head, 0, positions)];
    for (const part of ['k', 'v'] as const) {
      const [actual, expected] = [x, y].map((slice) => values(slice[part], slice[`${part}Scales`]));
      error = Math.max(error, relativeError(actual!, expected!));
    }
  }
  return error;
}
