/** The handle over a Worker that is played by a message channel. */
import { expose } from 'comlink';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Generation, LogEvent, TokenEvent } from '../../web/api.ts';
import { HostError } from '../../web/device/errors.ts';
import { carryErrorCodes } from '../../web/device/transfer.ts';
import type { EngineMessage, EngineService, LoadRequest } from '../../web/host/engine-types.ts';
import { createHandle, type EngineWorker } from '../../web/host/handle.ts';
import { ModelError } from '../../web/model/types.ts';

carryErrorCodes();

const generation = { ids: [1, 2], text: 'ab', finishReason: 'stop' } as unknown as Generation;
const channels: MessageChannel[] = [];
afterEach(() => {
  for (const { port1, port2 } of channels.splice(0)) {
    port1.close();
    port2.close();
  }
});

/** A handle, and for every Worker that it started the means to speak as it and to crash it. */
function setUp(service: Partial<EngineService>, search = '') {
  const workers: { send(message: EngineMessage): void; crash(message: string): void; terminated: boolean }[] = [];
  const handle = createHandle(() => {
    const channel = new MessageChannel();
    channels.push(channel);
    const { port1, port2 } = channel;
    expose(service, port2 as unknown as Parameters<typeof expose>[1]);
    const errors = new EventTarget();
    const worker = {
      terminated: false,
      send: (message: EngineMessage) => port2.postMessage(message),
      crash: (message: string) => errors.dispatchEvent(Object.assign(new Event('error'), { message })),
    };
    workers.push(worker);
    const listen = (type: string, listener: EventListener) =>
      type === 'error' ? errors.addEventListener(type, listener) : port1.addEventListener(type, listener as never);
    const endpoint: EngineWorker = {
      addEventListener: (type, listener) => listen(type, listener as EventListener),
      removeEventListener: (type, listener) => port1.removeEventListener(type, listener as never),
      postMessage: (message, transfer) => port1.postMessage(message, transfer as never),
      terminate: () => {
        worker.terminated = true;
        port1.close();
      },
    };
    port1.start();
    return endpoint;
  }, search);
  return { handle, workers };
}

