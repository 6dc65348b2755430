/** In the page: how the WebGPU backend behaves around the arithmetic. Every function returns plain data to the test. */
import { type Backend, DeviceError, type Step, type StepOp } from '../../../web/device/backend.ts';
import { soloLayers } from '../../../web/device/executor.ts';
import { createWebGpuBackend, requestWebGpuDevice, type WebGpuOptions } from '../../../web/device/webgpu/index.ts';
import { type RandomShape, randomModel, randomTile } from '../../kernels/random-model.ts';

const SHAPE: RandomShape = { layers: 2, dim: 64, heads: 4, kvHeads: 2, headDim: 32, ffn: 96, vocab: 70 };
const CONTEXT = 48;

const model = randomModel(SHAPE, ['q4'], 1, 3);
const wholeModel: StepOp[] = [{ op: 'embed' }, ...soloLayers([0, SHAPE.layers]), { op: 'head', positions: 'last' }];

async function makeBackend(options: Partial<WebGpuOptions> = {}): Promise<Backend> {
  const backend = await createWebGpuBackend({ hyper: model.hyper, context: CONTEXT, maxBatch: 8, ...options });
  await model.install(backend);
  return backend;
}

const step = (position: number, count: number): Step => {
  const ids = Uint32Array.from({ length: count }, (_, i) => (position + i) % SHAPE.vocab);
  return { position, count, ids, ops: wholeModel, output: 'logits' };
};

/** What a rejection was: the code and the words of a DeviceError, or what else came. */
async function failureOf(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  return promise.then(
    () => ({ code: 'none', message: 'it resolved' }),
    (error: unknown) =>
      error instanceof DeviceError
        ? { code: error.code, message: error.message }
        : { code: 'not a DeviceError', message: String(error) },
  );
}

/**
 * Submits, maps with their bytes and dispatches of ten decoded tokens with their best 40 candidates. Empty submits are nudges and
 * count apart. `late`: dispatches that a token recorded before its submit; the others were ready.
 */
export async function countCalls() {
  const calls = { submits: 0, nudges: 0, maps: 0, mappedBytes: 0, dispatches: 0, late: [] as number[] };
  let atBegin = 0;
  const { submit } = GPUQueue.prototype;
  const { mapAsync } = GPUBuffer.prototype;
  const { dispatchWorkgroups } = GPUComputePassEncoder.prototype;
  const backend = await makeBackend();
  await backend.run(step(0, 5));
  GPUQueue.prototype.submit = function (buffers) {
    const list = [...buffers];
    calls[list.length === 0 ? 'nudges' : 'submits']++;
    if (list.length > 0) calls.late.push(calls.dispatches - atBegin);
    return submit.call(this, list);
  };
  GPUBuffer.prototype.mapAsync = function (...args) {
    calls.maps++;
    calls.mappedBytes += args[2] ?? this.size;
    return mapAsync.apply(this, args);
  };
  GPUComputePassEncoder.prototype.dispatchWorkgroups = function (...args) {
    calls.dispatches++;
    return dispatchWorkgroups.apply(this, args);
  };
  try {
    for (let i = 0; i < 10; i++) {
      atBegin = calls.dispatches;
      await backend.run({ ...step(5 + i, 1), output: 'best', best: { top: 40, temperature: 1 } });
    }
  } finally {
    Object.assign(GPUQueue.prototype, { submit });
    Object.assign(GPUBuffer.prototype, { mapAsync });
    Object.assign(GPUComputePassEncoder.prototype, { dispatchWorkgroups });
    backend.destroy();
  }
  return calls;
}

/** Logits of a token after shares changed while its commands were recorded already, and of the same token recorded anew. */
export async function changedShares() {
  const backend = await makeBackend();
  await backend.run(step(0, 5));
  const logits = async (position: number) => [...(await backend.run(step(position, 1)))];
  const before = [await logits(5), await logits(6), await logits(7)];
  await randomModel(SHAPE, ['q4'], 1, 4).install(backend);
  const after = await logits(8);
  await backend.run({ ...step(8, 1), output: 'residual' });
  const again = await logits(8);
  backend.destroy();
  return { after, again, before: before[2]! };
}

/** Loses the device while a step runs, and asks for more afterwards. */
export async function loseDevice() {
  const device = await requestWebGpuDevice();
  const backend = await makeBackend({ device });
  const running = failureOf(backend.run(step(0, 5)));
  device.device.destroy();
  return {
    running: await running,
    lost: await backend.lost,
    run: await failureOf(backend.run(step(5, 1))),
    readKv: await failureOf(backend.readKv(0, 0, 0, 1)),
    addTile: await failureOf(backend.addTile('q', randomTile('q4', 32, 32, Math.random))),
  };
}

/** A mistake that no error scope catches must end the backend, not pass. */
export async function uncapturedError() {
  const device = await requestWebGpuDevice();
  const backend = await makeBackend({ device });
  const buffer = device.device.createBuffer({ size: 16, usage: GPUBufferUsage.COPY_DST });
  device.device.queue.writeBuffer(buffer, 8, new Uint32Array(4));
  const lost = await backend.lost;
  const run = await failureOf(backend.run(step(0, 1)));
  backend.destroy();
  return { lost, run };
}

