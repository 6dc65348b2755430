/** A loaded model: how it comes about, on one device or many, and how it lives on when a device fails. */
import type { LoadInfo, Migration, Plan, PlanPreview } from '../api.ts';
import { DeviceError } from '../device/backend.ts';
import type { BackendChooser, BackendKind } from '../device/choose-backend.ts';
import type { MemoryLimit } from '../device/environment.ts';
import { codeOf, HostError, messageOf } from '../device/errors.ts';
import { createMemberService } from '../device/member/service.ts';
import { toWireModel } from '../device/member/wire-model.ts';
import { createOwnBackend } from '../device/own-backend.ts';
import type { MakeBackend, Measurement } from '../device/probe.ts';
import { createPartReader } from '../device/store/reader.ts';
import type { ShardStore } from '../device/store/store.ts';
import { MeshError } from '../mesh/errors.ts';
import { RatiosError } from '../plan/ratios.ts';
import { shapeOf } from '../plan/shape.ts';
import { contextSize } from './context-size.ts';
import type { Emit, LoadRequest, ModelPlace } from './engine-types.ts';
import { createLoop, type Loop } from './generate.ts';
import { type Conductor, createConductor } from './mesh/conductor.ts';
import { createHealer } from './mesh/heal.ts';
import { type Hub, OWN } from './mesh/hub.ts';
import { devicesOf, needsOf, planFor, previewOf } from './mesh/layout.ts';
import { createMoves, type Moves } from './mesh/moves.ts';
import { createSettler } from './mesh/settle.ts';
import { createSpotCheck } from './mesh/spot-check.ts';
import type { OpenedModel } from './open-model.ts';

export interface Session {
  readonly model: OpenedModel;
  readonly loop: Loop;
  readonly conductor: Conductor;
  readonly moves: Moves;
  readonly memoryLimit: number;
  /** The devices time every operation. */
  readonly profiling: boolean;
  /** Changes with the plan, and when another backend takes over. */
  info: LoadInfo;
  readonly measurement: Measurement | undefined;
  /** No device is left: the session is of no more use. */
  lost: boolean;
  /** Tokens generated since the load. */
  tokens: number;
  /** The last forward pass, and tokens that have gone through the model since the load. */
  readonly progress: { readonly position: number; readonly batchSize: number; readonly tokens: number };
  preview(ratios: string): PlanPreview;
  previewMove(move: Migration): PlanPreview;
  close(): Promise<void>;
}

/** What a load may use; `EnginePorts` and the engine's own parts. */
export interface SessionParts {
  hub: Hub;
  emit: Emit;
  openModel(place: ModelPlace, signal: AbortSignal): Promise<OpenedModel>;
  /** Makers of both backends under the request's conditions. */
  backends: Record<BackendKind, MakeBackend>;
  chooser: BackendChooser;
  /** Resolves to undefined where nothing can be stored. */
  openStore(): Promise<ShardStore | undefined>;
  memoryLimit: MemoryLimit;
  /** Another model is there still. */
  replaces: boolean;
  /** Called when everything but memory is settled: whoever holds another model gives it up. */
  makeRoom(): Promise<void>;
  onState(state: 'prefill' | 'decode'): void;
  /** Another device computes from here on. */
  onRecovered(): void;
  /** Aborts a recovery, whose session is lost then. */
  recoverySignal(): AbortSignal;
}

/**
 * Positions that go through a member together. More reads the weights fewer times, but takes longer to stop, and memory
 * for the activations and, when evaluating, for as many rows of logits.
 */
const BATCH = 64;
/** Fewer bytes than half floats, less error, and no overflow: docs/mesh.md has the figures. */
const DEFAULT_WIRE = 'q15';
const MEASURING = 'Measuring what this device can do.';

