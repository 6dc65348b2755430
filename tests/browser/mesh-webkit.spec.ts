/** A device whose browser has no WebRTC at all: WebKitGTK, which stands for everyone who cannot be reached directly. */
import type { ContributeStatus } from '../../web/api.ts';
import { readGolden } from '../support/golden.ts';
import { repoPath } from '../support/node-model.ts';
import { hasBrowser } from './mesh/browsers.ts';
import { greedy, type MeshPages, openMesh, statusOf } from './support/mesh-pages.ts';
import { expect, test } from './support/test.ts';
import { openWebKit, type WebKitPage } from './support/webkit.ts';

const TINY = 'tiny-llama.Q4_0';
const tiny = readGolden(repoPath(`tests/fixtures/${TINY}.json`)).cases.find(({ name }) => name === 'ids33')!;
const TOKENS = 16;

let mesh: MeshPages | undefined;
let webkit: WebKitPage | undefined;
test.afterEach(async () => {
  await webkit?.close();
  await mesh?.close();
  [webkit, mesh] = [undefined, undefined];
});

test('WebKitGTK computes its share over the relay, beside Chromium', async ({ browser, server }) => {
  test.skip(!hasBrowser('chromium'), 'there is no Chromium here, which would be the host');
  mesh = await openMesh(browser, server, { devices: [{ query: 'threads=1&backend=wasm' }] });
  const { host, secret } = mesh;
  webkit = await openWebKit(`${server.url}/?threads=1&backend=wasm&name=WebKit#room=${secret}`);
  const status = () => webkit!.evaluate<ContributeStatus | undefined>('return window.edgevisor?.status();');
  await expect.poll(async () => (await status())?.state).toBe('joined');
  await mesh.present(2);

  const { plan } = await host.evaluate((options) => window.edgevisor.load(options), {
    ...{ model: TINY, ratios: '2:3:3', backend: 'wasm' as const, threads: 1, context: 256 },
  });
  expect(plan.stages[0].members.map(({ device }) => device)).toEqual([0, 1, 2]);
  expect((await greedy(host, tiny.ids, TOKENS)).ids).toEqual(tiny.greedy.slice(0, TOKENS));
  expect(await statusOf(host, 2)).toMatchObject({ name: 'WebKit', link: 'relay', backend: 'wasm' });
  expect((await statusOf(host, 1))?.link).toBe('webrtc');
  expect((await status())?.tokens).toBe(tiny.ids.length + TOKENS - 1);
});
