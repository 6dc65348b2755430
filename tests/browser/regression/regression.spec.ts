/**
 * The same cases in every engine, on the real pages and the real server; `npm run test:browsers` prints which ran where.
 * Titles are the rows of that table. Short with a small model; REGRESSION=long takes the default one.
 */
import { networkInterfaces } from 'node:os';
import type { LoadInfo, LoadOptions } from '../../../web/api.ts';
import { readGolden } from '../../support/golden.ts';
import { repoPath } from '../../support/node-model.ts';
import { test as base, DEFAULT_MODEL, expect, hasDefaultModel } from '../support/test.ts';
import {
  answerOf,
  beginAnswer,
  computing,
  endAnswer,
  enter,
  type Household,
  lenderStatus,
  openHousehold,
  press,
  statusOf,
  textOf,
} from './household.ts';
import { type Engine, type EngineName, startEngine, type Tab } from './tabs.ts';
import { startWithoutIsolation } from './without-isolation.ts';

const LONG = process.env.REGRESSION === 'long';
const MODEL = LONG ? DEFAULT_MODEL : 'tiny-llama.Q4_0';
const golden = readGolden(
  repoPath(LONG ? 'tests/fixtures/smollm2-135m-instruct.q4_1.json' : 'tests/fixtures/tiny-llama.Q4_0.json'),
).cases.find(({ name }) => name === (LONG ? 'count' : 'ids33'))!;
/** Up to the first step at which two tokens are as good as equal. */
const TOKENS = 16;
const EXPECTED = golden.greedy.slice(0, TOKENS);
/** A small model is over before anything can happen: its messages are held back. */
const HOST = LONG ? '' : 'emulate=delay:4';
/** How long every message to a device on a slow link takes, in ms. */
const DELAY_MS = 20;
/** Less than the model, more than the page's own records. */
const SMALL_QUOTA = 1 << 20;

const test = base.extend<object, { engine: Engine }>({
  engine: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads the pattern to learn what a fixture needs.
    async ({}, use, { project }) => {
      const engine = startEngine(project.name as EngineName);
      await use(engine);
      await engine.close();
    },
    { scope: 'worker' },
  ],
});
test.describe.configure({ timeout: LONG ? 300_000 : 120_000 });
test.skip(LONG && !hasDefaultModel(), 'models/ lacks the default model: run npm start once');

/** What a browser without RTCPeerConnection uses. */
const linkOf = (name: EngineName) => (name === 'webkit' ? 'relay' : 'webrtc');
const answer = (host: Tab) => answerOf(host, golden.ids, TOKENS);
const load = (host: Tab, options: Partial<LoadOptions> = {}): Promise<LoadInfo> =>
  host.evaluate((given) => window.edgevisor.load(given as LoadOptions), { model: MODEL, context: 256, ...options });
const setRatios = (host: Tab, ratios: string) =>
  host.evaluate(async (given) => void (await window.edgevisor.setRatios(given)), ratios);

