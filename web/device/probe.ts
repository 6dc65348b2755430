/**
 * What a backend is worth on this device: measured, since feature detection lies. Some browsers take 100 ms for a
 * readback, and some GPUs answer wrong numbers without an error. A small model of two layers runs on both backends
 * through the Backend interface; WebGPU must agree with WASM, and both are timed.
 */
import { freeTileData } from '../model/free.ts';
import type { HyperParameters } from '../model/types.ts';
import { type Backend, type BackendOptions, DeviceError, type Step, type StepOp, type TileData } from './backend.ts';

/** Makes the backend under test. Rejects with DeviceError. */
export type MakeBackend = (options: BackendOptions) => Promise<Backend>;

export interface Measurement {
  kind: Backend['kind'];
  description: string;
  threads: number;
  /** What is less than was asked for and why, for a person. */
  note?: string | undefined;
  /** Matrix-vector speed inside whole layers, in 1e9 multiply-accumulates a second. */
  gmacs: number;
  /** Time of a step that computes next to nothing: what every token pays on top. */
  readbackMs: number;
}

export interface Probed extends Measurement {
  /** Logits of the check steps, to hold against another backend's. */
  answers: Float32Array[];
}

const LAYERS = 2;
const HEAD_ROWS = 512;
const CHECK_BATCH = 8;
const CONTEXT = 64;
/** Timed steps at least and at most, and the time after which no other one starts. */
const FEWEST_RUNS = 3;
const MOST_RUNS = 15;
const BUDGET_MS = 150;
/** A GPU driver that hangs must not keep the model from loading; a slow one may take long to compile the shaders. */
const PATIENCE_MS = 60_000;
/**
 * Largest rms difference between two backends, as part of the rms logit. Different orders of summation make about
 * 1e-5 of it; the faults seen in the field (kernels miscompiled, f16 overflowing) make 1e-1 and more.
 */
const TOLERANCE = 1e-3;

/** As a small llama: big enough that matrices, not calls, take the time on a CPU. */
const HYPER: HyperParameters = {
  architecture: 'llama',
  layers: LAYERS,
  dim: 1024,
  heads: 16,
  kvHeads: 8,
  headDim: 64,
  ffn: 3072,
  vocab: HEAD_ROWS,
  context: CONTEXT,
  normEpsilon: 1e-5,
  rope: {
    layout: 'halves',
    dims: 64,
    frequencies: Float64Array.from({ length: 32 }, (_, i) => 10_000 ** (-i / 32)),
    magnitude: 1,
  },
  tied: false,
  qkvBias: false,
  qkNorm: false,
};

/** Multiply-accumulates with weights that one token costs. */
export function tokenMacs(hyper: HyperParameters): number {
  const { dim, heads, kvHeads, headDim, ffn, layers, vocab } = hyper;
  return layers * dim * (2 * heads * headDim + 2 * kvHeads * headDim + 3 * ffn) + dim * vocab;
}

/** Estimated time of one decoded token of a model, in milliseconds. */
export function tokenMs(measurement: Measurement, hyper: HyperParameters): number {
  return measurement.readbackMs + tokenMacs(hyper) / (measurement.gmacs * 1e6);
}

/** Runs the check and the timing on a fresh backend. Rejects with DeviceError, also when the device hangs. */
export async function probeBackend(make: MakeBackend): Promise<Probed> {
  return withPatience(async (given) => {
    const backend = await make({ hyper: HYPER, context: CONTEXT, maxBatch: CHECK_BATCH });
    // Whoever gave up waiting does not want it any more.
    if (given.up) backend.destroy();
    try {
      await fill(backend);
      const answers = [await answer(backend, batchStep()), await answer(backend, tokenStep(CHECK_BATCH))];
      const tokenTime = await time(backend, tokenStep(CHECK_BATCH + 1));
      const readbackMs = await time(backend, emptyStep());
      // A step as short as the clock's tick would count as infinitely fast.
      const computing = Math.max(0.01, tokenTime - readbackMs);
      return {
        kind: backend.kind,
        description: backend.description,
        threads: backend.threads,
        note: backend.note,
        gmacs: tokenMacs(HYPER) / (computing * 1e6),
        readbackMs,
        answers,
      };
    } finally {
      backend.destroy();
    }
  });
}

