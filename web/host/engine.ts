/** The engine: one model on this device, behind the calls of the handle. Runs in a Worker, but needs none of it. */
import type { DeviceStatus, LogEvent, Status } from '../api.ts';
import { type BackendChooser, type BackendMakers, createChooser } from '../device/choose-backend.ts';
import type { MemoryLimit } from '../device/environment.ts';
import { codeOf, HostError, messageOf } from '../device/errors.ts';
import type { ShardStore } from '../device/store/store.ts';
import { receiveLinks } from '../mesh/links.ts';
import type { Neighbour } from '../mesh/page-mesh.ts';
import type { Emit, EngineService, LoadRequest, ModelPlace } from './engine-types.ts';
import { linkDelays } from './mesh/delays.ts';
import { deviceStatuses } from './mesh/device-status.ts';
import { createHub, OWN } from './mesh/hub.ts';
import { devicesOf } from './mesh/layout.ts';
import { clearProfiles, profilesOf } from './mesh/operation-profile.ts';
import { passesOf } from './mesh/passes.ts';
import type { OpenedModel } from './open-model.ts';
import { createPlanControl } from './plan-control.ts';
import { loadSession, type Session } from './session.ts';

/** What the engine needs of the world; tests put their own in. */
export interface EnginePorts {
  emit: Emit;
  openModel(place: ModelPlace, signal: AbortSignal): Promise<OpenedModel>;
  listModels: EngineService['models'];
  /** Makers of both backends under the conditions of a request. */
  backends(request: Pick<LoadRequest, 'threads' | 'emulation'>): BackendMakers;
  /** Undefined where the browser stores nothing; told why through `onNote`. */
  openStore(onNote: (text: string) => void): Promise<ShardStore | undefined>;
  memoryLimit(request: LoadRequest): MemoryLimit;
  browser: string;
}

/** Work that must not overlap. */
interface Job {
  kind: 'load' | 'generate' | 'evaluate';
  controller: AbortController;
  call?: number;
  done: Promise<unknown>;
}

const SUPERSEDED = 'Another model was loaded, or unloaded, instead.';

