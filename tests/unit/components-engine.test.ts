import { describe, expect, test } from 'vitest';
import type { EventDetails, EventName, LoadInfo, LoadOptions, Status } from '../../web/api.ts';
import { EngineSession, modelName } from '../../web/components/state/engine-session.ts';

const INFO: LoadInfo = {
  ...{ model: 'm', architecture: 'llama', layers: 2, context: 64, backend: 'wasm', threads: 1, bytes: 9, notes: [] },
  plan: { epoch: 1, stages: [] },
  shape: { layers: 2, dim: 64, heads: 2, kvHeads: 1, headDim: 32, ffn: 64, vocab: 64 },
};

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

const setUp = () => {
  const listeners = new Map<string, (detail: never) => void>();
  const loads: { resolve(info: LoadInfo): void; reject(error: Error): void }[] = [];
  let status: Status = { state: 'idle', devices: [], moves: [] };
  const handle = {
    models: async () => [],
    load: (_: LoadOptions) => new Promise<LoadInfo>((resolve, reject) => loads.push({ resolve, reject })),
    unload: async () => {},
    status: async () => status,
    stored: async () => [],
    deleteStored: async () => {},
    on: <E extends EventName>(event: E, listener: (detail: EventDetails[E]) => void) => {
      listeners.set(event, listener as (detail: never) => void);
      return () => {};
    },
  };
  const emit = <E extends EventName>(event: E, detail: EventDetails[E]): void =>
    listeners.get(event)?.(detail as never);
  const become = async (next: Partial<Status>): Promise<void> => {
    status = { devices: [], moves: [], state: 'idle', ...next };
    emit('state', status.state);
    await soon();
  };
  return { engine: new EngineSession(handle), loads, emit, become };
};

describe('the model of the page', () => {
  test('goes from asked to loading to ready', async () => {
    const { engine, loads, emit, become } = setUp();
    const loaded = engine.load({ model: 'm' });
    await become({ state: 'loading' });
    emit('progress', { phase: 'weights', text: 'Loading.', loaded: 4, total: 9 });
    expect([engine.phase, engine.progress?.loaded]).toEqual(['loading', 4]);
    await become({ state: 'ready', model: INFO });
    expect(engine.phase).toBe('loading');
    loads[0]?.resolve(INFO);
    expect(await loaded).toBe(true);
    expect([engine.phase, engine.info]).toEqual(['ready', INFO]);
  });

  test('a failed load says what, why and the code', async () => {
    const { engine, loads } = setUp();
    const loaded = engine.load({ model: new URL('https://a.example/x%20y.gguf') });
    loads[0]?.reject(Object.assign(new Error('It is a web page.'), { code: 'not-a-model' }));
    expect(await loaded).toBe(false);
    expect([engine.phase, engine.failure]).toEqual([
      'failed',
      { what: 'x y.gguf could not be loaded', message: 'It is a web page.', code: 'not-a-model' },
    ]);
  });

  test('a load that fails leaves the model before running, and still says so', async () => {
    const { engine, loads, become } = setUp();
    await become({ state: 'ready', model: INFO });
    const loaded = engine.load({ model: 'other' });
    loads[0]?.reject(new Error('It is a web page.'));
    await loaded;
    await soon();
    expect([engine.phase, engine.info, engine.failure?.message]).toEqual(['ready', INFO, 'It is a web page.']);
  });

  test('a cancelled load cannot speak for the next', async () => {
    const { engine, loads } = setUp();
    const first = engine.load({ model: 'a' });
    await engine.unload();
    const second = engine.load({ model: 'b' });
    loads[0]?.reject(new Error('cancelled'));
    expect(await first).toBe(false);
    expect([engine.phase, engine.failure]).toEqual(['loading', undefined]);
    loads[1]?.resolve(INFO);
    expect(await second).toBe(true);
  });

  test('what a script loads and unloads is shown too', async () => {
    const { engine, become } = setUp();
    await become({ state: 'loading' });
    expect(engine.phase).toBe('loading');
    await become({ state: 'ready', model: INFO });
    expect([engine.phase, engine.info]).toEqual(['ready', INFO]);
    await become({ state: 'idle' });
    expect([engine.phase, engine.info]).toEqual(['empty', undefined]);
  });

  test('an engine that fails under a loaded model is explained from the log', async () => {
    const { engine, emit, become } = setUp();
    await become({ state: 'ready', model: INFO });
    emit('log', { level: 'error', text: 'The Worker stopped. Load the model again.', code: 'crashed' });
    await become({ state: 'failed' });
    expect(engine.phase).toBe('failed');
    expect(engine.failure).toMatchObject({ message: 'The Worker stopped. Load the model again.', code: 'crashed' });
  });

  test('names are those of files', () => {
    expect(modelName('m')).toBe('m');
    expect(modelName(new URL('https://a.example/'))).toBe('a.example');
    expect(modelName(new File([], 'f.gguf'))).toBe('f.gguf');
  });
});