/** Relative rms difference of two backends' answers; Infinity where one of them is not a number. */
export function disagreement(reference: readonly Float32Array[], answers: readonly Float32Array[]): number {
  let worst = 0;
  for (const [i, expected] of reference.entries()) {
    const got = answers[i];
    if (got?.length !== expected.length) return Number.POSITIVE_INFINITY;
    let error = 0;
    let size = 0;
    for (let k = 0; k < expected.length; k++) {
      error += (got[k]! - expected[k]!) ** 2;
      size += expected[k]! ** 2;
    }
    const relative = Math.sqrt(error / size);
    if (!(relative <= worst)) worst = Number.isFinite(relative) ? relative : Number.POSITIVE_INFINITY;
  }
  return worst;
}

/** @throws DeviceError `wrong-numbers` when `probed` does not agree with `reference` */
export function checkAnswers(reference: Probed, probed: Probed): void {
  const difference = disagreement(reference.answers, probed.answers);
  if (difference <= TOLERANCE) return;
  throw new DeviceError(
    'wrong-numbers',
    `${probed.description} computes wrong numbers (${Number.isFinite(difference) ? `off by ${(100 * difference).toPrecision(2)} %` : 'not numbers at all'}). Update the browser or the graphics driver, or use WASM.`,
  );
}

const WHOLE_TOKEN: StepOp[] = [
  ...Array.from({ length: LAYERS }, (_, layer): StepOp[] => [
    { op: 'attention', layer },
    { op: 'merge' },
    { op: 'ffn', layer },
    { op: 'merge' },
  ]).flat(),
];

function batchStep(): Step {
  return {
    position: 0,
    count: CHECK_BATCH,
    residual: residual(CHECK_BATCH),
    ops: [...WHOLE_TOKEN, { op: 'head', positions: 'all' }],
    output: 'logits',
  };
}

function tokenStep(position: number): Step {
  return {
    position,
    count: 1,
    residual: residual(1),
    ops: [...WHOLE_TOKEN, { op: 'head', positions: 'last' }],
    output: 'logits',
  };
}

function emptyStep(): Step {
  return { position: 0, count: 1, ids: Uint32Array.of(1), ops: [{ op: 'embed' }], output: 'residual' };
}

async function answer(backend: Backend, step: Step): Promise<Float32Array> {
  return (await backend.run(step)).slice();
}

/** Median time of a step in milliseconds, after one that warms up. */
async function time(backend: Backend, step: Step): Promise<number> {
  await backend.run(step);
  const times: number[] = [];
  const started = performance.now();
  while (times.length < FEWEST_RUNS || (times.length < MOST_RUNS && performance.now() - started < BUDGET_MS)) {
    const from = performance.now();
    await backend.run(step);
    times.push(performance.now() - from);
  }
  return times.sort((a, b) => a - b)[times.length >> 1]!;
}

async function fill(backend: Backend): Promise<void> {
  const { dim, heads, kvHeads, headDim, ffn } = HYPER;
  const random = generator(0x5eed);
  const place = async (role: Parameters<Backend['addTile']>[0], data: TileData) => {
    const tile = await backend.addTile(role, data);
    freeTileData(data);
    return [{ tile, row: 0, col: 0 }];
  };
  for (let layer = 0; layer < LAYERS; layer++) {
    backend.setLayer(layer, {
      qToKv: Array.from({ length: heads }, (_, head) => Math.floor((head * kvHeads) / heads)),
      kvHeads: Array.from({ length: kvHeads }, (_, head) => head),
      ffn,
      tiles: {
        q: await place('q', q4(heads * headDim, dim, random)),
        k: await place('k', q4(kvHeads * headDim, dim, random)),
        v: await place('v', q8(kvHeads * headDim, dim, random)),
        o: await place('o', q4(dim, heads * headDim, random)),
        gate: await place('gate', q4(ffn, dim, random)),
        up: await place('up', q4(ffn, dim, random)),
        down: await place('down', q8(dim, ffn, random)),
      },
      vectors: { attentionNorm: new Float32Array(dim).fill(1), ffnNorm: outliers() },
    });
  }
  backend.setEmbedding(await place('embedding', f16(HEAD_ROWS, dim, random)));
  backend.setHead(await place('head', f16(HEAD_ROWS, dim, random)), new Float32Array(dim).fill(1));
}

