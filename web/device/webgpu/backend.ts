/** The WebGPU backend: tiles, shares and steps on one GPU device. */
import type { HyperParameters } from '../../model/types.ts';
import {
  type Backend,
  type BackendOptions,
  DeviceError,
  type LayerShare,
  type PlacedTile,
  type Step,
  type Tile,
  type TileData,
} from '../backend.ts';
import { MOST_BEST, wordsOfBest } from '../best.ts';
import { type AdapterOptions, requestWebGpuDevice, type WebGpuDevice } from './adapter.ts';
import { createAhead } from './ahead.ts';
import { createArena } from './arena.ts';
import { createCache } from './cache.ts';
import { createEmbedding, type Embedding } from './embedding.ts';
import { type CheckedDevice, checkedDevice, roundUp } from './gpu.ts';
import { createHead, type Head } from './head.ts';
import { createLayer, type LayerCommands, rowWorkgroups, type Workshop } from './layer.ts';
import { BLOCK, cutLayout, layOut } from './layout.ts';
import { createPassTimes } from './pass-times.ts';
import { createPipelines, type Sizes, type Tuning } from './pipelines.ts';
import type { GpuTile } from './product.ts';
import { createReadback, type Readback } from './readback.ts';
import { createRecorder, type Recorder } from './recorder.ts';
import { createScratch, stepNumbers, stepSlot } from './scratch.ts';
import { knownTuning, measureTuning, type Tuned } from './tune.ts';

export interface WebGpuOptions extends BackendOptions, AdapterOptions {
  /** Instead of asking the browser for one. The backend destroys it in the end. */
  device?: WebGpuDevice;
  /** Instead of what suits the device; `measure` tries on a processor, too, what is otherwise tried on GPUs. */
  tuning?: Partial<Tuning> | 'measure';
}

/** Of 4-bit weights with halves as scales. */
const BYTES_PER_BLOCK = 20;
/** Longest time that one submit should keep the GPU, in ms: beyond it, screens stutter and watchdogs wake. */
const SUBMIT_MS = 100;
/** Multiply-adds a millisecond that any GPU manages, until a step has been timed. */
const FIRST_WORK_PER_MS = 1e6;

/**
 * Creates a backend on a WebGPU device. Rejects with DeviceError `no-adapter` where there is none, `memory` where its working
 * memory does not fit, `unsupported` where the model's shape does not suit the kernels or a shader does not compile.
 */
export async function createWebGpuBackend(options: WebGpuOptions): Promise<Backend> {
  const sizes = sizesOf(options);
  const gpu = options.device ?? (await requestWebGpuDevice(options));
  try {
    return await backendOn(gpu, sizes, options);
  } catch (error) {
    gpu.device.destroy();
    throw error;
  }
}

function sizesOf({ hyper, context, maxBatch }: BackendOptions): Sizes {
  const { dim, headDim, rope } = hyper;
  if (dim % BLOCK !== 0 || headDim % 8 !== 0 || rope.dims % 2 !== 0 || rope.dims > headDim) {
    throw new DeviceError(
      'unsupported',
      `The WebGPU kernels need a width that is a multiple of ${BLOCK} and heads that are a multiple of 8 wide; this model has ${dim} and ${headDim}.`,
    );
  }
  return { hyper, context, maxBatch, actStride: roundUp(Math.max(dim, hyper.heads * headDim, hyper.ffn), BLOCK) };
}

