/** One model over several pages of real browsers, through `window.edgevisor` alone. */
import { wireBytes } from '../../web/mesh/wire.ts';
import { readGolden } from '../support/golden.ts';
import { repoPath } from '../support/node-model.ts';
import { hasBrowser } from './mesh/browsers.ts';
import { channelBytes, collectConnections } from './support/channel-bytes.ts';
import { greedy, type MeshPages, openMesh, statusOf } from './support/mesh-pages.ts';
import { DEFAULT_MODEL, expect, hasDefaultModel, test } from './support/test.ts';

const TINY = 'tiny-llama.Q4_0';
const tiny = readGolden(repoPath(`tests/fixtures/${TINY}.json`)).cases.find(({ name }) => name === 'ids33')!;
/** Up to the first step at which two tokens are as good as equal. */
const TOKENS = 16;

let mesh: MeshPages | undefined;
test.afterEach(async () => {
  await mesh?.close();
  mesh = undefined;
});

const load = (pages: MeshPages, model: string, ratios?: string) =>
  pages.host.evaluate((options) => window.edgevisor.load(options), {
    ...{ model, backend: 'wasm' as const, threads: 1, context: 256 },
    ...(ratios && { ratios }),
  });

const answer = (pages: MeshPages) => greedy(pages.host, tiny.ids, TOKENS).then(({ ids }) => ids);
const expected = tiny.greedy.slice(0, TOKENS);
const links = async (pages: MeshPages) =>
  (await pages.host.evaluate(() => window.edgevisor.status())).devices.map(({ link }) => link);
const relayed = async (url: string): Promise<number> => (await (await fetch(`${url}/stats`)).json()).relay.bytes;

test('three pages share a small model 2:3:3 over data channels, then in stages, then one has it all', async ({
  browser,
  server,
}) => {
  const before = await relayed(server.url);
  mesh = await openMesh(browser, server, {
    devices: [{ query: 'threads=1&backend=wasm' }, { query: 'threads=1&backend=wasm' }],
    init: collectConnections,
  });
  const { host } = mesh;
  const info = await load(mesh, TINY, '2:3:3');
  expect(info.plan.stages).toHaveLength(1);
  expect(info.plan.stages[0].members.map(({ device }) => device)).toEqual([0, 1, 2]);
  const start = await channelBytes(host, 'tensors');
  expect(await answer(mesh)).toEqual(expected);
  const carried = (await channelBytes(host, 'tensors')) - start;
  // Two sums a layer to and from two devices, 16 bits a number, for the prompt and the answer.
  expect(carried).toBeGreaterThan((tiny.ids.length + TOKENS - 1) * 4 * 2 * 2 * 2 * 2 * 256);
  expect(await links(mesh)).toEqual(['self', 'webrtc', 'webrtc']);
  for (const ratios of ['1@1*1:1', '1@1*1@1*1', '0:1:1', '1']) {
    const { plan } = await host.evaluate((given) => window.edgevisor.setRatios(given), ratios);
    expect(plan.epoch).toBeGreaterThan(info.plan.epoch);
    expect(await answer(mesh), ratios).toEqual(expected);
  }
  expect(await relayed(server.url)).toBe(before);
});

test('a small model over Chromium and Firefox, WASM and WebGPU', async ({ browser, server }) => {
  test.skip(!hasBrowser('firefox'), 'there is no Firefox here');
  mesh = await openMesh(browser, server, {
    devices: [
      { query: 'backend=webgpu' },
      { query: 'threads=1&backend=wasm', browser: 'firefox' },
      { query: 'threads=1&backend=wasm' },
    ],
  });
  const { host } = mesh;
  await load(mesh, TINY, '2:3:3:1');
  expect(await answer(mesh)).toEqual(expected);
  const { devices } = await host.evaluate(() => window.edgevisor.status());
  expect(devices.map(({ backend }) => backend)).toEqual(['wasm', 'webgpu', 'wasm', 'wasm']);
  expect(devices[2].browser).toContain('Firefox');
  await host.evaluate(() => window.edgevisor.setRatios('1@1*1:1@2*1@1'));
  expect(await answer(mesh)).toEqual(expected);
});

test('with f32, f16 or q80 on the wire, replicas compared', async ({ browser, server }) => {
  mesh = await openMesh(browser, server, {
    devices: [{ query: 'backend=webgpu' }, { query: 'threads=1&backend=wasm' }],
  });
  const { host, secret } = mesh;
  for (const wire of ['f32', 'f16', 'q80']) {
    // The devices stay, and know what they measured.
    await host.goto(`${server.url}/host.html?wire=${wire}&verify=1#room=${secret}`);
    for (const index of [1, 2]) await mesh.present(index);
    await load(mesh, TINY, '2:3:3');
    const text = await answer(mesh);
    // Bytes flip tokens, as they do in EdgeVisor; how often is held in node.
    if (wire === 'q80') expect(text).toHaveLength(TOKENS);
    else expect(text, wire).toEqual(expected);
  }
});