/** Norm weights with outliers, as real models have: activations of a thousand, where half floats begin to fail. */
function outliers(): Float32Array {
  return Float32Array.from({ length: HYPER.dim }, (_, i) => (i % 97 === 5 ? 300 : 1));
}

function residual(count: number): Float32Array {
  const random = generator(count);
  return Float32Array.from({ length: count * HYPER.dim }, () => (random() / 2 ** 32 - 0.5) * 4);
}

/** A linear congruential generator modulo 2^32 (Numerical Recipes' constants); only its high bits are any good. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state;
  };
}

/** Weights of about 1/sqrt(cols), so that the residual stream keeps its size. */
function q4(rows: number, cols: number, random: () => number): TileData {
  const blocks = (rows * cols) / 32;
  const scales = scalesOf(blocks, 1 / (8 * Math.sqrt(cols)), random);
  const quants = patterned(new Uint8Array(blocks * 16), () => random() >>> 24);
  return { kind: 'q4', rows, cols, block: 32, quants, scales, mins: scales.map((scale) => -8 * scale) };
}

function q8(rows: number, cols: number, random: () => number): TileData {
  const scales = scalesOf((rows * cols) / 32, 1 / (128 * Math.sqrt(cols)), random);
  const quants = patterned(new Int8Array(rows * cols), () => ((random() >>> 24) % 255) - 127);
  return { kind: 'q8', rows, cols, block: 32, quants, scales };
}

/** Half floats of random sign and mantissa, of magnitude 1/64 to 1/32. */
function f16(rows: number, cols: number, random: () => number): TileData {
  const values = patterned(new Uint16Array(rows * cols), () => ((random() >>> 16) & 0x83ff) | (9 << 10));
  return { kind: 'f16', rows, cols, values };
}

function scalesOf(blocks: number, scale: number, random: () => number): Float32Array {
  return patterned(new Float32Array(blocks), () => (1 + random() / 2 ** 32) * scale);
}

/** A prime, so that rows and blocks never fall on the same part of the pattern. */
const PERIOD = 16_381;

/** Fills an array with random values that repeat after `PERIOD`: drawing every one would take longer than the probe. */
function patterned<T extends Uint8Array | Int8Array | Uint16Array | Float32Array>(array: T, draw: () => number): T {
  const drawn = Math.min(PERIOD, array.length);
  for (let i = 0; i < drawn; i++) array[i] = draw();
  for (let at = drawn; at < array.length; at *= 2) array.copyWithin(at, 0, at);
  return array;
}

/**
 * The same maker, which rejects with DeviceError `lost` when making takes longer than a driver may; what comes later is
 * destroyed.
 */
export function patiently(make: MakeBackend): MakeBackend {
  return (options) =>
    withPatience(async (given) => {
      const backend = await make(options);
      if (given.up) backend.destroy();
      return backend;
    });
}

/**
 * What `work` gives; rejects with DeviceError `lost` when it takes longer than a driver may, and `work` is told by `given.up`,
 * so that it undoes what comes later.
 */
export async function withPatience<T>(work: (given: { up: boolean }) => Promise<T>): Promise<T> {
  const given = { up: false };
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      given.up = true;
      reject(new DeviceError('lost', `The device did not answer within ${PATIENCE_MS / 1000} seconds.`));
    }, PATIENCE_MS);
  });
  try {
    return await Promise.race([work(given), late]);
  } finally {
    clearTimeout(timer);
  }
}