/** The GPU has no memory for the next tile. */
export async function outOfMemory() {
  const device = await requestWebGpuDevice({ defaultLimits: true });
  const backend = await makeBackend({ device });
  const tooLarge = failureOf(
    backend.addTile('head', {
      ...{ rows: 2 ** 18, cols: 1024, kind: 'q8', block: 32 },
      ...{ quants: new Int8Array(0), scales: new Float32Array(0) },
    }),
  );
  const { pushErrorScope, popErrorScope } = device.device;
  const scopes: GPUErrorFilter[] = [];
  Object.assign(device.device, {
    pushErrorScope: (filter: GPUErrorFilter) => {
      scopes.push(filter);
      pushErrorScope.call(device.device, filter);
    },
    popErrorScope: () => {
      const error = popErrorScope.call(device.device);
      return scopes.pop() === 'out-of-memory' ? Promise.resolve(new GPUOutOfMemoryError('there is none left')) : error;
    },
  });
  // Larger than what is free in the chunk that the model is in.
  const large = { rows: 8192, cols: 1024, kind: 'f32', values: new Float32Array(8192 * 1024) } as const;
  const noMemory = await failureOf(backend.addTile('q', large));
  Object.assign(device.device, { pushErrorScope, popErrorScope });
  const after = await backend.run(step(0, 2));
  const usable = after.every(Number.isFinite);
  backend.destroy();
  return { tooLarge: await tooLarge, noMemory, usable };
}

/** KV heads that stay through a change of shares keep their contents; a slice written is the slice read. */
export async function keepKv() {
  const backend = await makeBackend();
  await backend.run(step(0, 7));
  const before = [await backend.readKv(0, 0, 0, 7), await backend.readKv(0, 1, 0, 7)];
  const memory = backend.memory();
  const none = { q: [], k: [], v: [], o: [], gate: [], up: [], down: [] };
  // Swapped and grown, then shrunk: only their places in the storage change.
  backend.setLayer(0, { qToKv: [], kvHeads: [5, 1, 0], ffn: 0, tiles: none, vectors: {} });
  const grown = backend.memory();
  const swapped = [await backend.readKv(0, 0, 0, 7), await backend.readKv(0, 1, 0, 7)];
  backend.setLayer(0, { qToKv: [], kvHeads: [1], ffn: 0, tiles: none, vectors: {} });
  const shrunk = await backend.readKv(0, 1, 0, 7);
  const gone = await failureOf(backend.readKv(0, 0, 0, 7));
  await backend.writeKv(0, 1, 20, before[0]!);
  const written = await backend.readKv(0, 1, 20, 27);
  backend.setLayer(0, undefined);
  const dropped = backend.memory();
  backend.destroy();
  return {
    swapped: JSON.stringify(swapped) === JSON.stringify(before),
    shrunk: JSON.stringify(shrunk) === JSON.stringify(before[1]),
    written: JSON.stringify(written) === JSON.stringify(before[0]),
    notZero: before[0]!.k.some((value) => value !== 0),
    gone,
    kv: [memory.kv, grown.kv, dropped.kv],
  };
}

/** The same tokens in one step or one at a time give the same logits, and so does a share without heads or FFN. */
export async function stepsAgree() {
  const backend = await makeBackend();
  const one = Float32Array.from(await backend.run(step(0, 6)));
  const silent = await backend.run({ ...step(0, 2), output: 'none' });
  let last: Float32Array = silent;
  for (let position = 2; position < 6; position++) last = await backend.run(step(position, 1));
  const difference = Math.max(...last.map((value, i) => Math.abs(value - one[i]!)));
  const partial = async (op: StepOp) => [
    ...(await backend.run({ position: 6, count: 1, ops: [op], output: 'partial' })),
  ];
  const none = { q: [], k: [], v: [], o: [], gate: [], up: [], down: [] };
  backend.setLayer(0, { qToKv: [], kvHeads: [], ffn: 0, tiles: none, vectors: {} });
  const empty = [...(await partial({ op: 'attention', layer: 0 })), ...(await partial({ op: 'ffn', layer: 0 }))];
  backend.destroy();
  return {
    silent: silent.length,
    difference,
    largest: Math.max(...one.map(Math.abs)),
    empty: empty.every((value) => value === 0),
  };
}

/** Why there is no device, for the person. */
export async function noAdapter() {
  const off = await failureOf(createWebGpuBackend({ hyper: model.hyper, context: 8, maxBatch: 1, noWebGpu: true }));
  const { requestAdapter } = GPU.prototype;
  GPU.prototype.requestAdapter = async () => null;
  try {
    return { off, none: await failureOf(requestWebGpuDevice()) };
  } finally {
    Object.assign(GPU.prototype, { requestAdapter });
  }
}

/** Time of a step that computes little, in ms: the median of ten, after two. */
export async function roundTrip() {
  const backend = await makeBackend();
  const times: number[] = [];
  for (let i = 0; i < 12; i++) {
    const start = performance.now();
    await backend.run({ position: 0, count: 1, ids: Uint32Array.of(1), ops: [{ op: 'embed' }], output: 'residual' });
    if (i >= 2) times.push(performance.now() - start);
  }
  backend.destroy();
  return times.sort((a, b) => a - b)[5]!;
}

/** Bytes of weights after tiles went: their room is used again, empty chunks are given back. */
export async function tileMemory() {
  const backend = await createWebGpuBackend({ hyper: model.hyper, context: 8, maxBatch: 1 });
  const tile = () => backend.addTile('q', randomTile('q4', 64, 64, Math.random));
  const tiles = await Promise.all([tile(), tile(), tile()]);
  const [first, second, third] = tiles;
  const full = backend.memory().weights;
  backend.dropTile(first!);
  backend.dropTile(third!);
  const again = await Promise.all([tile(), tile()]);
  const refilled = backend.memory().weights;
  for (const one of [second!, ...again]) backend.dropTile(one);
  const empty = backend.memory().weights;
  backend.destroy();
  return { tileBytes: first!.bytes, full, refilled, empty };
}