/** Loads a model. Rejects with ModelError, DeviceError, RatiosError, MeshError or the signal's reason. */
export async function loadSession(request: LoadRequest, parts: SessionParts, signal: AbortSignal): Promise<Session> {
  const { hub, emit } = parts;
  const { devices } = hub;
  const log = (level: 'info' | 'warn', text: string, code?: string): void =>
    emit('log', { level, text, ...(code ? { code } : {}) });
  const progress = (phase: string, text: string, loaded = 0, total = 0): void =>
    emit('progress', { phase, text, loaded, total });

  const lends = request.lend !== false;
  progress('header', `Reading the header of ${nameOf(request.place)}.`);
  const model = await parts.openModel(request.place, signal);
  const { hyper } = model.catalogue;

  const notes: string[] = [...model.notes];
  const own = createOwnBackend({
    ...{ wanted: request.backend, chooser: parts.chooser, make: parts.backends },
    note: (text) => notes.push(text),
  });
  async function measure(): Promise<void> {
    if (!lends) return;
    progress('probe', MEASURING);
    notes.push(...(await own.choose(hyper)).notes);
  }
  // Weights arrive meanwhile; but a model that is there is not given up for one that cannot be computed here.
  const measuring = measure();
  // Whatever waits for devices or weights ends with the measurement's failure.
  const unmeasurable = new AbortController();
  measuring.catch((reason) => unmeasurable.abort(reason));
  const until = AbortSignal.any([signal, unmeasurable.signal]);
  if (parts.replaces) await measuring;
  until.throwIfAborted();

  const here = () =>
    (lends ? [OWN] : []).concat(
      devices
        .all()
        .flatMap(({ index, about, paused }) =>
          index !== OWN && about && !paused && !hub.distrusted.has(index) ? [index] : [],
        ),
    );
  const candidates = () => (session ? here().filter(healer.isUsable) : here());
  let session: Session | undefined;
  const first = await planWhenReady(request.ratios, here);
  const limitOf = (device: number): MemoryLimit | undefined => {
    if (device === OWN) return parts.memoryLimit;
    const about = devices.get(device)?.about;
    return about && { bytes: about.memoryLimit, hard: true };
  };
  const sized = contextSize(hyper, request.context, needsOf(model.catalogue, first, limitOf));
  const { context } = sized;
  notes.push(...sized.notes);
  until.throwIfAborted();
  await parts.makeRoom();

  const spotCheck = request.verify
    ? createSpotCheck({
        ...{ catalogue: model.catalogue, context, batch: BATCH, wire: request.wire ?? DEFAULT_WIRE },
        reader: createPartReader({ source: model.file.source, digest: model.file.digest, store: undefined }),
        makeBackend: parts.backends.wasm,
        plan: () => conductor.plan,
        onWrong(error) {
          if (error.device !== undefined) hub.distrusted.add(error.device);
          hub.onBroken?.(error, error.device);
        },
      })
    : undefined;
  if (lends) await hub.setOwn(ownMember());
  let progressed = { position: 0, batchSize: 0, tokens: 0 };
  const conductor = createConductor({
    model: toWireModel(model.file, model.catalogue, originOf(request.place, model)),
    ...{ hyper, devices, context, batch: BATCH },
    wire: request.wire ?? DEFAULT_WIRE,
    verify: request.verify ?? false,
    profile: request.profile ?? false,
    onPlan(plan) {
      if (session) session.info = { ...session.info, ...infoOf(plan) };
      if (request.verify) noteUnchecked(plan);
      emit('plan', plan);
    },
    onForward(position, batchSize) {
      progressed = { position, batchSize, tokens: progressed.tokens + batchSize };
      moves.tick();
    },
  });
  const ended = new AbortController();
  const healer = createHealer({
    ...{ hub, conductor, hyper, own, candidates: here, log },
    renewOwn: () => hub.setOwn(ownMember()),
  });
  hub.onBroken = (error, device, epoch) => {
    const { plan } = conductor;
    if (!plan || (device !== undefined && !devicesOf(plan).includes(device))) return;
    // Said of a plan that holds no more.
    if (epoch !== undefined && epoch < plan.epoch) return;
    if (device !== undefined && !devices.get(device)) healer.noteLoss(device, error);
    const failure = new DeviceError(error.code, error.message, { cause: error });
    conductor.fail(failure);
    // At once, also while nobody waits for an answer: the next one shall not have to.
    if (session) heal(failure).catch(healFailed);
  };
  const healFailed = (reason: unknown): void => {
    if (!ended.signal.aborted) log('warn', messageOf(reason), codeOf(reason));
  };
  const moves = createMoves({
    ...{ conductor, catalogue: model.catalogue, context, emit, devices: candidates, room: limitOf },
    wanted: request.ratios,
  });
  const settle = createSettler({
    ...{ moves, hyper, devices: candidates, plan: () => conductor.plan },
    isPaused: (device) => devices.get(device)?.paused ?? false,
    isBusy: () => session === undefined || session.lost || conductor.broken,
    signal: ended.signal,
    onFailure: (error) => log('warn', `The devices could not be rearranged: ${messageOf(error)}`, codeOf(error)),
  });
  const watching = hub.watch(() => {
    reportProgress();
    settle();
  });

  async function close(): Promise<void> {
    ended.abort(new HostError('aborted', 'The model was unloaded.'));
    watching();
    hub.onBroken = undefined;
    conductor.close();
    await hub.dropOwn();
    spotCheck?.close();
  }

  try {
    // The measurement first, as its failure is the reason of the other.
    await Promise.all([measuring, start(first)]);
  } catch (error) {
    await close();
    throw error;
  }
  const made: Session = {
    ...{ model, conductor, moves, memoryLimit: parts.memoryLimit.bytes, lost: false, tokens: 0, close },
    profiling: request.profile ?? false,
    get measurement() {
      return own.measurement;
    },
    get progress() {
      return progressed;
    },
    preview: (ratios) => previewOf(model.catalogue, moves.foreseeRatios(ratios), context),
    previewMove: (move) => previewOf(model.catalogue, moves.foresee(move), context),
    info: {
      model: model.name,
      architecture: hyper.architecture,
      layers: hyper.layers,
      shape: shapeOf(hyper),
      context,
      bytes: model.file.source.size,
      ...infoOf(conductor.plan ?? first),
      notes,
    },
    loop: createLoop({
      tokenizer: model.tokenizer,
      template: model.template,
      runner: conductor.runner,
      recover,
      onState(state) {
        if (state === 'prefill') moves.rest();
        parts.onState(state);
      },
    }),
  };
  session = made;
  progress('ready', `${model.name} is ready.`, model.file.source.size, model.file.source.size);
  return made;

  /** Whose answers this page cannot check, although it was asked to. */
  function noteUnchecked(plan: Plan): void {
    const unchecked = plan.stages
      .map(({ members }) => members.map(({ device }) => device))
      .filter((stage) => !stage.includes(OWN))
      .flat();
    if (unchecked.length > 0)
      log('info', `Only devices that share layers with this page are checked: not ${unchecked.join(', ')}.`, 'verify');
  }

  /** What of LoadInfo follows from plan and backend. */
  function infoOf(plan: Plan): Pick<LoadInfo, 'plan' | 'backend' | 'threads'> {
    const { kind = 'wasm', threads = 0 } = own.measurement ?? {};
    return { plan, backend: kind, threads };
  }

  /** The first plan: this device alone, or what the ratios say as soon as there are devices enough. */
  async function planWhenReady(ratios: string | undefined, present: () => number[]): Promise<Plan> {
    for (;;) {
      const here = present();
      try {
        if (here.length > 0) return planFor(ratios ?? '1', hyper, here, 1);
      } catch (error) {
        if (!(error instanceof RatiosError) || error.code !== 'devices') throw error;
      }
      const wanted = ratios === undefined ? 'a device that lends itself' : `enough devices for ${ratios}`;
      progress('devices', `Waiting for ${wanted}: ${here.length} here so far. Open the room's link on another device.`);
      await hub.change(until);
    }
  }

  function ownMember() {
    return createMemberService({
      self: OWN,
      async about() {
        const { measurement } = await own.choose(hyper);
        const { kind, description, threads, gmacs, readbackMs } = measurement;
        const memoryLimit = Math.round(parts.memoryLimit.bytes);
        return { backend: kind, description, threads, gmacs, readbackMs, memoryLimit };
      },
      async makeBackend(options) {
        await measuring;
        ended.signal.throwIfAborted();
        return own.make(options);
      },
      openStore: parts.openStore,
      openServerFiles: async () => model.file.source,
      openLocally: () => model.file.source,
      watcher: spotCheck,
    });
  }

  /** Makes the first plan hold, through devices that go away meanwhile and a GPU that lacks memory. */
  async function start(first: Plan): Promise<void> {
    let plan = first;
    for (;;) {
      try {
        if (conductor.broken) await conductor.restart(plan, until);
        else await conductor.apply(plan, { signal: until });
        return;
      } catch (error) {
        until.throwIfAborted();
        plan = await planAfter(error, plan);
      }
    }
  }

  /** What to try when the first plan could not be brought about; rejects with the error where that is nothing. */
  async function planAfter(error: unknown, plan: Plan): Promise<Plan> {
    const epoch = plan.epoch + 1;
    const { device = OWN } = error instanceof MeshError ? error : {};
    if (device !== OWN) {
      if (devices.get(device)) throw error;
      progress('devices', `Device ${device} went away while it loaded. ${messageOf(error)}`);
      const next = { ...(await planWhenReady(request.ratios, here)), epoch };
      // Other devices may have less room: said now, and not when they have loaded most of it.
      contextSize(hyper, context, needsOf(model.catalogue, next, limitOf));
      return next;
    }
    // Memory that a GPU lacks, the computer may have; but whoever asked for the GPU by name is told.
    if (own.measurement?.kind !== 'webgpu' || codeOf(error) !== 'memory' || request.backend === 'webgpu') throw error;
    notes.push(`WASM computes, since WebGPU could not take the model: ${messageOf(error)}`);
    await own.use('wasm');
    return { ...plan, epoch };
  }

  function reportProgress(): void {
    if (session) return;
    const sum = { stored: 0, fetched: 0, total: 0 };
    for (const { progress: one } of devices.all()) {
      sum.stored += one?.stored ?? 0;
      sum.fetched += one?.fetched ?? 0;
      sum.total += one?.total ?? 0;
    }
    const measuring = lends && !own.measurement ? ` ${MEASURING}` : '';
    if (sum.total > 0) progress('weights', weightsText(sum) + measuring, sum.stored + sum.fetched, sum.total);
  }

  function heal(failure: DeviceError): Promise<void> {
    return healer.heal(failure, AbortSignal.any([ended.signal, parts.recoverySignal()])).then(() => {
      if (session) session.info = { ...session.info, ...infoOf(conductor.plan as Plan) };
      parts.onRecovered();
      settle();
    });
  }

  /** Called by the generation loop; gives a runner with an empty KV cache, or rejects when nothing is left to try. */
  async function recover(failure: DeviceError, given: number) {
    const current = session as Session;
    current.lost = true;
    // Numbers that are none break no plan by themselves; a plan that was repaired meanwhile needs nothing more.
    if (conductor.broken || failure.code === 'wrong-numbers') await heal(failure);
    current.lost = false;
    settle();
    // Whoever asked for the comparison wants to know of a difference, and not that the answer went on.
    if (failure.code === 'diverged') throw failure;
    // What was given of the answer cannot be taken back, and may be wrong; without any of it the answer begins anew.
    if (failure.code === 'wrong-share' && given > 0) {
      const text = `${failure.message} What you have of this answer may be wrong: ask again.`;
      throw new DeviceError(failure.code, text, { cause: failure });
    }
    return conductor.runner;
  }
}

/** Where devices get the model's bytes: from the server that they share with the host, from an address, or from the host. */
function originOf(place: ModelPlace, model: OpenedModel): Parameters<typeof toWireModel>[2] {
  if ('name' in place) return { kind: 'server', files: [model.file.source.name] };
  return 'url' in place ? { kind: 'url', url: place.url } : { kind: 'host' };
}

function nameOf(place: ModelPlace): string {
  if ('name' in place) return place.name;
  return 'url' in place ? place.url : place.file.name;
}

function weightsText({ stored, fetched, total }: { stored: number; fetched: number; total: number }): string {
  const mb = (bytes: number): string => (bytes / 1e6).toFixed(total < 1e7 ? 1 : 0);
  const from = stored > 0 ? ` (${mb(stored)} MB of it kept in this browser)` : '';
  return `Loading weights: ${mb(stored + fetched)} of ${mb(total)} MB${from}.`;
}
