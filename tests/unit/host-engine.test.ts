/** The engine over real files and the WASM kernels, with faults played in the backends. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { LoadInfo } from '../../web/api.ts';
import { type Backend, DeviceError } from '../../web/device/backend.ts';
import type { MakeBackend } from '../../web/device/probe.ts';
import { createWasmBackend } from '../../web/device/wasm/index.ts';
import { createEngine, type EnginePorts } from '../../web/host/engine.ts';
import type { EngineEvents, LoadRequest } from '../../web/host/engine-types.ts';
import { readModel } from '../../web/host/open-model.ts';
import { bytesSource } from '../../web/model/sources.ts';
import { ModelError } from '../../web/model/types.ts';

const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url);
const MODEL = 'tiny-llama.Q4_0';
const golden = JSON.parse(readFileSync(fixture(`${MODEL}.json`), 'utf8')) as {
  cases: { name: string; ids: number[]; greedy: number[] }[];
};
const { ids, ...ids7 } = golden.cases.find(({ name }) => name === 'ids7')!;
/** Up to the first step at which two tokens are as good as equal. */
const greedy = ids7.greedy.slice(0, 20);

const kernels = new WebAssembly.Module(readFileSync(new URL('../../wasm-cpu/build/plain.wasm', import.meta.url)));
const wasm: MakeBackend = (options) => createWasmBackend({ ...options, threads: 1, plain: true, module: kernels });

/** What a test may do to a backend: `run` is told the number of the step since the model was loaded, from 1. */
interface Faults {
  make?: () => void;
  run?: (step: number) => void;
  answer?: (values: Float32Array) => Float32Array;
  /** Milliseconds that every step takes longer. */
  delay?: number;
}

/** The WASM backend with faults, under any name. Those of the probe, which come first, run without `run`. */
function faulty(kind: Backend['kind'], faults: Faults): MakeBackend {
  return async (options) => {
    faults.make?.();
    const backend = await wasm(options);
    const probing = options.hyper.layers === 2;
    let steps = 0;
    return {
      ...backend,
      kind,
      description: `played ${kind}`,
      async run(step) {
        if (!probing) faults.run?.(++steps);
        if (faults.delay) await new Promise((resolve) => setTimeout(resolve, faults.delay));
        const values = await backend.run(step);
        return faults.answer?.(values.slice()) ?? values;
      },
    };
  };
}

function setUp(faults: { wasm?: Faults; webgpu?: Faults } = {}, ports: Partial<EnginePorts> = {}) {
  const events: { [E in keyof EngineEvents]: EngineEvents[E][] } = {
    log: [],
    progress: [],
    state: [],
    plan: [],
    device: [],
    move: [],
    token: [],
  };
  const engine = createEngine({
    emit: (event, detail) => (events[event] as unknown[]).push(detail),
    openModel: async (place, signal) => {
      if (!('name' in place)) throw new Error('the tests open by name');
      return readModel(bytesSource(readFileSync(fixture(`${place.name}.gguf`)), `${place.name}.gguf`), { signal });
    },
    listModels: async () => [],
    backends: () => ({ wasm: faulty('wasm', faults.wasm ?? {}), webgpu: faulty('webgpu', faults.webgpu ?? {}) }),
    openStore: async (onNote) => {
      onNote('Nothing is stored here.');
      return undefined;
    },
    memoryLimit: () => ({ bytes: 2 ** 30, hard: false }),
    browser: 'Test',
    ...ports,
  });
  const load = (request: Partial<LoadRequest> = {}): Promise<LoadInfo> =>
    engine.load({
      place: { name: MODEL },
      backend: 'wasm',
      emulation: { defaultLimits: false, noWebGpu: false, slowdown: 1, delayMs: 0, noRtc: false },
      ...request,
    });
  const answer = () => engine.generate(1, { ids, maxTokens: greedy.length });
  return { engine, events, load, answer };
}

