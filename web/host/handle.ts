/** `window.edgevisor`: the page's side of the engine. It computes nothing; `docs/scripting.md` describes it. */
import { type Endpoint, type Remote, wrap } from 'comlink';
import type { EdgeVisor, EventDetails, EventName, GenerateOptions, LoadOptions, Status } from '../api.ts';
import { codeOf, HostError, messageOf } from '../device/errors.ts';
import { type PageOptions, pageOptions } from '../device/page-options.ts';
import { VERSION } from '../device/version.ts';
import { started } from '../device/within.ts';
import { secretIn } from '../mesh/page-mesh.ts';
import type { EngineEvents, EngineMessage, EngineService, LoadRequest, ModelPlace } from './engine-types.ts';
import { createMeshHandle } from './handle-mesh.ts';
import { checkBytes, checkEvaluate, checkGenerate, checkIds, checkLoad, checkMessages } from './requests.ts';

declare global {
  interface Window {
    edgevisor: EdgeVisor;
  }
}

/** The Worker as the handle needs it. */
export interface EngineWorker extends Endpoint {
  terminate(): void;
}

/** Puts the handle on `window`, with the engine in a Worker of its own. Call it first: scripts may be waiting for it. */
export function installHandle(): EdgeVisor {
  const start = () => new Worker(new URL('./engine.worker.ts', import.meta.url), { type: 'module', name: 'engine' });
  window.edgevisor = createHandle(start, location.search);
  return window.edgevisor;
}

/**
 * @param start makes a Worker that runs `engine.worker.ts`
 * @param search the page's query, for defaults of `load`
 */
export function createHandle(start: () => EngineWorker, search: string): EdgeVisor {
  const events = new EventTarget();
  const emit = <E extends EventName>(event: E, detail: EventDetails[E]): void => {
    events.dispatchEvent(new CustomEvent(event, { detail }));
  };
  const warn = (text: string): void => emit('log', { level: 'warn', text, code: 'bad-request' });

  const tokenListeners = new Map<number, NonNullable<GenerateOptions['onToken']>>();
  let calls = 0;
  let connection: Connection | undefined;
  /** Why the last Worker died; calls that need its model say so until the next `load`. */
  let crash: HostError | undefined;

  function connect(): Connection {
    connection ??= openConnection(start, receive, (error) => {
      connection = undefined;
      crash = error;
      emit('log', { level: 'error', text: error.message, code: error.code });
      emit('state', 'failed');
    });
    return connection;
  }

  function receive({ event, detail }: EngineMessage): void {
    if (event !== 'token') {
      emit(event, detail as EventDetails[typeof event]);
      return;
    }
    const { call, at, ...rest } = detail as EngineEvents['token'];
    const token = { ...rest, at: at - performance.timeOrigin };
    try {
      tokenListeners.get(call)?.(token);
    } catch (error) {
      // The caller's own fault: it belongs in the console, and must not take the answer away.
      reportError(error);
    }
    emit('token', token);
  }

  /** Calls the engine; rejects at once when its Worker dies. */
  function call<T>(work: (engine: Remote<EngineService>) => Promise<T>): Promise<T> {
    const { engine, died } = connect();
    return Promise.race([work(engine), died]);
  }

  /** As `call`, for what makes no sense without the model that the Worker had. */
  function callLoaded<T>(work: (engine: Remote<EngineService>) => Promise<T>): Promise<T> {
    return crash ? Promise.reject(crash) : call(work);
  }

  // Read once: a page that changes its own address later does not change how models load. The warnings wait for
  // listeners, which can only come after this function has returned.
  const warnings: string[] = [];
  const defaults: PageOptions = pageOptions(search, (text) => warnings.push(text));
  queueMicrotask(() => warnings.forEach(warn));

  const mesh = createMeshHandle({
    call,
    nextCall: () => calls++,
    emitRoom: (room) => emit('room', room),
    noRtc: defaults.emulation.noRtc,
    delayMs: defaults.emulation.delayMs,
  });
  // A page that was opened with a room, or with shares for several devices, is waited for by others.
  if (
    typeof location !== 'undefined' &&
    (secretIn(location.hash) || (defaults.ratios && /[:*]/.test(defaults.ratios)))
  ) {
    mesh.room().catch((error) => emit('log', { level: 'error', text: messageOf(error), code: codeOf(error) }));
  }

  return {
    ...mesh,
    version: VERSION,
    ready: new Promise((resolve) => {
      if (typeof document === 'undefined' || document.readyState !== 'loading') resolve();
      else document.addEventListener('DOMContentLoaded', () => resolve(), { once: true });
    }),
    models: async () => call((engine) => engine.models()),
    async load(options) {
      const { model, parts, ...given } = definedOnly(checkLoad(options));
      crash = undefined;
      const { backend = 'auto', threads, context, ratios, wire, lend, verify, profile, emulation } = defaults;
      const standing = definedOnly({ backend, threads, context, ratios, wire, lend, verify, profile, emulation });
      const request: LoadRequest = { ...standing, backend, emulation, ...given, place: placeOf(model, parts) };
      if (request.ratios === 'auto') delete request.ratios;
      return call((engine) => engine.load(request));
    },
    async unload() {
      crash = undefined;
      if (connection) await call((engine) => engine.unload());
    },
    tokenize: async (text, options) => callLoaded((engine) => engine.tokenize(String(text), options?.special ?? false)),
    detokenize: async (ids) => {
      const checked = checkIds(ids);
      return callLoaded((engine) => engine.detokenize(checked));
    },
    render: async (messages, options) => {
      const checked = checkMessages(messages);
      return callLoaded((engine) => engine.render(checked, options?.generationPrompt ?? true));
    },
    async generate(options) {
      const { onToken, signal, ...given } = options ?? {};
      const request = checkGenerate(given);
      const id = calls++;
      if (onToken) tokenListeners.set(id, onToken);
      const abort = (): void => void call((engine) => engine.abort(id)).catch(() => undefined);
      try {
        return await callLoaded((engine) => {
          const result = engine.generate(id, request);
          // After the call itself: messages keep their order, so the engine knows the call that is to end.
          if (signal?.aborted) abort();
          signal?.addEventListener('abort', abort, { once: true });
          return result;
        });
      } finally {
        signal?.removeEventListener('abort', abort);
        tokenListeners.delete(id);
      }
    },
    evaluate: async (options) => {
      const request = checkEvaluate(options);
      return callLoaded((engine) => engine.evaluate(request));
    },
    status: async () => (crash ? failedStatus : call((engine) => engine.status())),
    passes: async () => callLoaded((engine) => engine.passes()),
    profile: async () => callLoaded((engine) => engine.profile()),
    linkDelays: async (bytes) => {
      const checked = checkBytes(bytes);
      return callLoaded((engine) => engine.linkDelays(checked));
    },
    stored: async () => call((engine) => engine.stored()),
    deleteStored: async (digest) => call((engine) => engine.deleteStored(String(digest))),
    on(event, listener) {
      const heard = (dispatched: Event): void => listener((dispatched as CustomEvent).detail);
      events.addEventListener(event, heard);
      return () => events.removeEventListener(event, heard);
    },
  };
}

