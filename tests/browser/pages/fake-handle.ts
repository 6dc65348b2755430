/**
 * Stands in for `web/host/handle.ts` in the tests of the host page: a model that answers what the test says, token by
 * token, as slowly as the test says. `window.fakeOptions` is set before the page starts; `window.fakeCalls` is read after.
 */
import type {
  DeviceProfile,
  EdgeVisor,
  EventDetails,
  EventName,
  GenerateOptions,
  LoadInfo,
  ModelListing,
  StoredModel,
} from '../../../web/api.ts';

export interface FakeOptions {
  models?: ModelListing[];
  /** The answer, cut into tokens behind its spaces. */
  answer?: string;
  /** Between two tokens. */
  tokenMs?: number;
  /** Before the first token. */
  prefillMs?: number;
  /** A load waits after this one of its ten steps (0: before the first), and an answer after so many tokens, until the option is changed. */
  holdLoadAt?: number;
  holdAnswerAt?: number;
  notes?: string[];
  /** What `profile` says. */
  profiles?: DeviceProfile[];
  failModels?: string;
  failLoad?: { code: string; message: string };
  failGenerate?: { code: string; message: string };
  failInstall?: string;
  finishReason?: 'stop' | 'length';
}

export interface FakeCalls {
  loads: { model: string; backend?: string; threads?: number; context?: number }[];
  /** Without functions, signals. */
  generations: Omit<GenerateOptions, 'onToken' | 'signal'>[];
  deleted: string[];
}

declare global {
  interface Window {
    fakeOptions?: FakeOptions;
    fakeCalls: FakeCalls;
  }
}

const MODEL_BYTES = 98_362_432;

const coded = ({ code, message }: { code: string; message: string }): Error =>
  Object.assign(new Error(message), { code });

const pause = (milliseconds: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal?.aborted) resolve();
    else {
      setTimeout(resolve, milliseconds);
      signal?.addEventListener('abort', () => resolve(), { once: true });
    }
  });

const HOLD_POLL_MS = 10;

const hold = async (held: () => boolean, signal?: AbortSignal): Promise<void> => {
  while (held() && !signal?.aborted) await pause(HOLD_POLL_MS, signal);
};