test.describe('several devices', () => {
  /** Shared by the tests that leave it whole; after a failure Playwright starts anew, and so does it. */
  let shared: Household | undefined;
  test.afterAll(async () => {
    await shared?.close();
  });

  /** A host with a model and one device that lends. */
  async function household(engine: Engine, url: string): Promise<Household> {
    if (!shared) {
      shared = await openHousehold(engine, url, HOST);
      await shared.add();
      await load(shared.host, { backend: 'wasm', threads: 1, ratios: '1:1' });
    }
    return shared;
  }

  test('join', async ({ engine, server }) => {
    const { host, lenders, present } = await household(engine, server.url);
    expect(await present(1)).toMatchObject({ link: linkOf(engine.name), backend: 'wasm', threads: 1 });
    expect(await lenderStatus(lenders[0])).toMatchObject({ state: 'joined', index: 1, link: linkOf(engine.name) });
    expect(await computing(host)).toEqual([0, 1]);
  });

  test('chat', async ({ engine, server }) => {
    const { host } = await household(engine, server.url);
    const field = { selector: 'chat-composer textarea, textarea#text' };
    await expect.poll(() => textOf(host, field)).toBeDefined();
    await enter(host, field, 'Count to three.');
    const stop = { selector: 'button', having: 'Stop' };
    await expect.poll(() => textOf(host, stop)).toBeDefined();
    await expect.poll(async () => (await textOf(host, { selector: '.prose' }))?.trim() ?? '').not.toBe('');
    await press(host, stop);
    await expect.poll(() => textOf(host, { selector: 'button', having: 'Regenerate' })).toBeDefined();
    await expect.poll(async () => (await statusOf(host)).state).toBe('ready');
    expect(await answer(host)).toEqual(EXPECTED);
  });

  test('unequal split', async ({ engine, server }) => {
    const { host } = await household(engine, server.url);
    for (const ratios of LONG ? ['1:2', '1@20*1@10'] : ['1:2', '1@3*1@1']) {
      await setRatios(host, ratios);
      expect(await answer(host), ratios).toEqual(EXPECTED);
    }
    await setRatios(host, '1:1');
  });

  test('migration', async ({ engine, server }) => {
    const { host } = await household(engine, server.url);
    await setRatios(host, LONG ? '1:2' : '1:1');
    await beginAnswer(host, golden.ids, TOKENS, 1);
    const report = await host.evaluate(() => window.edgevisor.migrate({ from: 1, to: 0, kind: 1, heads: 1 }));
    const seen = await host.evaluate(() => window.seen?.length ?? 0);
    expect(report.state).toBe('committed');
    expect(await endAnswer(host)).toEqual(EXPECTED);
    // In the middle of the answer, not after it.
    expect(seen).toBeLessThan(TOKENS);
    await setRatios(host, '1:1');
  });

  test('reload', async ({ engine, server }) => {
    const { host, lenders, present } = await household(engine, server.url);
    await beginAnswer(host, golden.ids, TOKENS, 2);
    await lenders[0].tab.reload();
    expect(await endAnswer(host)).toEqual(EXPECTED);
    await expect.poll(async () => (await lenderStatus(lenders[0]))?.index).toBe(lenders[0].index);
    await expect.poll(() => computing(host)).toEqual([0, lenders[0].index]);

    await host.reload();
    await host.evaluate(() => window.edgevisor.ready);
    await present(lenders[0].index);
    await load(host, { backend: 'wasm', threads: 1, ratios: '1:1' });
    expect(await answer(host)).toEqual(EXPECTED);
  });

  test('relayed', async ({ engine, server }) => {
    const { host, lenders, add, present, drop } = await household(engine, server.url);
    const relayed = await add({ query: 'emulate=nortc' });
    await setRatios(host, '1:1:1');
    expect(await answer(host)).toEqual(EXPECTED);
    expect((await present(relayed.index)).link).toBe('relay');
    expect((await present(lenders[0].index)).link).toBe(linkOf(engine.name));
    await drop(relayed);
    await setRatios(host, '1:1');
  });

  test('slow link', async ({ engine, server }) => {
    const { host, add, drop } = await household(engine, server.url);
    const slow = await add({ query: `emulate=delay:${DELAY_MS}` });
    await setRatios(host, '1:1:1');
    expect(await answer(host)).toEqual(EXPECTED);
    // What this device answers for a layer's two sums is held back before the host's next step: a lower bound.
    const { gapsMs } = await host.evaluate(
      (options) => window.edgevisor.generate(options).then(({ timings }) => timings),
      { ids: golden.ids, maxTokens: 3, temperature: 0 },
    );
    for (const gap of gapsMs) expect(gap).toBeGreaterThan(DELAY_MS);
    await drop(slow);
    await setRatios(host, '1:1');
  });

  test('plain http', async ({ engine, server }) => {
    const address = Object.values(networkInterfaces())
      .flatMap((all) => all ?? [])
      .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
    test.skip(address === undefined, 'this machine has no address in a network');
    const { host, add, present, drop } = await household(engine, server.url);
    const plain = await add({ origin: `http://${address}:${new URL(server.url).port}`, query: 'threads=4' });
    expect(await plain.tab.evaluate(() => [isSecureContext, crossOriginIsolated])).toEqual([false, false]);
    expect(await present(plain.index)).toMatchObject({ backend: 'wasm', threads: 1, link: linkOf(engine.name) });
    await setRatios(host, '1:1:1');
    expect(await answer(host)).toEqual(EXPECTED);
    await drop(plain);
    await setRatios(host, '1:1');
  });

  test('hidden tab', async ({ engine, server }) => {
    const { host, add, present, drop } = await household(engine, server.url);
    const hidden = await add({ hidden: true });
    expect(await hidden.tab.evaluate(() => document.visibilityState)).toBe('hidden');
    await setRatios(host, '1:1:1');
    await host.evaluate((watched) => {
      const lost: number[] = [];
      window.lost = lost;
      // Those of the tests before are told of again when the room's list changes.
      window.edgevisor.on('device', ({ index, state }) => index === watched && state === 'lost' && lost.push(index));
    }, hidden.index);
    // Twice, and at rest between: longer than silence would be taken for a loss.
    for (let round = 0; round < 2; round++) {
      expect(await answer(host)).toEqual(EXPECTED);
      await new Promise((resolve) => setTimeout(resolve, round === 0 ? 4000 : 0));
    }
    expect(await host.evaluate(() => window.lost)).toEqual([]);
    expect(await hidden.tab.evaluate(() => document.visibilityState)).toBe('hidden');
    expect(await computing(host)).toContain((await present(hidden.index)).index);
    await drop(hidden);
    await setRatios(host, '1:1');
  });

  test('loss', async ({ engine, server }) => {
    const { host, lenders, add, drop } = await household(engine, server.url);
    await beginAnswer(host, golden.ids, TOKENS, 2);
    await drop(lenders[0]);
    expect(await endAnswer(host)).toEqual(EXPECTED);
    expect(await computing(host)).toEqual([0]);
    // Another takes the place.
    const { index } = await add();
    await expect.poll(() => computing(host)).toEqual([0, index]);
    expect(await answer(host)).toEqual(EXPECTED);
    expect((await statusOf(host)).state).toBe('ready');
  });
});

