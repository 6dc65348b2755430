/**
 * What a device does for its host: knows the model, loads the share it is assigned, computes with it, gives and takes
 * KV, and says what went wrong. The host's own device is one of these too, over a link within its Worker.
 */
import {
  type About,
  type Assignment,
  parseToDevice,
  type ToDevice,
  type ToHost,
  type WireModel,
} from '../../mesh/control.ts';
import { MeshError } from '../../mesh/errors.ts';
import { FrameError } from '../../mesh/frames.ts';
import type { Link } from '../../mesh/link.ts';
import { type ByteSource, type Catalogue, ModelError } from '../../model/types.ts';
import { type Backend, type BackendOptions, DeviceError } from '../backend.ts';
import { createExecutor, type Executor } from '../executor.ts';
import { loadMissing } from '../loader/load.ts';
import { tilesOf } from '../loader/loaded.ts';
import type { LoadedChange, Share } from '../loader/types.ts';
import { createWarmTiles, type WarmTiles } from '../loader/warm.ts';
import type { Watcher } from '../member.ts';
import { restAfter } from '../pace.ts';
import { createPartReader } from '../store/reader.ts';
import type { ShardStore } from '../store/store.ts';
import type { StreamingPartReader } from '../store/types.ts';
import { createTurns } from '../turns.ts';
import { createHostSource, type HostSource } from './host-source.ts';
import { BulkSlot, bulkAssembler, decodeKv, encodeKv, KV_HEADER_BYTES, type KvBlock } from './kv-copy.ts';
import { createOperationProfile } from './operation-profile.ts';
import { type Carried, createPassLog } from './pass-log.ts';
import { type Held, type RunStats, type StageRun, startStageRun } from './stage-run.ts';
import { createUrlSource } from './url-source.ts';
import { fromWireModel } from './wire-model.ts';

/** How long an assignment waits for links to the devices it names. */
const LINK_PATIENCE_MS = 20_000;
/** How often a device that computes says how it fares. */
const STATS_INTERVAL_MS = 1_000;
/** How often a device that loads says how far it is. */
const PROGRESS_INTERVAL_MS = 100;
/** Rest after KV that was sent while tokens flow: their sums go through the same network and processors. */
const KV_REST_MS_PER_MIB = 50;

export interface MemberServiceOptions {
  self: number;
  /** Measures this device; asked once. */
  about(): Promise<About>;
  makeBackend(options: BackendOptions): Promise<Backend>;
  openStore(): Promise<ShardStore | undefined>;
  /** Opens the files of a model among the server's. */
  openServerFiles(files: string[]): Promise<ByteSource>;
  /** Opens a model at an address; without it the host is asked for all bytes. */
  openUrl?(url: string): Promise<ByteSource>;
  /** Looks over the other members' shoulders; the host's own device may. */
  watcher?: Watcher | undefined;
  /** The model's bytes, where this device is the host's own and has them open already. */
  openLocally?(): ByteSource;
}

export interface MemberStatus {
  state: 'idle' | 'loading' | 'ready' | 'computing' | 'lost';
  model?: string;
  share?: Share;
  backend?: string;
  /** Bytes by purpose; warm: weights that were given away and are kept while there is room. */
  memory: { weights: number; kv: number; scratch: number; warm: number };
  run?: Readonly<RunStats>;
  /** Tokens that this device has helped with. */
  tokens: number;
  /** Bytes of weights, while they load. */
  progress?: { loaded: number; total: number };
}

export interface MemberService {
  /** The link to the host. The service takes its control messages and bulk. */
  setHost(link: Link): void;
  /** A link to another device of the mesh; index 0 is the host's device. */
  addPeer(link: Link): void;
  status(): MemberStatus;
  /** Says anew what this device offers. */
  announce(): void;
  /** A paused device asks to be left out of plans. */
  setPaused(paused: boolean): void;
  /** Frees everything. */
  close(): Promise<void>;
}

interface Model {
  wire: WireModel;
  catalogue: Catalogue;
  hostSource?: HostSource;
  reader: Promise<StreamingPartReader>;
}

interface Prepared {
  assignment: Assignment;
  /** Devices that KV goes to or comes from. */
  kvPeers: Set<number>;
  /** Bytes of KV that have come of a copy that is under way, by sender. */
  received: Map<number, number>;
  controller: AbortController;
  ready: Promise<LoadedChange | undefined>;
  kv: KvBlock[];
}