async function backendOn(gpu: WebGpuDevice, sizes: Sizes, options: WebGpuOptions): Promise<Backend> {
  const { device } = gpu;
  const { hyper, maxBatch, context } = sizes;
  const checked = checkedDevice(device);
  const failure = watchFailure(device);
  const scratch = await createScratch(checked, sizes);
  const readback = await createReadback(device);
  const { tuning, pipelines } = await tuned(gpu, checked, sizes, readback, options.tuning);
  const shop: Workshop = { checked, pipelines, scratch, sizes, tuning };
  await Promise.all([
    pipelines.prepare('norm'),
    pipelines.prepare('norm', { ADD: true }),
    pipelines.prepare('rope', { BIAS: hyper.qkvBias }),
    pipelines.prepare('attention'),
    pipelines.prepare('swiglu'),
    pipelines.prepare('merge'),
    pipelines.prepare('summarize'),
    pipelines.prepare('select'),
  ]);

  const arena = createArena(checked, layerBytes(hyper));
  const cache = createCache(checked, context, hyper.headDim, readback);
  const layers = new Map<number, LayerCommands>();
  const passTimes = gpu.device.features.has('timestamp-query') ? createPassTimes(device) : undefined;
  const ahead = createAhead();
  let embedding: Embedding | undefined;
  let head: Head | undefined;
  let workPerMs = FIRST_WORK_PER_MS;
  const mergeGroup = pipelines.group('merge', [stepSlot(scratch, 0), scratch.residual, scratch.partial]);

  const fail = (): DeviceError => new DeviceError('lost', failure.reason ?? 'The GPU stopped computing.');

  const layerOf = (layer: number): LayerCommands => {
    const commands = layers.get(layer);
    if (!commands) throw new DeviceError('unsupported', `This device holds nothing of layer ${layer}.`);
    return commands;
  };

  const headPositions = (step: Step): number => {
    const op = step.ops.find(({ op }) => op === 'head');
    return op?.op === 'head' && op.positions === 'last' ? 1 : step.count;
  };

  const upload = (step: Step): void => {
    const { position, count, residual, add } = step;
    const positions = headPositions(step);
    device.queue.writeBuffer(scratch.step, 0, stepNumbers(position, count, count - positions, positions));
    if (residual)
      device.queue.writeBuffer(scratch.residual, 0, residual as Float32Array<ArrayBuffer>, 0, count * hyper.dim);
    if (add) device.queue.writeBuffer(scratch.partial, 0, add as Float32Array<ArrayBuffer>, 0, count * hyper.dim);
    if (step.best) head?.want(step.best);
  };

  const recordEmbedding = (recorder: Recorder, { ids, count }: Step): void => {
    if (!embedding || !ids) throw new DeviceError('unsupported', 'This device has no embedding to look tokens up in.');
    recorder.mark('embed');
    embedding.record(recorder, ids.subarray(0, count));
  };

  /** All but a look-up of tokens at the begin, whose commands depend on the tokens. */
  const record = (recorder: Recorder, step: Step): void => {
    const { count } = step;
    // A merge waits for the norm that follows it, which does both in one.
    let adding = step.add !== undefined && !beginsWithTokens(step);
    const merge = () => {
      recorder.layer = undefined;
      recorder.mark('merge');
      if (adding) recorder.dispatch(pipelines.get('merge'), mergeGroup, rowWorkgroups(count, hyper.dim));
      adding = false;
    };
    step.ops.forEach((op, i) => {
      if (op.op === 'embed') {
        adding = false;
        if (i > 0) recordEmbedding(recorder, step);
      } else if (op.op === 'merge') {
        merge();
        adding = true;
      } else if (op.op === 'head') {
        if (!head) throw new DeviceError('unsupported', 'This device has no output head.');
        const positions = op.positions === 'last' ? 1 : count;
        // The head's norm touches its own positions only.
        if (positions < count && (i < step.ops.length - 1 || step.output === 'residual')) merge();
        recorder.layer = undefined;
        recorder.mark('head');
        head.record(recorder, positions, adding);
        if (step.output === 'best') head.select(recorder);
        adding = false;
      } else {
        recorder.layer = op.layer;
        layerOf(op.layer)[op.op](recorder, count, adding);
        adding = false;
      }
    });
    merge();
  };

  /** What to read back. A step without output reads four bytes all the same: its end is the end of its work. */
  const outputOf = (step: Step): { buffer: GPUBuffer; values: number } => {
    if (step.output === 'none') return { buffer: scratch.residual, values: 1 };
    if (step.output !== 'logits' && step.output !== 'best')
      return { buffer: scratch[step.output], values: step.count * hyper.dim };
    if (!head) throw new DeviceError('unsupported', 'This device has no output head.');
    if (step.output === 'best') return { buffer: head.best, values: wordsOfBest(step.best?.top ?? 0) };
    return { buffer: head.logits(), values: headPositions(step) * head.rows };
  };

  const run = async (step: Step): Promise<Float32Array> => {
    if (failure.reason !== undefined) throw fail();
    if (step.count < 1 || step.count > maxBatch || step.position + step.count > context) {
      throw new DeviceError(
        'unsupported',
        `A step of ${step.count} tokens from position ${step.position} does not fit: at most ${maxBatch} at a time, ${context} in all.`,
      );
    }
    upload(step);
    const times = step.timer && passTimes;
    times?.reset();
    const repeatable = step.count === 1 && !times && step.ops.slice(1).every(({ op }) => op !== 'embed');
    const recordNow = () => {
      const recorder = createRecorder(device, Number.POSITIVE_INFINITY);
      record(recorder, step);
      return recorder;
    };
    const before: GPUCommandBuffer[] = [];
    let recorder: Recorder;
    if (repeatable) {
      if (beginsWithTokens(step)) {
        const first = createRecorder(device, Number.POSITIVE_INFINITY);
        recordEmbedding(first, step);
        before.push(first.end().finish());
      }
      recorder = ahead.take(step, recordNow);
    } else {
      ahead.drop();
      recorder = createRecorder(device, step.count === 1 ? Number.POSITIVE_INFINITY : workPerMs * SUBMIT_MS, times);
      if (beginsWithTokens(step)) recordEmbedding(recorder, step);
      record(recorder, step);
    }
    const output = outputOf(step);
    // Creations of this step's shares are judged before their results are believed.
    await checked.settled();
    const encoder = recorder.end();
    const start = performance.now();
    const size = output.values * 4;
    const sources = [{ buffer: output.buffer, offset: 0, size }];
    if (times) sources.push({ buffer: times.buffer, offset: 0, size: times.resolve(encoder) });
    const bytes = await readback.finish(encoder, sources, before, () => ahead.prepare(recordNow));
    if (failure.reason !== undefined) throw fail();
    const spent = performance.now() - start - readback.roundTripMs;
    if (step.count > 1 && spent > 1) workPerMs = recorder.work / spent;
    if (times && step.timer) times.report(bytes.slice(size), step.timer);
    return step.output === 'none' ? new Float32Array(0) : new Float32Array(bytes, 0, output.values);
  };

  return {
    kind: 'webgpu',
    threads: 1,
    description: `WebGPU, ${gpu.name}`,
    timesOperations: passTimes !== undefined,
    lost: failure.lost,
    async addTile(role, data: TileData, layer?: number): Promise<Tile> {
      const { layout, words } = layOut(data);
      const { format, rows, cols } = layout;
      const outside = role === 'embedding' || role === 'head';
      const operations = ['matvec', 'matmul', ...operationsOf(role)] as const;
      const compiled = Promise.all(operations.map((operation) => pipelines.prepare(operation, {}, format)));
      const [allocation] = await Promise.all([arena.allocate(layout.bytes, outside ? undefined : layer), compiled]);
      device.queue.writeBuffer(allocation.chunk.buffer, allocation.at, words);
      if (failure.reason !== undefined) throw fail();
      const tile: GpuTile = { rows, cols, bytes: allocation.bytes, layout, allocation };
      return tile;
    },
    async cutTile(tile, rows, cols) {
      const whole = tile as GpuTile;
      const cutting = cutLayout(whole.layout, rows, cols);
      if (!cutting) return undefined;
      const { layout, copies } = cutting;
      const allocation = await arena.allocate(layout.bytes, whole.allocation.layer);
      // By way of another buffer: both tiles may lie in one, which cannot be copied to itself.
      const between = checked.create('a tile to copy', () =>
        device.createBuffer({
          label: 'cut',
          size: layout.bytes,
          usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
        }),
      );
      const encoder = device.createCommandEncoder();
      for (const { from, to, bytes } of copies) {
        encoder.copyBufferToBuffer(whole.allocation.chunk.buffer, whole.allocation.at + from, between, to, bytes);
      }
      encoder.copyBufferToBuffer(between, 0, allocation.chunk.buffer, allocation.at, layout.bytes);
      device.queue.submit([encoder.finish()]);
      between.destroy();
      if (failure.reason !== undefined) throw fail();
      const made: GpuTile = { rows: layout.rows, cols: layout.cols, bytes: allocation.bytes, layout, allocation };
      return made;
    },
    dropTile: (tile) => arena.release((tile as GpuTile).allocation),
    setLayer(layer: number, share: LayerShare | undefined) {
      ahead.drop();
      layers.get(layer)?.destroy();
      layers.delete(layer);
      const kv = cache.setHeads(layer, share?.kvHeads);
      if (share && kv) layers.set(layer, createLayer(shop, share, kv));
    },
    setEmbedding(tiles: PlacedTile[] | undefined) {
      ahead.drop();
      embedding?.destroy();
      embedding = tiles && createEmbedding(shop, tiles);
    },
    setHead(tiles: PlacedTile[] | undefined, norm: Float32Array | undefined) {
      ahead.drop();
      head?.destroy();
      head = tiles && norm && createHead(shop, tiles, norm);
    },
    run,
    selection: {
      most: MOST_BEST,
      async readLogits() {
        if (!head) throw new DeviceError('unsupported', 'This device has no output head.');
        return new Float32Array(await readback.copy([{ buffer: head.logits(), offset: 0, size: head.rows * 4 }]));
      },
    },
    readKv: (layer, kvHead, from, to) => cache.read(layer, kvHead, from, to),
    async writeKv(layer, kvHead, from, slice) {
      cache.write(layer, kvHead, from, slice);
    },
    memory: () => ({
      weights: arena.bytes(),
      kv: cache.bytes(),
      scratch:
        scratch.bytes() +
        readback.bytes() +
        (head?.bytes() ?? 0) +
        (embedding?.bytes ?? 0) +
        [...layers.values()].reduce((sum, layer) => sum + layer.bytes, 0),
    }),
    destroy: () => device.destroy(),
  };
}

