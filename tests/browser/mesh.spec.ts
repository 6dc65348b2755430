/** One model over several pages of real browsers, through `window.edgevisor` alone. */
import { readGolden } from '../support/golden.ts';
import { repoPath } from '../support/node-model.ts';
import { greedy, type MeshPages, openMesh } from './support/mesh-pages.ts';
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

test('three pages share a small model 2:3:3, then in stages, then one has it all', async ({ browser, server }) => {
  mesh = await openMesh(browser, server, {
    devices: [{ query: 'threads=1&backend=wasm' }, { query: 'threads=1&backend=wasm' }],
  });
  const { host } = mesh;
  const info = await load(mesh, TINY, '2:3:3');
  expect(info.plan.stages).toHaveLength(1);
  expect(info.plan.stages[0].members.map(({ device }) => device)).toEqual([0, 1, 2]);
  const text = (await greedy(host, tiny.ids, TOKENS)).ids;
  expect(text).toEqual(tiny.greedy.slice(0, TOKENS));
  for (const ratios of ['1@1*1:1', '1@1*1@1*1', '0:1:1', '1']) {
    const { plan } = await host.evaluate((given) => window.edgevisor.setRatios(given), ratios);
    expect(plan.epoch).toBeGreaterThan(info.plan.epoch);
    expect((await greedy(host, tiny.ids, TOKENS)).ids, ratios).toEqual(text);
  }
  const { devices } = await host.evaluate(() => window.edgevisor.status());
  expect(devices.map(({ link }) => link)).toEqual(['self', 'webrtc', 'webrtc']);
});

test.describe('the default model', () => {
  test.skip(!hasDefaultModel(), 'models/ lacks the default model: run npm start once');
  const golden = readGolden(repoPath('tests/fixtures/smollm2-135m-instruct.q4_1.json'));
  const { ids, greedy: expected } = golden.cases.find(({ name }) => name === 'count')!;

  for (const ratios of ['2:3:3', '1@14*1:1@16']) {
    test(`shared ${ratios} gives the text of one device`, async ({ browser, server }) => {
      mesh = await openMesh(browser, server, {
        devices: [{ query: 'threads=1&backend=wasm' }, { query: 'threads=1&backend=wasm' }],
      });
      await load(mesh, DEFAULT_MODEL, ratios);
      expect((await greedy(mesh.host, ids, 16)).ids).toEqual(expected.slice(0, 16));
    });
  }
});