describe('loading', () => {
  it('makes a model ready, says what it is, and answers as llama.cpp does', async () => {
    const { engine, events, load, answer } = setUp();
    const info = await load();
    expect(info).toMatchObject({
      ...{ model: MODEL, architecture: 'llama', layers: 4, backend: 'wasm', threads: 1 },
      bytes: readFileSync(fixture(`${MODEL}.gguf`)).length,
      plan: { epoch: 1, stages: [{ layers: [0, 4], members: [{ device: 0, qHeads: [[0, 16]] }] }] },
    });
    expect(info.notes).toContain('Nothing is stored here.');
    expect(events.progress.map(({ phase }) => phase)).toEqual(
      expect.arrayContaining(['header', 'probe', 'weights', 'ready']),
    );
    const last = events.progress.findLast(({ phase }) => phase === 'weights')!;
    expect(last.loaded).toBe(last.total);

    const result = await answer();
    expect(result.ids).toEqual(greedy);
    expect(events.token.map(({ id }) => id)).toEqual(greedy);
    expect(events.state).toEqual(['loading', 'ready', 'prefill', 'decode', 'ready']);

    const status = await engine.status();
    expect(status).toMatchObject({ state: 'ready', model: { model: MODEL }, moves: [] });
    expect(status.devices).toHaveLength(1);
    const [device] = status.devices;
    expect(device).toMatchObject({ self: true, backend: 'wasm', tokens: greedy.length, state: 'ready' });
    expect(device!.weightBytes).toBeGreaterThan(1e6);
    expect(device!.kvBytes).toBeGreaterThan(0);
    expect(device!.gmacs).toBeGreaterThan(0);
  });

  it('fails with the cause, and a model loaded before goes on', async () => {
    const { engine, events, load, answer } = setUp(
      {},
      {
        openModel: async (place, signal) => {
          if ('name' in place && place.name === 'broken') throw new ModelError('truncated', 'It ends early.');
          return readModel(bytesSource(readFileSync(fixture(`${MODEL}.gguf`)), MODEL), { signal });
        },
      },
    );
    await expect(load({ place: { name: 'broken' } })).rejects.toMatchObject({ code: 'truncated' });
    expect((await engine.status()).state).toBe('failed');
    expect(events.log.at(-1)).toMatchObject({ level: 'error', code: 'truncated', text: 'It ends early.' });
    await load();
    await expect(load({ place: { name: 'broken' } })).rejects.toMatchObject({ code: 'truncated' });
    expect((await engine.status()).state).toBe('ready');
    expect((await answer()).ids).toEqual(greedy);
  });

  it('can be cancelled by unload, and by another load', async () => {
    const { engine, load, answer } = setUp();
    const first = load();
    const cancelled = expect(first).rejects.toMatchObject({ code: 'aborted' });
    const second = load();
    await cancelled;
    await second;
    expect((await answer()).ids).toEqual(greedy);
    const third = load();
    const ended = expect(third).rejects.toMatchObject({ code: 'aborted' });
    await engine.unload();
    await ended;
    expect((await engine.status()).state).toBe('idle');
    await expect(answer()).rejects.toMatchObject({ code: 'no-model' });
  });

  it('sizes the context to model and memory', async () => {
    const info = await setUp().load({ context: 5000 });
    expect(info.context).toBe(1024);
    expect(info.notes.join()).toMatch(/made for 1024, not 5000/);
    const small = setUp({}, { memoryLimit: () => ({ bytes: 1e6, hard: true }) });
    await expect(small.load()).rejects.toMatchObject({ code: 'memory' });
  });

  it('waits for as many devices as the ratios name, and can be told not to', async () => {
    const { engine, events, load } = setUp();
    const loading = load({ ratios: '1:1' });
    loading.catch(() => undefined);
    await expect.poll(() => events.progress.at(-1)?.phase).toBe('devices');
    await engine.unload();
    await expect(loading).rejects.toThrow(/unloaded/);
  });

  it('refuses ratios that make no sense', async () => {
    await expect(setUp().load({ ratios: '1@99' })).rejects.toThrow(/layers/);
  });
});