test.describe('one device', () => {
  let tab: Tab | undefined;
  test.afterEach(async () => {
    await tab?.close();
    tab = undefined;
  });
  const opened = async (opening: Promise<Tab>): Promise<Tab> => {
    tab = await opening;
    await expect.poll(() => tab?.evaluate(() => window.edgevisor !== undefined)).toBe(true);
    await tab.evaluate(() => window.edgevisor.ready);
    return tab;
  };
  const failedLoad = (page: Tab, backend: 'wasm' | 'webgpu') =>
    page.evaluate(
      (options) =>
        window.edgevisor.load(options).then(
          () => undefined,
          ({ code, message }: { code: string; message: string }) => ({ code, message }),
        ),
      { model: MODEL, backend },
    );

  test('WebGPU’s default limits', async ({ engine, server }) => {
    test.skip(engine.name === 'webkit', 'this browser has no WebGPU');
    const page = await opened(engine.open(`${server.url}/host.html?backend=webgpu&emulate=limits:default`));
    expect(await load(page)).toMatchObject({ backend: 'webgpu' });
    expect(await answer(page)).toEqual(EXPECTED);
  });

  test('no WebGPU', async ({ engine, server }) => {
    const emulate = engine.name === 'webkit' ? '' : '?emulate=nowebgpu';
    const page = await opened(engine.open(`${server.url}/host.html${emulate}`));
    expect(await failedLoad(page, 'webgpu')).toMatchObject({
      code: 'no-adapter',
      message: expect.stringContaining('wasm'),
    });
    const info = await load(page, { backend: 'auto' });
    expect(info.backend).toBe('wasm');
    expect(info.notes.join()).toMatch(/WebGPU/);
    expect(await answer(page)).toEqual(EXPECTED);
  });

  test('no SharedArrayBuffer', async ({ engine, server }) => {
    const proxy = await startWithoutIsolation(server.url);
    try {
      const page = await opened(engine.open(`${proxy.url}/host.html?backend=wasm&threads=4`));
      expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
      expect(await load(page)).toMatchObject({ backend: 'wasm', threads: 1 });
      expect(await answer(page)).toEqual(EXPECTED);
    } finally {
      await tab?.close();
      tab = undefined;
      proxy.close();
    }
  });

  test('quota small', async ({ engine, server }) => {
    const { openSmall } = engine;
    test.skip(!openSmall, 'WebDriver has no way to limit what a page may keep');
    if (!openSmall) return;
    const page = await opened(openSmall(`${server.url}/host.html?backend=wasm`, SMALL_QUOTA));
    await page.evaluate(() => {
      const logs: string[] = [];
      window.logs = logs;
      window.edgevisor.on('log', ({ text }) => logs.push(text));
    });
    expect(await load(page)).toMatchObject({ backend: 'wasm' });
    // Storing goes on while the model computes.
    await expect.poll(async () => (await page.evaluate(() => window.logs))?.join()).toMatch(/no more room/);
    expect(await answer(page)).toEqual(EXPECTED);
  });
});