const failedStatus: Status = { state: 'failed', devices: [], moves: [] };

interface Connection {
  engine: Remote<EngineService>;
  /** Rejects with HostError `crashed` when the Worker dies; never resolves. */
  died: Promise<never>;
}

function openConnection(
  start: () => EngineWorker,
  receive: (message: EngineMessage) => void,
  onCrash: (error: HostError) => void,
): Connection {
  let worker: EngineWorker;
  try {
    worker = start();
  } catch (cause) {
    throw new HostError('crashed', `The browser refused to start the engine's Worker: ${messageOf(cause)}`, { cause });
  }
  worker.addEventListener('message', ((message: MessageEvent<Partial<EngineMessage> | undefined>) => {
    if (message.data?.event) receive(message.data as EngineMessage);
  }) as EventListener);
  const engine = wrap<EngineService>(worker);
  const died = new Promise<never>((_, reject) => {
    let over = false;
    const end = (what: string): void => {
      if (over) return;
      over = true;
      worker.terminate();
      const error = new HostError('crashed', `The engine's Worker ${what}. Load the model again.`);
      onCrash(error);
      reject(error);
    };
    worker.addEventListener('error', ((event: ErrorEvent) => {
      event.preventDefault();
      end(`stopped${event.message ? `: ${event.message}` : ' or could not be started'}`);
    }) as EventListener);
    started(engine.status()).catch((error) => end(messageOf(error)));
  });
  // Calls look at it while they run; between them a crash must not count as unhandled.
  died.catch(() => undefined);
  return { engine, died };
}

/** A name is one of the server's models; a text with a scheme is an address. */
function placeOf(model: LoadOptions['model'], parts: LoadOptions['parts']): ModelPlace {
  if (model instanceof URL) return { url: model.href };
  if (model instanceof Blob) return { file: model as File, ...(parts && { parts }) };
  return /^https?:\/\//i.test(model) ? { url: model } : { name: model };
}

/** Options given as undefined count as not given, so that they do not hide a default. */
function definedOnly<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