const beginsWithTokens = ({ ops }: Step): boolean => ops[0]?.op === 'embed';

function operationsOf(role: string): ('gated' | 'embed')[] {
  if (role === 'gate' || role === 'up') return ['gated'];
  return role === 'embedding' || role === 'head' ? ['embed'] : [];
}

/** About what a layer takes with 4-bit weights. */
function layerBytes({ dim, heads, kvHeads, headDim, ffn }: HyperParameters): number {
  return (dim * (2 * heads * headDim + 2 * kvHeads * headDim + 3 * ffn) * BYTES_PER_BLOCK) / BLOCK;
}

async function tuned(
  gpu: WebGpuDevice,
  checked: CheckedDevice,
  sizes: Sizes,
  readback: Readback,
  wanted: WebGpuOptions['tuning'],
): Promise<Tuned> {
  const known = knownTuning(gpu);
  if (wanted === 'measure' || (!gpu.software && wanted === undefined)) {
    return measureTuning(checked, sizes, readback, known);
  }
  const tuning = { ...known, ...wanted };
  return { tuning, pipelines: createPipelines(checked, sizes, tuning) };
}

/** Hears of a lost device and of errors that no scope caught: either way no result can be trusted any more. */
function watchFailure(device: GPUDevice): { lost: Promise<string>; readonly reason: string | undefined } {
  let reason: string | undefined;
  const lost = new Promise<string>((resolve) => {
    const report = (words: string) => {
      reason ??= words;
      resolve(reason);
    };
    device.lost.then((info) => report(lossInWords(info)));
    device.addEventListener('uncapturederror', ({ error }) => report(`The GPU reported a fault: ${error.message}`));
  });
  return {
    lost,
    get reason() {
      return reason;
    },
  };
}

function lossInWords(info: GPUDeviceLostInfo): string {
  if (info.reason === 'destroyed') return 'The GPU device was closed.';
  return `The browser lost the GPU (a driver restart, sleep or too much load): ${info.message || 'it gave no reason'}`;
}