export function createMemberService(options: MemberServiceOptions): MemberService {
  const { self, makeBackend, openStore, openServerFiles } = options;
  const peers = new Map<number, Link>();
  const linkWaiters = new Set<() => void>();
  /** What changes model or share, in the order in which the host asks for it: each step builds on the one before. */
  const turns = createTurns();
  let host: Link | undefined;
  let model: Model | undefined;
  let backend: Backend | undefined;
  /** One that is being made: whoever wants one for the same model meanwhile gets the same. */
  let making: { from: Model; made: Promise<Backend> } | undefined;
  let executor: Executor | undefined;
  /** Tiles in the backend that no plan needs. */
  let warm: WarmTiles | undefined;
  let memoryLimit = 0;
  let run: StageRun | undefined;
  let prepared: Prepared | undefined;
  let epoch = 0;
  let tokensBefore = 0;
  let lastLost = false;
  let paused = false;
  let held: Held | undefined;
  /** The present assignment has its operations timed. */
  let profiles = false;
  let loading: MemberStatus['progress'];
  let reportedTokens = 0;
  /** Bytes over links that are closed. */
  const carriedBefore = { sent: 0, received: 0 };
  /** Of the last batch under an earlier assignment. */
  let earlier: Readonly<RunStats> | undefined;
  const passes = createPassLog();
  const operations = createOperationProfile();

  const tell = (message: ToHost): void => {
    if (host && !host.failure) host.sendControl(message);
  };

  function totals(): MemberStatus['memory'] {
    const { weights, kv, scratch } = backend?.memory() ?? { weights: 0, kv: 0, scratch: 0 };
    const warmBytes = warm?.bytes ?? 0;
    return { weights: weights - warmBytes, kv, scratch, warm: warmBytes };
  }

  // Model and backend.

  function setModel(wire: WireModel): void {
    const catalogue = fromWireModel(wire);
    const { origin } = wire;
    const hostSource = origin.kind !== 'server' && host ? createHostSource(host, wire.name, wire.bytes) : undefined;
    const source = options.openLocally?.() ?? (origin.kind === 'server' ? openServerFiles(origin.files) : remote());
    const reader = (async () => {
      const opened = await source;
      if (!opened) throw new ModelError('network', 'There is no connection to the host, which has the model.');
      if (opened.size !== wire.bytes) {
        throw new ModelError('corrupt', `${wire.name} has ${opened.size} bytes here, but ${wire.bytes} at the host.`);
      }
      return createPartReader({ source: opened, digest: wire.digest, store: await openStore() });
    })();
    function remote(): ByteSource | undefined {
      const { openUrl } = options;
      if (origin.kind !== 'url' || !openUrl || !hostSource) return hostSource;
      return createUrlSource(() => openUrl(origin.url), hostSource);
    }
    // Whoever prepares finds the failure; until then it is nobody's.
    reader.catch(() => undefined);
    model = { wire, catalogue, reader, ...(hostSource && { hostSource }) };
  }

  async function backendFor(assignment: Assignment, from: Model): Promise<Backend> {
    if (backend) return backend;
    if (making?.from === from) return making.made;
    const made = newBackend(assignment, from).finally(() => {
      if (making?.made === made) making = undefined;
    });
    making = { from, made };
    return made;
  }

  async function newBackend({ context, maxBatch, profile }: Assignment, from: Model): Promise<Backend> {
    const made = await makeBackend({ hyper: from.catalogue.hyper, context, maxBatch, profile });
    if (model !== from) {
      made.destroy();
      throw new DeviceError('lost', 'The model was unloaded while its device was being made.');
    }
    backend = made;
    warm = createWarmTiles({
      tied: from.catalogue.hyper.tied,
      drop: (tile) => made.dropTile(tile),
      most: warmLimit,
    });
    lastLost = false;
    void made.lost.then((reason) => {
      if (backend !== made) return;
      dropBackend();
      lastLost = true;
      tell({ type: 'broken', epoch, code: 'lost', message: reason, device: self });
    });
    return made;
  }

  /** Half of what the device's limit leaves: the browser and others may need some of it too. */
  function warmLimit(coming: number): number {
    const { weights, kv, scratch } = totals();
    return Math.max(0, (memoryLimit - weights - kv - scratch - coming) / 2);
  }

  function dropBackend(): void {
    prepared?.controller.abort(new DeviceError('lost', 'The device that computed is gone.'));
    prepared = undefined;
    void endRun();
    executor = undefined;
    destroyBackend();
  }

  function destroyBackend(): void {
    backend?.destroy();
    backend = undefined;
    warm = undefined;
  }

  async function endRun(): Promise<void> {
    const ending = run;
    if (!ending) return;
    run = undefined;
    tokensBefore += ending.stats.tokens;
    if (ending.stats.batchSize > 0) earlier = ending.stats;
    await ending.stop();
  }

  // From one assignment to the next.

  function prepare(assignment: Assignment): void {
    cancel();
    const controller = new AbortController();
    const mine: Prepared = {
      assignment,
      controller,
      kv: [],
      kvPeers: new Set(),
      received: new Map(),
      ready: load(assignment, controller.signal),
    };
    prepared = mine;
    mine.ready.then(
      () => tell({ type: 'prepared', epoch: assignment.epoch }),
      (error) => {
        if (prepared === mine) prepared = undefined;
        // A backend that could not take its first share is of no use: the next may be another kind.
        if (!executor && !prepared) destroyBackend();
        refuse(assignment.epoch, error);
      },
    );
  }

  async function load(assignment: Assignment, signal: AbortSignal): Promise<LoadedChange | undefined> {
    const { share } = assignment;
    // What is here already is known only when the steps before are through.
    await turns.take(async () => undefined);
    signal.throwIfAborted();
    if (!share) return undefined;
    if (!model) throw new ModelError('unsupported', 'The host has not said which model it runs.');
    const current = model;
    await linksTo(
      [...assignment.members, ...assignment.next, ...(assignment.previous === undefined ? [] : [assignment.previous])],
      signal,
    );
    const reader = await current.reader;
    signal.throwIfAborted();
    const device = backendFor(assignment, current);
    // Whoever loads into it finds the failure.
    device.catch(() => undefined);
    let told = Number.NEGATIVE_INFINITY;
    const loaded = loadMissing({
      ...{ catalogue: current.catalogue, reader, backend: device, share, signal },
      current: executor?.weights,
      warm,
      onProgress(progress) {
        loading = { loaded: progress.stored + progress.fetched, total: progress.total };
        const now = performance.now();
        if (loading.loaded < loading.total && now - told < PROGRESS_INTERVAL_MS) return;
        told = now;
        tell({ type: 'progress', epoch: assignment.epoch, ...progress });
      },
    });
    // Not over before the backend is there or is none: who gives up destroys it.
    await Promise.allSettled([device, loaded]);
    return loaded;
  }

  async function linksTo(devices: readonly number[], signal: AbortSignal): Promise<void> {
    const missing = () => devices.filter((device) => device !== self && !peers.has(device));
    const deadline = performance.now() + LINK_PATIENCE_MS;
    while (missing().length > 0) {
      signal.throwIfAborted();
      if (performance.now() > deadline) {
        throw new MeshError(
          'lost',
          `No connection from device ${self} to device ${missing()[0]} came about.`,
          missing()[0],
        );
      }
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          linkWaiters.delete(done);
          resolve();
        };
        const timer = setTimeout(done, 500);
        linkWaiters.add(done);
      });
    }
  }

  function cancel(): void {
    const ending = prepared;
    prepared = undefined;
    if (!ending) return;
    const device = backend;
    ending.controller.abort(new DOMException('The host cancelled it.', 'AbortError'));
    ending.ready.then(
      (change) => {
        if (backend !== device) return;
        for (const tile of change?.added ?? []) device?.dropTile(tile);
        if (executor || prepared) return;
        // It was made for this assignment alone.
        destroyBackend();
      },
      () => undefined,
    );
  }

  async function commit(wanted: number): Promise<void> {
    const mine = prepared;
    if (mine?.assignment.epoch !== wanted) throw new MeshError('closed', `Epoch ${wanted} was not prepared here.`);
    // From here on it cannot be cancelled: its tiles are in use.
    prepared = undefined;
    await turns.take(() => switchTo(mine));
  }

  async function switchTo({ assignment, ready, kv }: Prepared): Promise<void> {
    const wanted = assignment.epoch;
    const change = await ready;
    await endRun();
    epoch = wanted;
    profiles = assignment.profile;
    // What others sent for a plan that broke must not be taken for frames of a later one.
    for (const link of peers.values()) link.forgetUnclaimed(wanted);
    if (change) {
      const [device, from, hostLink] = [backend, model, host];
      if (!device || !from || !hostLink) throw new DeviceError('lost', 'The device that computed is gone.');
      // What loading the model took belongs to no pass; what a move takes comes on top of those that go on meanwhile.
      if (!executor) passes.begin(carried());
      const old = executor?.weights;
      if (executor) executor.setWeights(change.weights);
      else executor = createExecutor(from.catalogue.hyper, device, change.weights);
      for (const { layer, kvHead, from: start, slice } of kv) await device.writeKv(layer, kvHead, start, slice);
      warm?.take(tilesOf(change.weights));
      if (old) warm?.keep(old, change.released, change.weights);
      if (backend !== device) throw new DeviceError('lost', 'The device that computed is gone.');
      run = startStageRun({
        ...{ assignment, executor, self, host: hostLink, peers, held, watcher: options.watcher },
        operations: assignment.profile ? operations : undefined,
        onPass: (stats) => passes.add(wanted, stats, carried()),
        onHeld(next) {
          held = next;
          tell({ type: 'held', epoch: wanted });
        },
        onBroken(error) {
          report(wanted, error);
          // Of no more use; the next assignment makes another.
          if (error instanceof DeviceError) dropBackend();
        },
      });
    } else {
      executor = undefined;
      destroyBackend();
    }
    sendStats();
    tell({ type: 'committed', epoch: wanted });
  }

  function hold({ epoch: wanted, position, layer }: Extract<ToDevice, { type: 'hold' }>): void {
    if (!run || wanted !== epoch) {
      refuse(wanted, new MeshError('closed', `Epoch ${wanted} does not run here.`));
      return;
    }
    run.hold(position, layer);
    tell({ type: 'holding', epoch: wanted });
  }

  // KV.

  async function sendKv({ epoch: wanted, to, heads, range: [from, until] }: Extract<ToDevice, { type: 'send-kv' }>) {
    const link = peers.get(to);
    if (prepared?.assignment.epoch !== wanted) throw new MeshError('closed', `Epoch ${wanted} is not prepared here.`);
    const { kvPeers, controller } = prepared;
    const { signal } = controller;
    kvPeers.add(to);
    if (!link || !backend) throw new MeshError('lost', `KV cannot be sent from device ${self} to device ${to}.`, to);
    for (const [i, { layer, kvHead }] of heads.entries()) {
      signal.throwIfAborted();
      const slice = await backend.readKv(layer, kvHead, from, until);
      const bytes = encodeKv({ layer, kvHead, from, slice, following: heads.length - 1 - i });
      await link.sendBulk({ epoch: wanted, slot: BulkSlot.kv, transfer: i }, bytes, signal);
      await restAfter(bytes.length, KV_REST_MS_PER_MIB);
    }
  }

  function takeBulk(peer: number) {
    return bulkAssembler((slot, wanted, transfer, bytes) => {
      if (slot === BulkSlot.bytes) {
        model?.hostSource?.take(transfer, bytes);
        return;
      }
      if (slot !== BulkSlot.kv || prepared?.assignment.epoch !== wanted || !model) return;
      const block = decodeKv(bytes, model.catalogue.hyper.headDim);
      const { assignment, kv, kvPeers, received } = prepared;
      // Backends write where a position lies, whatever else is there.
      if (block.from + block.slice.kScales.length > assignment.context) throw new FrameError('KV beyond the context');
      kv.push(block);
      kvPeers.add(peer);
      const sum = (received.get(peer) ?? 0) + bytes.length - KV_HEADER_BYTES;
      received.set(peer, sum);
      if (block.following > 0) return;
      received.delete(peer);
      tell({ type: 'kv-received', epoch: wanted, from: peer, bytes: sum });
    });
  }

  // Talking to the host.

  function refuse(wanted: number, error: unknown): void {
    if ((error as Error).name === 'AbortError') return;
    const { code, message } = words(error);
    const device = error instanceof MeshError ? error.device : undefined;
    tell({ type: 'refused', epoch: wanted, code, message, ...(device !== undefined && { device }) });
  }

  function report(wanted: number, error: unknown): void {
    const { code, message } = words(error);
    const device = error instanceof MeshError ? error.device : self;
    tell({ type: 'broken', epoch: wanted, code, message, ...(device !== undefined && { device }) });
  }

  /** Over all links since this device joined. */
  function carried(): Carried {
    const sum = { ...carriedBefore };
    for (const link of peers.values()) addBytes(sum, link);
    return sum;
  }

  function sendStats(): void {
    reportedTokens = run?.stats.tokens ?? 0;
    const { position = 0, batchSize = 0, execUs = 0, syncUs = 0, tokens = 0 } = run?.stats ?? {};
    const all = tokensBefore + tokens;
    tell({ type: 'stats', ...totals(), ...carried(), tokens: all, position, batchSize, execUs, syncUs });
  }

  async function profile(asked: Extract<ToDevice, { type: 'profile' }>): Promise<void> {
    const { id, layers } = asked;
    const measured = layers && run ? await run.layerTimes() : [];
    const last = run && run.stats.batchSize > 0 ? run.stats : earlier;
    const { position = 0, batchSize = 0, execUs = 0, syncUs = 0 } = last ?? {};
    tell({
      ...{ type: 'profiled', id, position, batchSize, execUs, syncUs },
      layers: measured,
      passes: asked.passes ? [...passes.records] : [],
      ...(asked.operations && profiles && backend && { operations: operations.times(backend.timesOperations) }),
    });
    if (asked.clear) operations.clear();
  }

  function handle(message: ToDevice): void {
    switch (message.type) {
      case 'model':
        cancel();
        void turns.take(async () => {
          await unload();
          setModel(message.model);
        });
        break;
      case 'prepare':
        prepare(message.assignment);
        break;
      case 'commit':
        commit(message.epoch).catch((error) => refuse(message.epoch, error));
        break;
      case 'hold':
        hold(message);
        break;
      case 'send-kv':
        sendKv(message).catch((error) => refuse(message.epoch, error));
        break;
      case 'cancel':
        if (prepared?.assignment.epoch === message.epoch) cancel();
        break;
      case 'unload':
        cancel();
        void turns.take(unload).then(sendStats);
        break;
      case 'unreadable':
        model?.hostSource?.fail(message.transfer, new ModelError(message.code, message.message));
        break;
      case 'profile':
        void profile(message);
        break;
      case 'echo':
        tell({ ...message, type: 'echoed' });
        break;
    }
  }

  async function unload(): Promise<void> {
    model = undefined;
    passes.clear();
    executor = undefined;
    operations.clear();
    const ending = backend;
    backend = undefined;
    warm = undefined;
    await endRun();
    ending?.destroy();
  }

  function announce(): void {
    void options.about().then(
      (about) => {
        memoryLimit = about.memoryLimit;
        // What is being prepared may count on warm tiles; they are looked at again when it is through.
        if (!prepared) warm?.makeRoom(0);
        tell({ type: 'about', about });
      },
      (error) => report(0, error),
    );
  }

  const reporting = setInterval(() => {
    if (run && run.stats.tokens !== reportedTokens) sendStats();
  }, STATS_INTERVAL_MS);

  return {
    setHost(link) {
      host = link;
      // Whatever a host comes back as, it does not know what is loaded here.
      link.onClosed(() => {
        if (host !== link) return;
        host = undefined;
        cancel();
        void turns.take(unload);
      });
      link.onControl((message) => handle(parseToDevice(message)));
      link.onBulk(takeBulk(link.peer));
      announce();
      if (paused) tell({ type: 'paused', paused });
    },
    addPeer(link) {
      peers.set(link.peer, link);
      link.onClosed((failure) => {
        if (peers.get(link.peer) === link) peers.delete(link.peer);
        addBytes(carriedBefore, link);
        // KV that was on its way is lost, and nobody else can tell.
        if (prepared?.kvPeers.has(link.peer)) refuse(prepared.assignment.epoch, failure);
      });
      if (link !== host) link.onBulk(takeBulk(link.peer));
      for (const wake of linkWaiters) wake();
    },
    status() {
      const busy = run !== undefined && run.stats.tokens > 0;
      const state = lastLost ? 'lost' : prepared ? 'loading' : busy ? 'computing' : run ? 'ready' : 'idle';
      return {
        state,
        ...(model && { model: model.wire.name }),
        ...(executor && { share: executor.weights.share }),
        ...(backend && { backend: backend.description }),
        memory: totals(),
        ...(run && { run: run.stats }),
        tokens: tokensBefore + (run?.stats.tokens ?? 0),
        ...(prepared && loading && { progress: loading }),
      };
    },
    announce,
    setPaused(next) {
      if (next === paused) return;
      paused = next;
      tell({ type: 'paused', paused });
    },
    async close() {
      clearInterval(reporting);
      cancel();
      await turns.take(unload);
    },
  };
}

function addBytes(sum: Carried, { stats }: Link): void {
  sum.sent += stats.bytesSent;
  sum.received += stats.bytesReceived;
}

function words(error: unknown): { code: string; message: string } {
  const { code, message } = error as { code?: unknown; message?: string };
  return {
    code: typeof code === 'string' ? code.slice(0, 32) : 'internal',
    message: String(message ?? error).slice(0, 1024),
  };
}
