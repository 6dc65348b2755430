/** Devices that are closed, reloaded, paused and removed, and a host that is: pages of a real browser. */
import type { Page } from '@playwright/test';
import { readGolden } from '../support/golden.ts';
import { repoPath } from '../support/node-model.ts';
import { contribute, contributeStatus, greedy, type MeshPages, openMesh, statusOf } from './support/mesh-pages.ts';
import { expect, test } from './support/test.ts';

const TINY = 'tiny-llama.Q4_0';
const tiny = readGolden(repoPath(`tests/fixtures/${TINY}.json`)).cases.find(({ name }) => name === 'ids33')!;
const TOKENS = 16;
const EXPECTED = tiny.greedy.slice(0, TOKENS);
const ONE_THREAD = { query: 'threads=1&backend=wasm' };
/** Every message is held back, so that an answer takes its time. */
const SLOWLY = 'emulate=delay:8';

let mesh: MeshPages | undefined;
test.afterEach(async () => {
  await mesh?.close();
  mesh = undefined;
});

const load = (host: Page, ratios?: string) =>
  host.evaluate((options) => window.edgevisor.load(options), {
    ...{ model: TINY, backend: 'wasm' as const, threads: 1, context: 256 },
    ...(ratios && { ratios }),
  });
const answer = (host: Page) => greedy(host, tiny.ids, TOKENS).then(({ ids }) => ids);
const computing = (host: Page) =>
  host.evaluate(async () =>
    (await window.edgevisor.status()).plan?.stages.flatMap(({ members }) => members.map(({ device }) => device)),
  );

/** Starts an answer, does something after some tokens, and gives the answer. */
async function disturbed(host: Page, after: number, disturb: () => Promise<unknown>): Promise<number[]> {
  await host.evaluate(() => {
    const seen = Object.assign(window, { tokensSeen: 0 });
    window.edgevisor.on('token', () => seen.tokensSeen++);
  });
  const text = answer(host);
  await host.waitForFunction((n) => (window as unknown as { tokensSeen: number }).tokensSeen >= n, after);
  const [ids] = await Promise.all([text, disturb()]);
  return ids;
}

test('a device is closed in the middle of an answer, another is reloaded, and comes back as itself', async ({
  browser,
  server,
}) => {
  mesh = await openMesh(browser, server, { host: SLOWLY, devices: [ONE_THREAD, ONE_THREAD] });
  const { host, devices } = mesh;
  await load(host, '2:3:3');
  expect(await disturbed(host, 3, () => devices[1].close())).toEqual(EXPECTED);
  expect(await computing(host)).toEqual([0, 1]);

  const before = (await contributeStatus(devices[0])).index;
  expect(await disturbed(host, 3, () => devices[0].reload())).toEqual(EXPECTED);
  await expect.poll(async () => (await contributeStatus(devices[0])).index).toBe(before);

  // A third makes the ratios whole again.
  await mesh.join(ONE_THREAD);
  await expect.poll(() => computing(host)).toEqual([0, 1, 3]);
  expect(await answer(host)).toEqual(EXPECTED);
  expect((await statusOf(host, 2))?.state ?? 'gone').toMatch(/lost|gone/);
});

test('a device that pauses is left out, and taken back in; one that is removed is gone for good', async ({
  browser,
  server,
}) => {
  mesh = await openMesh(browser, server, { devices: [ONE_THREAD, ONE_THREAD] });
  const { host, devices } = mesh;
  await load(host, '2:3:3');
  await contribute(devices[0], 'pause');
  await expect.poll(() => computing(host)).toEqual([0, 2]);
  expect((await statusOf(host, 1))?.state).toBe('paused');
  expect(await answer(host)).toEqual(EXPECTED);
  await contribute(devices[0], 'resume');
  await expect.poll(() => computing(host)).toEqual([0, 1, 2]);
  expect(await answer(host)).toEqual(EXPECTED);

  await host.evaluate(() => window.edgevisor.pauseDevice(2, true));
  await expect.poll(() => computing(host)).toEqual([0, 1]);
  await host.evaluate(() => window.edgevisor.pauseDevice(2, false));
  await expect.poll(() => computing(host)).toEqual([0, 1, 2]);

  await host.evaluate(() => window.edgevisor.removeDevice(2));
  await expect.poll(() => computing(host)).toEqual([0, 1]);
  await expect.poll(async () => (await contributeStatus(devices[1])).state).toBe('removed');
  expect(await answer(host)).toEqual(EXPECTED);

  await contribute(devices[0], 'leave');
  await expect.poll(() => computing(host)).toEqual([0]);
  expect(await answer(host)).toEqual(EXPECTED);
});

test('the host page is reloaded: the room stays, and the devices come back by themselves', async ({
  browser,
  server,
}) => {
  mesh = await openMesh(browser, server, { devices: [ONE_THREAD, ONE_THREAD] });
  const { host, devices } = mesh;
  await load(host, '2:3:3');
  const ids = await host.evaluate(async () => (await window.edgevisor.status()).devices.map(({ id }) => id));
  await host.reload();
  for (const index of [1, 2]) await mesh.present(index);
  const again = await host.evaluate(async () => (await window.edgevisor.status()).devices);
  expect(again.filter(({ index }) => index > 0).map(({ id }) => id)).toEqual(ids.slice(1));
  // Nothing of the host that was is still held.
  for (const page of devices) await expect.poll(async () => (await contributeStatus(page)).memoryUsed).toBe(0);
  await load(host, '1@1*1:1');
  expect(await answer(host)).toEqual(EXPECTED);
});

test('a host that only conducts, with ratios in its address, waits for devices and computes nothing', async ({
  browser,
  server,
}) => {
  mesh = await openMesh(browser, server, { host: 'lend=0&ratios=1:2', devices: [] });
  const { host } = mesh;
  const loading = load(host);
  await mesh.join(ONE_THREAD);
  await mesh.join(ONE_THREAD);
  const { plan } = await loading;
  expect(plan.stages[0].members.map(({ device }) => device)).toEqual([1, 2]);
  expect(await answer(host)).toEqual(EXPECTED);
  const { devices } = await host.evaluate(() => window.edgevisor.status());
  expect(devices[0]).toMatchObject({ index: 0, self: true, weightBytes: 0, kvBytes: 0 });
});
