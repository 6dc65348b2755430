/** The engine through `window.edgevisor` alone: what a script on the host page can rely on, in every browser. */
import { copyFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import type { GenerateOptions, LoadInfo, LoadOptions, LogEvent } from '../../web/api.ts';
import { readGolden } from '../support/golden.ts';
import { repoPath } from '../support/node-model.ts';
import { DEFAULT_MODEL, expect, hasDefaultModel, ONE_ENGINE, openHost, test } from './support/test.ts';

const TINY = 'tiny-llama.Q4_0';
const tiny = readGolden(repoPath(`tests/fixtures/${TINY}.json`)).cases.find(({ name }) => name === 'ids7')!;
/** Up to the first step at which two tokens are as good as equal. */
const tinyGreedy = tiny.greedy.slice(0, 20);

const load = (page: Page, options: Omit<LoadOptions, 'model'> & { model: string }): Promise<LoadInfo> =>
  page.evaluate((given) => window.edgevisor.load(given), options);
const generate = (page: Page, options: GenerateOptions) =>
  page.evaluate((given) => window.edgevisor.generate(given), options);

interface Failure {
  error: boolean;
  code: string;
  message: string;
}

declare global {
  interface Window {
    /** What a call rejects with. */
    failureOf(call: Promise<unknown>): Promise<Failure>;
  }
}

test.beforeEach(({ page }) =>
  page.addInitScript(() => {
    window.failureOf = (call) =>
      call.then(
        () => ({ error: false, code: '', message: 'it was fulfilled' }),
        (error) => ({ error: error instanceof Error, code: error.code, message: error.message }),
      );
  }),
);

const failedLoad = (page: Page, options: Omit<LoadOptions, 'model'> & { model: string }): Promise<Failure> =>
  page.evaluate((given) => window.failureOf(window.edgevisor.load(given)), options);

test.describe('the default model', () => {
  test.skip(!hasDefaultModel(), 'models/ lacks the default model: run npm start once');

  for (const backend of ['wasm', 'webgpu'] as const) {
    test(`chats on ${backend}, token by token, and reuses the first turn`, async ({ page, server }) => {
      await openHost(page, server, `backend=${backend}`);
      const listed = await page.evaluate(() => window.edgevisor.models());
      expect(listed).toContainEqual({ name: DEFAULT_MODEL, bytes: 98_362_432, supported: true });
      const info = await load(page, { model: DEFAULT_MODEL, context: 512 });
      expect(info).toMatchObject({
        ...{ model: DEFAULT_MODEL, architecture: 'llama', layers: 30 },
        backend,
        context: 512,
      });

      const chat = await page.evaluate(async () => {
        const { edgevisor } = window;
        const tokens: { id: number; text: string; at: number }[] = [];
        const heard: number[] = [];
        edgevisor.on('token', ({ id }) => heard.push(id));
        const messages = [{ role: 'user' as const, content: 'What is 2+2? Answer with only the number.' }];
        const first = await edgevisor.generate({ messages, temperature: 0, onToken: (token) => tokens.push(token) });
        const more = [
          { role: 'assistant' as const, content: first.text },
          { role: 'user' as const, content: 'Why?' },
        ];
        const second = await edgevisor.generate({ messages: [...messages, ...more], maxTokens: 4, top: 3 });
        return { first, second, tokens, heard, now: performance.now() };
      });
      const golden = readGolden(repoPath('tests/fixtures/smollm2-135m-instruct.q4_1.json'));
      const arith = golden.cases.find(({ name }) => name === 'arith')!;
      expect(chat.first.promptIds).toEqual(arith.ids);
      expect(chat.first.ids).toEqual(arith.greedy);
      expect(chat.first.finishReason).toBe('stop');
      expect(chat.tokens.map(({ id }) => id)).toEqual(chat.first.ids);
      expect(chat.tokens.map(({ text }) => text).join('')).toBe(chat.first.text);
      expect(chat.tokens.every(({ at }) => at > 0 && at <= chat.now)).toBe(true);
      expect(chat.heard).toEqual([...chat.first.ids, ...chat.second.ids]);
      // All but the end of turn, which was never forwarded.
      expect(chat.second.timings.cachedTokens).toBe(arith.ids.length + arith.greedy.length - 1);
      expect(chat.second.top).toHaveLength(4);
      expect(chat.second.top![0]![0]![0]).toBe(chat.second.ids[0]);
    });
  }
});

test.describe('with a small model', () => {
  test('answers, stops, tokenizes and reports, one thing at a time', async ({ page, server }) => {
    await openHost(page, server, 'backend=wasm&threads=2');
    expect(await page.evaluate(() => window.failureOf(window.edgevisor.tokenize('a')))).toMatchObject({
      error: true,
      code: 'no-model',
    });
    const info = await load(page, { model: TINY });
    expect(info).toMatchObject({ threads: 2, backend: 'wasm', context: 1024 });
    expect((await generate(page, { ids: tiny.ids, maxTokens: 20 })).ids).toEqual(tinyGreedy);

    const { seeded, again, other } = await page.evaluate(async (ids) => {
      const request = { ids, maxTokens: 12, temperature: 1, topP: 0.95, seed: 7 };
      return {
        seeded: await window.edgevisor.generate(request),
        again: await window.edgevisor.generate({ ...request, reuse: false }),
        other: await window.edgevisor.generate({ ...request, seed: 8 }),
      };
    }, tiny.ids);
    expect(again.ids).toEqual(seeded.ids);
    expect(other.ids).not.toEqual(seeded.ids);

    const text = await page.evaluate(async () => {
      const ids = await window.edgevisor.tokenize('two bees');
      return {
        round: await window.edgevisor.detokenize(ids),
        rendered: await window.edgevisor.render([{ role: 'user', content: 'two bees' }]),
      };
    });
    expect(text.round).toBe('two bees');
    expect(text.rendered).toContain('two bees');

    const busy = await page.evaluate(async (ids) => {
      const first = window.edgevisor.generate({ ids, ignoreEos: true });
      const second = await window.edgevisor.generate({ ids }).catch((error) => error.code);
      await window.edgevisor.unload();
      return { first: (await first).finishReason, second };
    }, tiny.ids);
    expect(busy).toEqual({ first: 'abort', second: 'busy' });
    expect(await page.evaluate(() => window.edgevisor.status())).toMatchObject({ state: 'idle', devices: [] });
  });

  test('is cancelled 50 times at random tokens and during prefill, and answers as if it were new', async ({
    page,
    server,
  }) => {
    await openHost(page, server, 'backend=wasm');
    await load(page, { model: TINY });
    const result = await page.evaluate(
      async ({ ids, expected }) => {
        const { edgevisor } = window;
        const wrong: unknown[] = [];
        for (let round = 0; round < 50; round++) {
          const at = 1 + ((round * 7) % (expected.length - 1));
          const controller = new AbortController();
          let seen = 0;
          const answer = await edgevisor.generate({
            ids,
            ignoreEos: true,
            signal: controller.signal,
            onToken: () => ++seen === at && controller.abort(),
          });
          const right = answer.ids.slice(0, expected.length).every((id, i) => id === expected[i]);
          if (answer.finishReason !== 'abort' || !right || answer.ids.length < at) wrong.push({ at, answer });
        }
        const long = Array.from({ length: 900 }, (_, i) => i % 500);
        const controller = new AbortController();
        const prefill = edgevisor.generate({ ids: long, signal: controller.signal, reuse: false });
        controller.abort();
        const cancelled = await prefill;
        const last = await edgevisor.generate({ ids, maxTokens: expected.length });
        return { wrong, cancelled: [cancelled.finishReason, cancelled.ids.length], last: last.ids };
      },
      { ids: tiny.ids, expected: tinyGreedy },
    );
    expect(result).toEqual({ wrong: [], cancelled: ['abort', 0], last: tinyGreedy });
  });

  test('comes from an address and from a picked file as well, and is kept in the store', async ({ page, server }) => {
    await openHost(page, server, 'backend=wasm');
    const url = `${server.url}/models/${TINY}.gguf`;
    const loaded = await page.evaluate(async (address) => {
      const { edgevisor } = window;
      const fromUrl = await edgevisor.load({ model: new URL(address) });
      const blob = await (await fetch(address)).blob();
      const fromFile = await edgevisor.load({ model: new File([blob], 'picked.gguf') });
      const stored = await edgevisor.stored();
      await edgevisor.deleteStored(stored[0]!.digest);
      return { fromUrl, fromFile, stored, after: await edgevisor.stored() };
    }, url);
    expect(loaded.fromUrl).toMatchObject({ model: TINY, bytes: 1_940_512 });
    expect(loaded.fromFile).toMatchObject({ model: 'picked', bytes: 1_940_512 });
    expect(loaded.stored).toHaveLength(1);
    expect(loaded.stored[0]!.bytes).toBeGreaterThan(1e6);
    expect(loaded.after).toEqual([]);
  });

  test('comes in several picked files, and a missing one is named', { tag: ONE_ENGINE }, async ({ page, server }) => {
    await openHost(page, server, 'backend=wasm');
    const failed = await page.evaluate(() => {
      const part = (number: number) => new File(['x'], `m-0000${number}-of-00003.gguf`);
      return window.failureOf(window.edgevisor.load({ model: part(3), parts: [part(1)] }));
    });
    expect(failed).toMatchObject({
      code: 'truncated',
      message: expect.stringContaining('missing: m-00002-of-00003.gguf'),
    });
  });

  test('that needs more memory than the page may use is refused', { tag: ONE_ENGINE }, async ({ page, server }) => {
    await openHost(page, server, 'backend=wasm&emulate=memory:1');
    expect(await failedLoad(page, { model: TINY })).toMatchObject({ code: 'memory' });
  });
});

test.describe('bad input', () => {
  test('of files ends with a code, a sentence, and an engine that goes on', async ({ page, server }) => {
    const bad = (name: string) => join(server.models, `${name}.gguf`);
    copyFileSync(join(server.models, `${TINY}.gguf`), bad('truncated'));
    truncateSync(bad('truncated'), 1_000_000);
    writeFileSync(bad('not-a-model'), '<!doctype html><title>Sign in</title>'.repeat(50));
    await openHost(page, server, 'backend=wasm');
    await page.route('**/somewhere/page.gguf', (route) =>
      route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>Sign in</title>' }),
    );

    const listed = await page.evaluate(() => window.edgevisor.models());
    expect(listed.find(({ name }) => name === 'truncated')).toMatchObject({ supported: false });
    const codes = {
      truncated: 'truncated',
      'not-a-model': 'not-a-model',
      'nothing-there': 'network',
      [`${server.url}/somewhere/page.gguf`]: 'not-a-model',
    };
    for (const [model, code] of Object.entries(codes)) {
      const failed = await failedLoad(page, { model });
      expect(failed, model).toMatchObject({ error: true, code });
      expect(failed.message.length).toBeGreaterThan(30);
    }
    expect((await page.evaluate(() => window.edgevisor.status())).state).toBe('failed');
    await load(page, { model: TINY });
    expect((await generate(page, { ids: tiny.ids, maxTokens: 20 })).ids).toEqual(tinyGreedy);

    const refused = await page.evaluate(async () => {
      const { edgevisor, failureOf } = window;
      return {
        long: await failureOf(edgevisor.generate({ ids: Array.from({ length: 1025 }, () => 1) })),
        unknown: await failureOf(edgevisor.generate({ ids: [512] })),
        misspelt: await failureOf(edgevisor.generate({ promt: 'x' } as GenerateOptions)),
      };
    });
    expect(refused.long).toMatchObject({ code: 'too-long', message: expect.stringMatching(/1025.*1024/) });
    expect(refused.unknown).toMatchObject({ code: 'bad-request' });
    expect(refused.misspelt).toMatchObject({ code: 'bad-request', message: expect.stringContaining('promt') });
  });

  test('of the network: a connection reset at every tenth range', async ({ page, server }) => {
    await openHost(page, server, 'backend=wasm');
    let requests = 0;
    let resets = 0;
    await page.route('**/models/*.gguf', async (route) => {
      if (++requests % 10 !== 3) return route.continue();
      resets++;
      return route.abort('connectionreset');
    });
    await load(page, { model: TINY });
    expect((await generate(page, { ids: tiny.ids, maxTokens: 20 })).ids).toEqual(tinyGreedy);
    expect(resets).toBeGreaterThan(0);
  });
});

test.describe('an engine that fails', () => {
  /** Opens the page with an engine Worker that runs `code` before its own. */
  async function openWith(code: string, page: Page, server: { url: string }, query: string): Promise<void> {
    await page.route(/engine\.worker[^/]*\.js/, async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: `${code}\n${await response.text()}` });
    });
    await openHost(page, server, query);
  }

  test('by losing its GPU in the middle of an answer goes on, no token lost or doubled', async ({ page, server }) => {
    const destroyOnMessage = `
      const { requestDevice } = GPUAdapter.prototype;
      let device;
      GPUAdapter.prototype.requestDevice = async function (descriptor) {
        device = await requestDevice.call(this, descriptor);
        return device;
      };
      new BroadcastChannel('destroy').onmessage = () => device.destroy();`;
    // Slow enough that the message arrives before the end of the answer.
    await openWith(destroyOnMessage, page, server, 'backend=webgpu&emulate=slow:3');
    await load(page, { model: TINY });
    const { result, tokens, logs, status } = await page.evaluate(async (ids) => {
      const destroy = new BroadcastChannel('destroy');
      const tokens: number[] = [];
      const logs: LogEvent[] = [];
      window.edgevisor.on('log', (line) => logs.push(line));
      const result = await window.edgevisor.generate({
        ids,
        maxTokens: 20,
        onToken: ({ id }) => {
          tokens.push(id);
          if (tokens.length === 3) destroy.postMessage('');
        },
      });
      return { result, tokens, logs, status: await window.edgevisor.status() };
    }, tiny.ids);
    expect(result.ids).toEqual(tinyGreedy);
    expect(tokens).toEqual(tinyGreedy);
    expect(logs.map(({ code }) => code)).toContain('lost');
    expect(logs.map(({ text }) => text).join()).toContain('The conversation goes on');
    expect(status.model?.backend).toBe('webgpu');
  });

  test('by a GPU that computes wrong numbers uses WASM, and tells why', async ({ page, server }) => {
    // One that computes on the processor is not measured at all.
    const wrongReadback = `
      Object.defineProperty(GPUAdapter.prototype, 'info', {
        get: () => ({ description: 'played GPU', vendor: '', architecture: '', device: '', isFallbackAdapter: false }),
      });
      const { getMappedRange } = GPUBuffer.prototype;
      GPUBuffer.prototype.getMappedRange = function (...range) {
        const bytes = getMappedRange.apply(this, range);
        const values = new Float32Array(bytes);
        for (let i = 0; i < values.length; i += 5) values[i] = -values[i];
        return bytes;
      };`;
    await openWith(wrongReadback, page, server, '');
    const info = await load(page, { model: TINY, backend: 'auto' });
    expect(info.backend).toBe('wasm');
    expect(info.notes.join()).toContain('wrong numbers');
    expect(await failedLoad(page, { model: TINY, backend: 'webgpu' })).toMatchObject({
      code: 'wrong-numbers',
    });
  });

  test('by a GPU that is the processor is no failure: WASM computes, and nothing is measured', async ({
    page,
    server,
  }) => {
    const noDevice = `GPUAdapter.prototype.requestDevice = async () => { throw new Error('played') };
      Object.defineProperty(GPUAdapter.prototype, 'info', {
        get: () => ({ description: 'SwiftShader', vendor: '', architecture: '', device: '', isFallbackAdapter: false }),
      });`;
    await openWith(noDevice, page, server, '');
    const info = await load(page, { model: TINY, backend: 'auto' });
    expect(info.backend).toBe('wasm');
    expect(info.notes.join()).toContain('SwiftShader (software), is the processor too');
  });

  test('to find a GPU uses WASM, and tells why', async ({ page, server }) => {
    await openWith('GPU.prototype.requestAdapter = async () => null;', page, server, '');
    const info = await load(page, { model: TINY, backend: 'auto' });
    expect(info.backend).toBe('wasm');
    expect(info.notes.join()).toContain('adapter');
    expect(await failedLoad(page, { model: TINY, backend: 'webgpu' })).toMatchObject({
      code: 'no-adapter',
    });
  });

  test('altogether is named as crashed, and load starts another one', async ({ page, server }) => {
    const crashOnMessage = "new BroadcastChannel('crash').onmessage = () => { throw new Error('played crash'); };";
    await openWith(crashOnMessage, page, server, 'backend=wasm');
    await load(page, { model: TINY });
    const log = await page.evaluate(
      () =>
        new Promise<LogEvent>((resolve) => {
          window.edgevisor.on('log', (line) => line.code === 'crashed' && resolve(line));
          new BroadcastChannel('crash').postMessage('');
        }),
    );
    expect(log.text).toMatch(/played crash.*Load the model again/);
    expect(await page.evaluate(() => window.failureOf(window.edgevisor.tokenize('a')))).toMatchObject({
      code: 'crashed',
    });
    expect((await page.evaluate(() => window.edgevisor.status())).state).toBe('failed');
    await load(page, { model: TINY });
    expect((await generate(page, { ids: tiny.ids, maxTokens: 20 })).ids).toEqual(tinyGreedy);
  });
});