test('one without WebRTC is relayed, the others are not, and each says what it holds, carries and computes', async ({
  browser,
  server,
}) => {
  mesh = await openMesh(browser, server, {
    devices: [
      { query: 'threads=1&backend=wasm&memory=700&name=Kitchen' },
      { query: 'threads=1&backend=wasm&emulate=nortc' },
    ],
    init: collectConnections,
  });
  const { host } = mesh;
  await load(mesh, TINY, '2:1:1');
  const [channels, relay] = [await channelBytes(host, 'tensors'), await relayed(server.url)];
  expect(await answer(mesh)).toEqual(expected);
  expect(await links(mesh)).toEqual(['self', 'webrtc', 'relay']);
  expect(await channelBytes(host, 'tensors')).toBeGreaterThan(channels);
  expect(await relayed(server.url)).toBeGreaterThan(relay);

  const preview = await host.evaluate(() => window.edgevisor.previewRatios('2:1:1'));
  // Each says how it fares once a second.
  for (const index of [1, 2])
    await expect.poll(async () => (await statusOf(host, index))?.tokens).toBe(tiny.ids.length + TOKENS - 1);
  const { devices } = await host.evaluate(() => window.edgevisor.status());
  expect(devices.map(({ state }) => state)).toEqual(['ready', 'ready', 'ready']);
  expect(devices[1]).toMatchObject({
    name: 'Kitchen',
    memoryLimit: 700e6,
    link: 'webrtc',
    backend: 'wasm',
    threads: 1,
  });
  for (const [index, device] of devices.entries()) {
    const { weightBytes, kvBytes } = preview.devices[index];
    // Foretold for the backend that takes more: WASM has no minima of Q4_0, 18 bytes a block instead of 20.
    expect(device.weightBytes / weightBytes, `weights of device ${index}`).toBeLessThanOrEqual(1);
    expect(device.weightBytes / weightBytes, `weights of device ${index}`).toBeGreaterThanOrEqual(18 / 20);
    // WASM keeps whole groups of 12 positions: 264 where the context has 256.
    expect(device.kvBytes / kvBytes, `KV of device ${index}`).toBe(264 / 256);
    expect(device.memoryUsed).toBeGreaterThan(device.weightBytes + device.kvBytes);
    expect(device.gmacs).toBeGreaterThan(0);
    // Two partial sums a layer to each of the two others, and as many back.
    const sums = (tiny.ids.length + TOKENS - 1) * 4 * 2 * 2 * 2 * wireBytes('q15', 128);
    expect(device.bytesSent).toBeGreaterThan(sums);
    expect(device.bytesReceived).toBeGreaterThan(sums);
    if (index > 0) expect(device.rttMs).toBeGreaterThan(0);
  }
});

test.describe('the default model', () => {
  test.skip(!hasDefaultModel(), 'models/ lacks the default model: run npm start once');
  const golden = readGolden(repoPath('tests/fixtures/smollm2-135m-instruct.q4_1.json'));
  const { ids, greedy: text } = golden.cases.find(({ name }) => name === 'count')!;

  test('gives the text of one device when shared 2:3:3, in stages, and by four that have three KV heads', async ({
    browser,
    server,
  }) => {
    mesh = await openMesh(browser, server, {
      devices: Array.from({ length: 3 }, () => ({ query: 'threads=1&backend=wasm' })),
    });
    const { host } = mesh;
    await load(mesh, DEFAULT_MODEL, '2:3:3');
    expect((await greedy(host, ids, 16)).ids).toEqual(text.slice(0, 16));
    await host.evaluate(() => window.edgevisor.setRatios('1@14*1:1@16'));
    expect((await greedy(host, ids, 16)).ids).toEqual(text.slice(0, 16));
    const { plan } = await host.evaluate(() => window.edgevisor.setRatios('1:1:1:1'));
    expect(plan.stages[0].members.map(({ qHeads }) => qHeads)).toEqual([[[0, 3]], [[3, 5]], [[5, 7]], [[7, 9]]]);
    expect((await greedy(host, ids, 16)).ids).toEqual(text.slice(0, 16));
  });

  test('a processor and a GPU share it', async ({ browser, server }) => {
    mesh = await openMesh(browser, server, { devices: [{ query: 'backend=webgpu' }] });
    await load(mesh, DEFAULT_MODEL, '2:1');
    expect((await greedy(mesh.host, ids, 12)).ids).toEqual(text.slice(0, 12));
    const { devices } = await mesh.host.evaluate(() => window.edgevisor.status());
    expect(devices.map(({ backend }) => backend)).toEqual(['wasm', 'webgpu']);
  });
});