describe('the choice of a backend', () => {
  const noAdapter = () => {
    throw new DeviceError('no-adapter', 'There is no adapter.');
  };

  it('takes the faster one and says so', async () => {
    const slowGpu = await setUp({ webgpu: { delay: 30 } }).load({ backend: 'auto' });
    expect(slowGpu.backend).toBe('wasm');
    expect(slowGpu.notes.join()).toMatch(/played wasm computes.*WebGPU \(played webgpu\) would take/);
    const slowCpu = await setUp({ wasm: { delay: 30 } }).load({ backend: 'auto' });
    expect(slowCpu.backend).toBe('webgpu');
  });

  it('does without WebGPU where there is none, unless it was asked for', async () => {
    const info = await setUp({ webgpu: { make: noAdapter } }).load({ backend: 'auto' });
    expect(info.backend).toBe('wasm');
    expect(info.notes.join()).toContain('There is no adapter.');
    await expect(setUp({ webgpu: { make: noAdapter } }).load({ backend: 'webgpu' })).rejects.toMatchObject({
      code: 'no-adapter',
      message: expect.stringContaining('There is no adapter.'),
    });
  });

  it('is made while the first weights arrive; a model that is there stays until it is made', async () => {
    let proceed: () => void = () => {};
    let waiting = new Promise<void>((resolve) => (proceed = resolve));
    let failing = false;
    const slowly: MakeBackend = async (options) => {
      await waiting;
      if (failing) noAdapter();
      return wasm(options);
    };
    const { engine, events, load, answer } = setUp(
      {},
      {
        backends: ({ threads }) => ({ wasm: threads ? slowly : wasm, webgpu: () => Promise.reject(new Error('none')) }),
      },
    );
    const first = load({ threads: 1 });
    await expect
      .poll(() => events.progress.at(-1))
      .toMatchObject({
        phase: 'weights',
        text: expect.stringContaining('Measuring what this device can do.'),
      });
    expect((await engine.status()).devices).toMatchObject([{ self: true, state: 'loading' }]);
    proceed();
    await first;
    expect(events.progress.at(-1)?.phase).toBe('ready');

    waiting = new Promise((resolve) => (proceed = resolve));
    const second = load({ threads: 2 });
    second.catch(() => undefined);
    await expect.poll(() => events.progress.at(-1)?.phase).toBe('probe');
    failing = true;
    proceed();
    await expect(second).rejects.toMatchObject({ code: 'no-adapter' });
    expect((await engine.status()).state).toBe('ready');
    expect((await answer()).ids).toEqual(greedy);
  });

  it('says at once why nothing can compute here, also while it waits for devices', async () => {
    const { engine, events, load } = setUp({ wasm: { make: noAdapter } });
    await expect(load({ ratios: '1:1' })).rejects.toMatchObject({ code: 'no-adapter' });
    expect(events.log.at(-1)).toMatchObject({ level: 'error', code: 'no-adapter' });
    expect((await engine.status()).state).toBe('failed');
  });

  it('does not believe wrong numbers', async () => {
    const webgpu: Faults = { answer: (values) => values.map((value, i) => (i % 7 ? value : -value)) };
    const info = await setUp({ webgpu }).load({ backend: 'auto' });
    expect(info.backend).toBe('wasm');
    expect(info.notes.join()).toContain('wrong numbers');
    await expect(setUp({ webgpu }).load({ backend: 'webgpu' })).rejects.toMatchObject({ code: 'wrong-numbers' });
  });

  it('falls back when the model does not fit on the faster one', async () => {
    let made = 0;
    const webgpu: Faults = {
      make: () => {
        if (++made > 1) throw new DeviceError('memory', 'Too large.');
      },
    };
    const info = await setUp({ webgpu, wasm: { delay: 30 } }).load({ backend: 'auto' });
    expect(info.backend).toBe('wasm');
    expect(info.notes.join()).toContain('Too large.');
  });
});

