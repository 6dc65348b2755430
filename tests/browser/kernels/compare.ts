/** In the page: the WebGPU backend against the float64 reference, step by step. */
import type { Backend, LayerShare, Step, StepOp } from '../../../web/device/backend.ts';
import { soloLayers } from '../../../web/device/executor.ts';
import { createWebGpuBackend, type WebGpuOptions } from '../../../web/device/webgpu/index.ts';
import { CUT_OPTIONS, type CutResult, cutInParts } from '../../kernels/cut-tiles.ts';
import { type BestFound, findBestOf } from '../../kernels/find-best.ts';
import {
  hyperOf,
  type RandomShape,
  randomModel,
  randomSource,
  randomTile,
  relativeError,
  type TileKind,
} from '../../kernels/random-model.ts';
import { createReferenceBackend } from '../../kernels/reference-backend.ts';

const CONTEXT = 96;
const MAX_BATCH = 32;

export interface Case {
  shape: RandomShape;
  kinds: TileKind[];
  /** Tiles that a matrix is cut into. */
  pieces: number;
  defaultLimits?: boolean;
  /** Scales and minima of 4-bit tiles as a file's halves, which are kept in another layout. */
  halves?: boolean;
  /** Other choices than the device's own, so that one machine tests the shaders of all. */
  tuning?: WebGpuOptions['tuning'];
}

export interface CaseErrors {
  /** Largest error over the largest reference value, by what was compared. */
  errors: Record<string, number>;
  /** The same of the cached keys and values. */
  kv: number;
}

/** Runs steps of 5, 1, 32, 2 and 1 tokens and the parts of one layer, and compares every output. */
export async function compare({ shape, kinds, pieces, defaultLimits, halves, tuning }: Case): Promise<CaseErrors> {
  const model = randomModel(shape, kinds, pieces, 7);
  const options = { hyper: model.hyper, context: CONTEXT, maxBatch: MAX_BATCH };
  const exact = createReferenceBackend({ ...options, rounding: true });
  const actual = await createWebGpuBackend({ ...options, defaultLimits, tuning });
  const errors: Record<string, number> = {};
  try {
    for (const backend of [exact, actual]) await model.install(halves ? withHalves(backend) : backend);
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
        ops: [{ op: 'embed' }, ...soloLayers([0, shape.layers]), head],
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

/** The backend, given 4-bit tiles whose scales and minima are halves; one in eight is zero or very small. */
function withHalves(backend: Backend): Backend {
  const half = (value: number, i: number) => {
    const bits = new Uint32Array(Float32Array.of(i % 8 === 5 ? value * 2 ** -(i % 32) : value).buffer);
    bits[0]! &= i % 24 === 3 ? 0 : 0xffffe000;
    return new Float32Array(bits.buffer)[0]!;
  };
  return {
    ...backend,
    addTile: (role, data) =>
      backend.addTile(
        role,
        data.kind === 'q4' ? { ...data, scales: data.scales.map(half), mins: data.mins.map(half) } : data,
      ),
  };
}

/** Tiles of each kind, cut on the device; see `cutInParts`. */
export async function cutTiles(kinds: TileKind[], halves: boolean): Promise<CutResult[]> {
  const backend = await createWebGpuBackend(CUT_OPTIONS);
  try {
    const results: CutResult[] = [];
    for (const kind of kinds) results.push(await cutInParts(halves ? withHalves(backend) : backend, kind));
    return results;
  } finally {
    backend.destroy();
  }
}

/**
 * An FFN whose tiles lie as no plan would lay them: kinds side by side, rows cut in different places on the left and on the
 * right, no two alike in gate and up. Returns the median relative errors of one token and of three.
 */
export async function compareOddTiles(): Promise<number[]> {
  const shape: RandomShape = { layers: 1, dim: 128, heads: 2, kvHeads: 1, headDim: 32, ffn: 160, vocab: 8 };
  const random = randomSource(11);
  const options = { hyper: hyperOf(shape), context: 8, maxBatch: 4 };
  const cut = (cols: [number, number], ...rows: [kind: TileKind, from: number, to: number][]) =>
    rows.map(([kind, from, to]) => ({
      row: from,
      col: cols[0],
      data: randomTile(kind, to - from, cols[1] - cols[0], random),
    }));
  const matrices = {
    gate: [...cut([0, 64], ['q4', 0, 21], ['q8', 21, 160]), ...cut([64, 128], ['f32', 0, 70], ['q4', 70, 160])],
    up: [...cut([0, 96], ['q8', 0, 160]), ...cut([96, 128], ['q8', 0, 33], ['q8', 33, 160])],
    down: [...cut([0, 32], ['q4', 0, 128]), ...cut([32, 160], ['q4', 0, 64], ['bf16', 64, 128])],
  };
  const norm = Float32Array.from({ length: shape.dim }, random);
  const exact = createReferenceBackend({ ...options, rounding: true });
  const actual = await createWebGpuBackend(options);
  try {
    for (const backend of [exact, actual]) {
      const tiles: LayerShare['tiles'] = { q: [], k: [], v: [], o: [], gate: [], up: [], down: [] };
      for (const role of ['gate', 'up', 'down'] as const) {
        for (const { row, col, data } of matrices[role])
          tiles[role].push({ row, col, tile: await backend.addTile(role, data) });
      }
      backend.setLayer(0, { qToKv: [], kvHeads: [], ffn: shape.ffn, tiles, vectors: { ffnNorm: norm } });
    }
    const errors: number[] = [];
    for (const count of [1, 3]) {
      const some: number[] = [];
      for (let i = 0; i < 9; i++) {
        const residual = Float32Array.from({ length: count * shape.dim }, () => random() - 0.5);
        const step: Step = { position: 0, count, residual, ops: [{ op: 'ffn', layer: 0 }], output: 'partial' };
        some.push(relativeError(await actual.run(step), await exact.run(step)));
      }
      errors.push(some.sort((a, b) => a - b)[4]!);
    }
    return errors;
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

/** One step with a timer and one without: whether their logits are the same bits, and what was timed, as `operation layer`. */
export async function timeOperations(shape: RandomShape, defaultLimits: boolean) {
  const model = randomModel(shape, ['q4', 'q8'], 1, 7);
  const options = { hyper: model.hyper, context: CONTEXT, maxBatch: MAX_BATCH, profile: true };
  const backend = await createWebGpuBackend({ ...options, defaultLimits });
  try {
    await model.install(backend);
    const ops: StepOp[] = [{ op: 'embed' }, ...soloLayers([0, shape.layers]), { op: 'head', positions: 'last' }];
    const timed: string[] = [];
    const equal: boolean[] = [];
    for (const count of [5, 1]) {
      const step: Step = {
        position: 0,
        count,
        ids: Uint32Array.from({ length: count }, (_, t) => t),
        ops,
        output: 'logits',
      };
      const expected = (await backend.run(step)).slice();
      const timer: Step['timer'] = (operation, layer, ms) => {
        if (ms >= 0) timed.push(`${operation} ${layer ?? ''}`.trim());
      };
      const actual = await backend.run({ ...step, timer });
      equal.push(expected.length === actual.length && expected.every((value, i) => value === actual[i]));
    }
    return { timesOperations: backend.timesOperations, timed, equal };
  } finally {
    backend.destroy();
  }
}

/** `findBestOf` WebGPU. */
export const findBest = (tuning?: WebGpuOptions['tuning']): Promise<BestFound[]> =>
  findBestOf((options) => createWebGpuBackend({ ...options, tuning }));