describe('the handle', () => {
  it('carries name, message and code of an error across', async () => {
    const { handle } = setUp({
      load: async () => {
        throw new ModelError('truncated', 'The file ends early.');
      },
      models: async () => {
        throw new TypeError('unforeseen');
      },
    });
    const error = await handle.load({ model: 'x' }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'ModelError', code: 'truncated', message: 'The file ends early.' });
    await expect(handle.models()).rejects.toMatchObject({ code: 'internal', message: 'unforeseen' });
    await expect(handle.load({ model: '' })).rejects.toMatchObject({ code: 'bad-request' });
  });

  it("takes load's defaults from the page's address, where the caller says nothing", async () => {
    const seen: LoadRequest[] = [];
    const { handle } = setUp(
      {
        load: async (request) => {
          seen.push(request);
          return {} as never;
        },
      },
      '?backend=wasm&threads=3&emulate=slow:2',
    );
    await handle.load({ model: 'name', threads: undefined });
    await handle.load({ model: new URL('http://a/b.gguf'), backend: 'webgpu', threads: 1, context: 99 });
    await handle.load({ model: 'https://a/b.gguf' });
    expect(seen[0]).toMatchObject({ place: { name: 'name' }, backend: 'wasm', threads: 3, emulation: { slowdown: 2 } });
    expect(seen[1]).toMatchObject({ place: { url: 'http://a/b.gguf' }, backend: 'webgpu', threads: 1, context: 99 });
    expect(seen[2]).toMatchObject({ place: { url: 'https://a/b.gguf' } });
  });

  it("gives every token to the caller before the answer, on the page's clock, and to listeners", async () => {
    const { handle, workers } = setUp({
      generate: async (call) => {
        for (const id of generation.ids) {
          const at = performance.timeOrigin + 100 + id;
          workers[0]!.send({ event: 'token', detail: { call, id, text: String(id), at } });
        }
        workers[0]!.send({ event: 'token', detail: { call: call + 1, id: 9, text: 'another call', at: 0 } });
        return generation;
      },
    });
    const seen: TokenEvent[] = [];
    const heard: TokenEvent[] = [];
    const off = handle.on('token', (token) => heard.push(token));
    const result = await handle.generate({ prompt: 'x', onToken: (token) => seen.push(token) });
    expect(result).toEqual(generation);
    expect(seen.map(({ id }) => id)).toEqual([1, 2]);
    expect(seen[0]!.at).toBeCloseTo(101, 3);
    expect(heard).toHaveLength(3);
    off();
    await handle.generate({ prompt: 'x' });
    expect(heard).toHaveLength(3);
  });

  it('forwards an abort signal, fired before or during the call', async () => {
    const aborted: number[] = [];
    let end: (() => void) | undefined;
    const { handle } = setUp({
      generate: (call) =>
        new Promise((resolve) => {
          end = () => resolve({ ...generation, finishReason: 'abort', seed: call });
        }),
      abort: (call) => {
        aborted.push(call);
        end?.();
      },
    });
    const first = await handle.generate({ prompt: 'x', signal: AbortSignal.abort() });
    expect(first.finishReason).toBe('abort');
    const controller = new AbortController();
    const second = handle.generate({ prompt: 'x', signal: controller.signal });
    await new Promise((resolve) => setTimeout(resolve, 20));
    controller.abort();
    expect((await second).finishReason).toBe('abort');
    expect(aborted).toEqual([first.seed, (await second).seed]);
  });

  it('says so when the Worker crashes, and starts another one with load', async () => {
    const { handle, workers } = setUp({
      load: async () => ({ model: 'm' }) as never,
      generate: () => new Promise(() => undefined),
      status: async () => ({ state: 'ready', devices: [], moves: [] }),
    });
    await handle.load({ model: 'm' });
    const states: string[] = [];
    const logs: LogEvent[] = [];
    handle.on('state', (state) => states.push(state));
    handle.on('log', (line) => logs.push(line));
    const answer = handle.generate({ prompt: 'x' });
    const rejected = expect(answer).rejects.toMatchObject({
      code: 'crashed',
      message: /out of memory.*Load the model/,
    });
    workers[0]!.crash('out of memory');
    await rejected;
    expect(workers[0]!.terminated).toBe(true);
    expect(states).toEqual(['failed']);
    expect(logs).toMatchObject([{ level: 'error', code: 'crashed' }]);
    expect((await handle.status()).state).toBe('failed');
    await expect(handle.tokenize('a')).rejects.toMatchObject({ code: 'crashed' });
    await handle.load({ model: 'm' });
    expect(workers).toHaveLength(2);
    expect((await handle.status()).state).toBe('ready');
  });

  describe('a Worker', () => {
    // Messages go their usual way; only the patience is played.
    beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
    afterEach(() => vi.useRealTimers());

    it('that never answers is given up, and load starts another', async () => {
      let started = 0;
      const silent = { addEventListener() {}, removeEventListener() {}, postMessage() {}, terminate() {} };
      const handle = createHandle(() => {
        started++;
        return silent;
      }, '');
      const logs: LogEvent[] = [];
      handle.on('log', (line) => logs.push(line));
      const rejected = expect(handle.load({ model: 'm' })).rejects.toMatchObject({
        code: 'crashed',
        message: /has not started in 60 s.*Load the model again/,
      });
      await vi.advanceTimersByTimeAsync(61_000);
      await rejected;
      expect(logs).toMatchObject([{ level: 'error', code: 'crashed' }]);
      const again = handle.load({ model: 'm' }).catch((error: Error) => error.message);
      await vi.advanceTimersByTimeAsync(61_000);
      expect(await again).toMatch(/has not started/);
      expect(started).toBe(2);
    });

    it('that has answered may take its time', async () => {
      const { handle, workers } = setUp({
        status: async () => ({ state: 'ready', devices: [], moves: [] }),
        tokenize: () => new Promise(() => undefined),
      });
      expect((await handle.status()).state).toBe('ready');
      void handle.tokenize('a');
      await vi.advanceTimersByTimeAsync(120_000);
      expect(workers[0]!.terminated).toBe(false);
      expect((await handle.status()).state).toBe('ready');
    });
  });

  it('rejects with words when no Worker can be started', async () => {
    const handle = createHandle(() => {
      throw new HostError('x', 'blocked by policy');
    }, '');
    await expect(handle.load({ model: 'm' })).rejects.toMatchObject({ code: 'crashed', message: /blocked by policy/ });
  });

  it('warns of a query that means nothing once somebody can hear it', async () => {
    const { handle } = setUp({}, '?backend=cuda');
    const logs: LogEvent[] = [];
    handle.on('log', (line) => logs.push(line));
    await handle.ready;
    expect(logs).toMatchObject([{ level: 'warn', text: expect.stringContaining('cuda') }]);
  });
});