describe('a device that is lost', () => {
  const lostAt = (steps: number[]) => {
    const left = [...steps];
    return (step: number) => {
      if (step !== left[0]) return;
      left.shift();
      throw new DeviceError('lost', 'The device was lost.');
    };
  };

  it('in the middle of an answer: the same backend again, then WASM, and the answer is the same', async () => {
    const { events, load, answer, engine } = setUp({ webgpu: { run: lostAt([5, 4]) } });
    await load({ backend: 'webgpu' });
    const result = await answer();
    expect(result.ids).toEqual(greedy);
    expect(events.token.map(({ id }) => id)).toEqual(greedy);
    const told = events.log.map(({ text }) => text).join('\n');
    expect(told).toMatch(/played webgpu failed: The device was lost/);
    expect(told).toMatch(/goes on with played webgpu[\s\S]*goes on with played wasm/);
    expect((await engine.status()).model?.backend).toBe('wasm');
    expect(events.state.at(-1)).toBe('ready');
  });

  it('keeps the conversation: the next turn goes on from the same tokens', async () => {
    const { load, answer, engine } = setUp({ webgpu: { run: lostAt([3]) } });
    await load({ backend: 'webgpu' });
    const { ids: first } = await answer();
    const next = [...ids, ...first, 7];
    const plain = setUp();
    await plain.load();
    const second = await engine.generate(2, { ids: next, maxTokens: 5 });
    expect(second.timings.cachedTokens).toBe(ids.length + first.length - 1);
    expect(second.ids).toEqual((await plain.engine.generate(2, { ids: next, maxTokens: 5 })).ids);
  });

  it('for good ends the session with words, and a new load works', async () => {
    let broken = true;
    const run = () => {
      if (broken) throw new DeviceError('lost', 'The device was lost.');
    };
    const { engine, events, load, answer } = setUp({ wasm: { run } });
    await load();
    await expect(answer()).rejects.toMatchObject({ code: 'lost', message: expect.stringContaining('Load the model') });
    expect((await engine.status()).state).toBe('failed');
    expect(events.log.at(-1)).toMatchObject({ level: 'error', code: 'lost' });
    await expect(answer()).rejects.toMatchObject({ code: 'no-model' });
    broken = false;
    await load();
    expect((await answer()).ids).toEqual(greedy);
  });
});

describe('one thing at a time', () => {
  it('refuses a second generation, and stops the first when told to', async () => {
    const { engine, load, answer } = setUp({ wasm: { delay: 5 } });
    await load();
    const first = answer();
    await expect(engine.generate(2, { ids, maxTokens: 1 })).rejects.toMatchObject({ code: 'busy' });
    engine.abort(2);
    engine.abort(1);
    expect(await first).toMatchObject({ finishReason: 'abort' });
    expect((await answer()).ids).toEqual(greedy);
  });

  it('ends an answer when the model is unloaded', async () => {
    const { engine, load, answer } = setUp({ wasm: { delay: 5 } });
    await load();
    const first = answer();
    await engine.unload();
    expect((await first).finishReason).toBe('abort');
    expect((await engine.status()).devices).toEqual([]);
  });

  it('knows tokens and the template only of a loaded model', async () => {
    const { engine, load } = setUp();
    await expect(engine.tokenize('a', false)).rejects.toMatchObject({ code: 'no-model' });
    await load();
    const tokens = await engine.tokenize('bees', false);
    expect(await engine.detokenize(tokens)).toBe('bees');
    expect(await engine.render([{ role: 'user', content: 'bees' }], true)).toContain('bees');
    await expect(engine.stored()).rejects.toMatchObject({ code: 'no-store', message: 'Nothing is stored here.' });
  });
});
