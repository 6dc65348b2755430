/** A loaded model: how it comes about, and how it lives on when its device fails. */
import type { LoadInfo, Plan } from '../api.ts';
import { DeviceError } from '../device/backend.ts';
import { deviceBytes } from '../device/loader/tile-size.ts';
import type { MakeBackend, Measurement } from '../device/probe.ts';
import { createPartReader } from '../device/store/reader.ts';
import type { ShardStore } from '../device/store/store.ts';
import { parseRatios } from '../plan/ratios.ts';
import { makePlan } from '../plan/split.ts';
import type { BackendChooser, BackendKind } from '../device/choose-backend.ts';
import { contextSize, type MemoryLimit } from './context-size.ts';
import type { Emit, LoadRequest, ModelPlace } from './engine-types.ts';
import { codeOf, messageOf } from '../device/errors.ts';
import { createLoop, type Loop } from './generate.ts';
import { type LocalDevice, startLocalDevice } from './local-device.ts';
import type { OpenedModel } from './open-model.ts';

export interface Session {
  readonly model: OpenedModel;
  readonly loop: Loop;
  readonly memoryLimit: number;
  /** These change when another device takes over. */
  info: LoadInfo;
  device: LocalDevice;
  measurement: Measurement;
  /** No device is left: the session is of no more use. */
  lost: boolean;
  /** Tokens generated since the load. */
  tokens: number;
}

/** What a load may use; `EnginePorts` and the engine's own parts. */
export interface SessionParts {
  emit: Emit;
  openModel(place: ModelPlace, signal: AbortSignal): Promise<OpenedModel>;
  /** Makers of both backends under the request's conditions. */
  backends: Record<BackendKind, MakeBackend>;
  chooser: BackendChooser;
  /** Resolves to undefined where nothing can be stored. */
  openStore(): Promise<ShardStore | undefined>;
  memoryLimit: MemoryLimit;
  /** Called when everything but memory is settled: whoever holds another model gives it up. */
  makeRoom(): void;
  onState(state: 'prefill' | 'decode'): void;
  /** Another device computes from here on. */
  onRecovered(): void;
  /** Aborts a recovery, whose session is lost then. */
  recoverySignal(): AbortSignal;
}

type StartDevice = (kind: BackendKind, signal: AbortSignal) => Promise<LocalDevice>;

/** Loads a model. Rejects with ModelError, DeviceError, RatiosError or the signal's reason. */
export async function loadSession(request: LoadRequest, parts: SessionParts, signal: AbortSignal): Promise<Session> {
  const progress = (phase: string, text: string, loaded = 0, total = 0): void =>
    parts.emit('progress', { phase, text, loaded, total });

  progress('header', `Reading the header of ${nameOf(request.place)}.`);
  const model = await parts.openModel(request.place, signal);
  const { source, digest } = model.file;
  const { hyper } = model.catalogue;
  const plan = makePlan(parseRatios(request.ratios ?? '1', { devices: 1, layers: hyper.layers }), hyper, [0], 1);
  const { context, notes } = contextSize(hyper, request.context, weightBytes(model), parts.memoryLimit);

  progress('probe', 'Measuring what this device can do.');
  const choice = await parts.chooser.choose(request.backend, hyper);
  const reader = createPartReader({ source, digest, store: await parts.openStore() });
  signal.throwIfAborted();
  parts.makeRoom();

  const start: StartDevice = (kind, from) =>
    startLocalDevice({
      make: parts.backends[kind],
      catalogue: model.catalogue,
      share: shareOf(plan),
      ...{ reader, context, signal: from },
      onProgress: ({ stored, fetched, total }) =>
        progress('weights', weightsText(stored, fetched, total), stored + fetched, total),
    });
  let { kind, measurement } = choice;
  let device: LocalDevice;
  try {
    device = await start(kind, signal);
  } catch (error) {
    if (kind !== 'webgpu' || request.backend === 'webgpu' || !(error instanceof DeviceError)) throw error;
    notes.push(`WASM computes, since WebGPU could not take the model: ${error.message}`);
    kind = 'wasm';
    measurement = await parts.chooser.measure(kind);
    device = await start(kind, signal);
  }

  const session: Session = {
    ...{ model, device, measurement, lost: false, tokens: 0, memoryLimit: parts.memoryLimit.bytes },
    info: {
      model: model.name,
      architecture: hyper.architecture,
      layers: hyper.layers,
      context,
      backend: device.backend.kind,
      threads: device.backend.threads,
      bytes: source.size,
      plan,
      notes: [...model.notes, ...choice.notes, ...notes],
    },
    loop: createLoop({
      tokenizer: model.tokenizer,
      template: model.template,
      runner: device.runner,
      recover: recovery(() => session, parts, start),
      onState: parts.onState,
    }),
  };
  progress('ready', `${model.name} is ready.`, source.size, source.size);
  return session;
}

/**
 * What to do when a device fails: the same backend once more, then WASM, then nothing. Only a device that went away is
 * given a second chance, not one that computes wrong numbers or has no memory left.
 */
function recovery(sessionOf: () => Session, parts: SessionParts, start: StartDevice) {
  const log = (level: 'info' | 'warn', text: string, code?: string): void =>
    parts.emit('log', { level, text, ...(code ? { code } : {}) });
  let again = true;
  return async (failure: DeviceError) => {
    const session = sessionOf();
    const failed = session.device.backend;
    log('warn', `${failed.description} failed: ${failure.message}`, failure.code);
    failed.destroy();
    session.lost = true;
    const order: BackendKind[] = again && failure.code === 'lost' ? [failed.kind] : [];
    if (failed.kind === 'webgpu') order.push('wasm');
    again = false;
    const signal = parts.recoverySignal();
    let last: unknown = failure;
    for (const kind of order) {
      try {
        session.device = await start(kind, signal);
        session.measurement = await parts.chooser.measure(kind);
        const { backend, runner } = session.device;
        session.lost = false;
        session.info = { ...session.info, backend: backend.kind, threads: backend.threads };
        log('info', `The conversation goes on with ${backend.description}.`);
        parts.onRecovered();
        return runner;
      } catch (error) {
        signal.throwIfAborted();
        last = error;
        log('warn', `${kind === 'wasm' ? 'WASM' : 'WebGPU'} could not take over: ${messageOf(error)}`, codeOf(error));
      }
    }
    throw new DeviceError(failure.code, `This device can compute no more: ${messageOf(last)} Load the model again.`, {
      cause: failure,
    });
  };
}

/** The only device's share: all of it. */
function shareOf(plan: Plan) {
  const stage = plan.stages[0]!;
  const { qHeads, ffn, vocab } = stage.members[0]!;
  return { layers: stage.layers, qHeads, ffn, vocab, embedding: true, head: true };
}

function weightBytes(model: OpenedModel): number {
  let bytes = 0;
  for (const { type, rows, cols } of model.file.tensors.values()) bytes += deviceBytes(type, rows * cols);
  return bytes;
}

function nameOf(place: ModelPlace): string {
  if ('name' in place) return place.name;
  return 'url' in place ? place.url : place.file.name;
}

function weightsText(stored: number, fetched: number, total: number): string {
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(total < 1e7 ? 1 : 0);
  const from = stored > 0 ? ` (${mb(stored)} MB of it kept in this browser)` : '';
  return `Loading weights: ${mb(stored + fetched)} of ${mb(total)} MB${from}.`;
}