export function createEngine(ports: EnginePorts): EngineService {
  const { emit } = ports;
  const choosers = new Map<string, BackendChooser>();
  const storeNotes: string[] = [];
  let store: Promise<ShardStore | undefined> | undefined;
  let session: Session | undefined;
  let job: Job | undefined;
  /** Of a recovery that is under way, or of the next one. */
  let recovering = new AbortController();
  let state = 'idle';
  let roster: readonly Neighbour[] = [];
  /** Moves under way that a caller may end. */
  const moving = new Map<number, AbortController>();
  /** A model that is being loaded: devices may ask for its bytes already. */
  let opening: OpenedModel | undefined;
  const hub = createHub({
    onChange: (index) => announce(index),
    modelBytes: () => session?.model.file.source ?? opening?.file.source,
  });
  const planRequest = createPlanControl({ session: () => session, profile: hub.devices.profile });
  /** Counts what was asked for: each load and unload makes those before it pointless. */
  let loads = 0;

  const log = (level: LogEvent['level'], text: string, code?: string): void =>
    emit('log', { level, text, ...(code ? { code } : {}) });

  function setState(next: string): void {
    if (next === state) return;
    state = next;
    emit('state', next);
  }

  function openStore(): Promise<ShardStore | undefined> {
    store ??= ports.openStore((text) => {
      storeNotes.push(text);
      log('warn', text, 'store');
    });
    return store;
  }

  async function requireStore(): Promise<ShardStore> {
    const opened = await openStore();
    if (opened) return opened;
    throw new HostError('no-store', storeNotes.at(-1) ?? 'This browser stores nothing for this page.');
  }

  /** Measurements hold for the conditions they were made under. */
  function chooserFor(request: LoadRequest): BackendChooser {
    const key = JSON.stringify([request.threads, request.emulation]);
    let chooser = choosers.get(key);
    if (!chooser) {
      chooser = createChooser(ports.backends(request));
      choosers.set(key, chooser);
    }
    return chooser;
  }

  /** Runs `work` as the engine's only job. */
  async function exclusively<T>(
    kind: Job['kind'],
    call: number | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (job) throw new HostError('busy', `The engine is busy: wait for the present ${job.kind} to end, or stop it.`);
    const controller = new AbortController();
    const done = work(controller.signal);
    const mine: Job = { kind, controller, done, ...(call === undefined ? {} : { call }) };
    job = mine;
    try {
      return await done;
    } finally {
      if (job === mine) job = undefined;
    }
  }

  /** Ends whatever runs, a recovery too. */
  async function endJob(reason: string): Promise<void> {
    while (job) {
      const error = new HostError('aborted', reason);
      job.controller.abort(error);
      recovering.abort(error);
      recovering = new AbortController();
      // The job's own `finally` was there first, so that it is over when this resolves.
      await job.done.catch(() => undefined);
    }
  }

  async function drop(): Promise<void> {
    const leaving = session;
    session = undefined;
    await leaving?.close();
  }

  function loaded(): Session {
    if (session) return session;
    const why = state === 'failed' ? 'The model stopped running.' : 'No model is loaded.';
    throw new HostError('no-model', `${why} Load one first.`);
  }

  async function load(request: LoadRequest, signal: AbortSignal): Promise<Session> {
    const parts = {
      hub,
      emit,
      async openModel(...args: Parameters<EnginePorts['openModel']>) {
        opening = await ports.openModel(...args);
        return opening;
      },
      backends: ports.backends(request),
      chooser: chooserFor(request),
      openStore,
      memoryLimit: ports.memoryLimit(request),
      replaces: session !== undefined,
      makeRoom: drop,
      onState: setState,
      onRecovered: () => announce(OWN),
      recoverySignal: () => recovering.signal,
    };
    const made = await loadSession(request, parts, signal);
    for (const note of made.info.notes) log('info', note);
    // Said when it happened, but part of what this load is.
    made.info.notes.push(...storeNotes);
    return made;
  }

  const statuses = (): DeviceStatus[] =>
    deviceStatuses({
      hub,
      roster,
      session,
      computing: state === 'prefill' || state === 'decode',
      browser: ports.browser,
    });

  function announce(index: number): void {
    const status = statuses().find((device) => device.index === index);
    if (status) emit('device', status);
  }

  /** Around every use of the loop: what its end means for the session. */
  async function using<T>(work: (current: Session) => Promise<T>): Promise<T> {
    const current = loaded();
    try {
      if (current.profiling) await clearProfiles(devicesOf(current.info.plan), hub.devices.profile);
      const result = await work(current);
      setState('ready');
      return result;
    } catch (error) {
      if (!current.lost) {
        setState('ready');
      } else {
        await drop();
        log('error', messageOf(error), codeOf(error));
        setState('failed');
      }
      throw error;
    }
  }

  return {
    models: ports.listModels,

    async load(request) {
      const mine = ++loads;
      if (job) await endJob(SUPERSEDED);
      // Several loads may have waited for the same end: the last one asked for is meant.
      if (mine !== loads) throw new HostError('aborted', SUPERSEDED);
      return exclusively('load', undefined, async (signal) => {
        setState('loading');
        try {
          session = await load(request, signal);
          opening = undefined;
        } catch (error) {
          opening = undefined;
          if (!signal.aborted) log('error', messageOf(error), codeOf(error));
          // The model before goes on, unless its memory had to be given up already.
          setState(session ? 'ready' : signal.aborted ? 'idle' : 'failed');
          throw error;
        }
        setState('ready');
        announce(OWN);
        return session.info;
      });
    },

    async unload() {
      loads++;
      await endJob('The model was unloaded.');
      await drop();
      setState('idle');
    },

    tokenize: async (text, special) => loaded().model.tokenizer.encode(text, { special }),
    detokenize: async (ids) => loaded().model.tokenizer.decode(ids),
    render: async (messages, generationPrompt) => loaded().model.template(messages, { generationPrompt }),

    generate: (call, request) =>
      exclusively('generate', call, (signal) =>
        using((current) =>
          current.loop.generate(request, {
            signal,
            onToken({ id, text, at }) {
              current.tokens++;
              emit('token', { call, id, text, at: performance.timeOrigin + at });
            },
          }),
        ),
      ),

    abort(call) {
      moving.get(call)?.abort(new HostError('aborted', 'The caller stopped it.'));
      if (job?.call === call) job.controller.abort(new HostError('aborted', 'The caller stopped it.'));
    },

    evaluate: (options) =>
      exclusively('evaluate', undefined, (signal) => using((current) => current.loop.evaluate(options, signal))),

    async status(): Promise<Status> {
      return {
        state,
        ...(session && { model: session.info, plan: session.info.plan }),
        devices: statuses(),
        moves: session ? [...session.moves.reports] : [],
      };
    },

    passes: async () => passesOf(devicesOf(loaded().info.plan), hub.devices.profile),
    async profile() {
      const { profiling, info } = loaded();
      if (!profiling) throw new HostError('no-profile', 'Nothing is timed here: open the page with ?profile=1.');
      return profilesOf(devicesOf(info.plan), hub.devices.profile);
    },
    async linkDelays(bytes) {
      const others = devicesOf(loaded().info.plan).filter((device) => device !== OWN);
      return linkDelays(others, bytes, hub.devices.echo);
    },
    stored: async () => (await requireStore()).list(),
    deleteStored: async (digest) => (await requireStore()).remove(digest),

    connect(port, delayMs) {
      receiveLinks(port, { delayMs, onLink: (link) => hub.addLink(link) });
    },
    setRoster(entries) {
      roster = entries;
      for (const { index } of entries) announce(index);
    },
    pauseDevice: (index, paused) => hub.devices.setPaused(index, paused),
    previewRatios: async (ratios) => loaded().preview(ratios),
    previewMove: async (move) => loaded().previewMove(move),
    planRequest,
    setRatios: async (ratios) => loaded().moves.setRatios(ratios),
    async migrate(call, move) {
      const controller = new AbortController();
      moving.set(call, controller);
      try {
        return await loaded().moves.migrate(move, controller.signal);
      } finally {
        moving.delete(call);
      }
    },
  };
}