export function installHandle(): EdgeVisor {
  const options = (): FakeOptions => window.fakeOptions ?? {};
  const { failInstall } = options();
  if (failInstall !== undefined) throw new Error(failInstall);
  const calls: FakeCalls = { loads: [], generations: [], deleted: [] };
  window.fakeCalls = calls;
  const listeners = new Map<EventName, Set<(detail: never) => void>>();
  let info: LoadInfo | undefined;
  let state = 'idle';
  let cancelled = new AbortController();
  let stored: StoredModel[] = [
    {
      ...{ digest: 'd1', model: 'SmolLM2-135M-Instruct.Q4_1', bytes: 96_600_000, fileBytes: MODEL_BYTES },
      ...{ pieces: 94, lastUsed: 1_700_000_000_000 },
    },
  ];

  const emit = <E extends EventName>(event: E, detail: EventDetails[E]): void => {
    for (const listener of listeners.get(event) ?? []) (listener as (detail: EventDetails[E]) => void)(detail);
  };
  const become = (next: string): void => {
    state = next;
    emit('state', next);
  };

  const noMesh = async (): Promise<never> => {
    throw coded({ code: 'no-room', message: 'This played engine has no mesh.' });
  };
  const handle: EdgeVisor = {
    ...{
      room: noMesh,
      setAsk: noMesh,
      admit: noMesh,
      refuse: noMesh,
      renameDevice: noMesh,
      removeDevice: noMesh,
      pauseDevice: noMesh,
    },
    ...{ previewRatios: noMesh, previewMove: noMesh, setRatios: noMesh, migrate: noMesh },
    version: 'fake',
    ready: Promise.resolve(),
    async models() {
      const { failModels, models } = options();
      if (failModels !== undefined) throw coded({ code: 'network', message: failModels });
      return models ?? [{ name: 'SmolLM2-135M-Instruct.Q4_1', bytes: MODEL_BYTES, supported: true }];
    },
    async load({ model, backend, threads, context }) {
      const name = typeof model === 'string' ? model : model instanceof URL ? model.href : model.name;
      calls.loads.push({ model: name, backend, threads, context });
      cancelled = new AbortController();
      const { signal } = cancelled;
      become('loading');
      emit('progress', { phase: 'header', text: 'Reading what kind of model this is.', loaded: 0, total: 0 });
      await hold(() => options().holdLoadAt === 0, signal);
      for (let step = 1; step <= 10 && !signal.aborted; step += 1) {
        const loaded = (MODEL_BYTES * step) / 10;
        emit('progress', { phase: 'weights', text: 'Loading weights from the server.', loaded, total: MODEL_BYTES });
        await hold(() => options().holdLoadAt === step, signal);
      }
      const { failLoad, notes = [] } = options();
      if (signal.aborted || failLoad) {
        become('failed');
        throw coded(failLoad ?? { code: 'cancelled', message: 'The load was cancelled.' });
      }
      info = {
        model: name,
        architecture: 'llama',
        layers: 30,
        context: context ?? 2048,
        backend: backend === 'webgpu' ? 'webgpu' : 'wasm',
        threads: threads ?? 2,
        bytes: MODEL_BYTES,
        plan: { epoch: 1, stages: [] },
        shape: { layers: 30, dim: 576, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536, vocab: 49152 },
        notes,
      };
      emit('log', { level: 'info', text: `${name} is loaded.` });
      become('ready');
      return info;
    },
    async unload() {
      cancelled.abort();
      info = undefined;
      become('idle');
    },
    async tokenize(text) {
      return [...text].map((_, index) => index);
    },
    async detokenize() {
      return '';
    },
    async render(messages) {
      return `${messages.map(({ role, content }) => `<${role}>${content}`).join('')}<assistant>`;
    },
    async generate({ onToken, signal, ...rest }) {
      calls.generations.push(rest);
      const { answer = 'It is a fake.', tokenMs = 0, prefillMs = 0, failGenerate, finishReason = 'stop' } = options();
      become('prefill');
      await pause(prefillMs, signal);
      const tokens = answer.match(/\S*\s*/g)?.filter((token) => token !== '') ?? [];
      const started = performance.now();
      let text = '';
      let count = 0;
      for (const token of tokens) {
        if (signal?.aborted) break;
        text += token;
        onToken?.({ id: count, text: token, at: performance.now() });
        count += 1;
        await pause(tokenMs, signal);
        await hold(() => options().holdAnswerAt === count, signal);
        if (failGenerate && count === 2) {
          become('ready');
          throw coded(failGenerate);
        }
      }
      become('ready');
      return {
        ids: Array.from({ length: count }, (_, index) => index),
        promptIds: [1, 2, 3],
        text,
        finishReason: signal?.aborted ? 'abort' : finishReason,
        seed: rest.seed ?? 1,
        timings: {
          promptTokens: 40,
          cachedTokens: 12,
          prefillMs: 200,
          decodeTokens: Math.max(0, count - 1),
          decodeMs: performance.now() - started + 1,
          gapsMs: [],
        },
      };
    },
    async evaluate() {
      return { logits: [] };
    },
    async status() {
      return {
        state,
        ...(info ? { model: info } : {}),
        moves: [],
        devices: info
          ? [
              {
                ...{ index: 0, id: 'self', name: 'This device', self: true, state: 'ready', browser: 'a browser' },
                ...{ backend: info.backend, threads: info.threads, gmacs: 8.81, readbackMs: 1.2 },
                ...{ memoryLimit: 2e9, memoryUsed: 152e6, memoryWarm: 0, weightBytes: 121e6, kvBytes: 23.6e6 },
                ...{ link: 'self', rttMs: 0, bytesSent: 0, bytesReceived: 0, tokens: 0 },
              },
            ]
          : [],
      };
    },
    async passes() {
      return [];
    },
    async profile() {
      return options().profiles ?? [];
    },
    async linkDelays() {
      return [];
    },
    async stored() {
      return stored;
    },
    async deleteStored(digest) {
      calls.deleted.push(digest);
      stored = stored.filter((model) => model.digest !== digest);
    },
    on(event, listener) {
      const set = listeners.get(event) ?? new Set();
      listeners.set(event, set);
      set.add(listener as (detail: never) => void);
      return () => set.delete(listener as (detail: never) => void);
    },
  };
  window.edgevisor = handle;
  return handle;
}
