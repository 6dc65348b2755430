/** Moves in real browsers, while an answer streams: by the handle, and through the server's plan socket. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { runPlan, send } from '../../scripts/plan.ts';
import type { Generation, Migration, MoveReport, Plan } from '../../web/api.ts';
import { readGolden } from '../support/golden.ts';
import { repoPath } from '../support/node-model.ts';
import { greedy, type MeshPages, openMesh } from './support/mesh-pages.ts';
import { startTestServer, type TestServer } from './support/servers.ts';
import { DEFAULT_MODEL, expect, hasDefaultModel, test } from './support/test.ts';

declare global {
  interface Window {
    /** Tokens of the answer under way. */
    seen?: number[];
  }
}

const TINY = 'tiny-llama.Q4_0';
const tiny = readGolden(repoPath(`tests/fixtures/${TINY}.json`)).cases.find(({ name }) => name === 'ids33')!;
/** Up to the first step at which two tokens are as good as equal. */
const TOKENS = 24;
/** Slow links, so that a move has to wait for tokens, and tokens for a move. */
const DELAY = 'emulate=delay:10';
const SLOW = `${DELAY}&verify=1`;

let mesh: MeshPages | undefined;
test.afterEach(async () => {
  await mesh?.close();
  mesh = undefined;
});

const load = (host: Page, model: string, ratios: string, backend: 'wasm' | 'webgpu' = 'wasm') =>
  host.evaluate((options) => window.edgevisor.load(options), {
    ...{ model, backend, threads: 1, context: 256, ratios },
  });

/** Begins a greedy answer; resolves when its first `after` tokens are there. */
async function begin(
  host: Page,
  ids: number[],
  maxTokens: number,
  after = 2,
): Promise<{ answer: Promise<Generation> }> {
  const answer = host.evaluate(
    async (options) => {
      const seen: number[] = [];
      window.seen = seen;
      return window.edgevisor.generate({ ...options, onToken: ({ id }) => void seen.push(id) });
    },
    { ids, maxTokens, temperature: 0, ignoreEos: true, reuse: false },
  );
  await host.waitForFunction((least) => (window.seen?.length ?? 0) >= least, after);
  return { answer };
}

const migrate = (host: Page, move: Migration) => host.evaluate((wanted) => window.edgevisor.migrate(wanted), move);
const status = (host: Page) => host.evaluate(() => window.edgevisor.status());
const amounts = ({ stages }: Plan) =>
  stages.flatMap(({ members }) =>
    members.map(({ qHeads, ffn }) => [qHeads, ffn].map((ranges) => ranges.reduce((n, [from, to]) => n + to - from, 0))),
  );

const moves: [text: string, ratios: string, Migration][] = [
  ['heads', '2:3:3', { from: 1, to: 2, kind: 1, heads: 1 }],
  ['FFN columns', '2:3:3', { from: 2, to: 0, kind: 2, ffn: 96 }],
  ['both', '2:3:3', { from: 0, to: 2, kind: 3, heads: 1, ffn: 64 }],
  ['all that a device has', '2:3:3', { from: 2, to: 1, kind: 3, heads: 3, ffn: 288 }],
  [
    'several shares',
    '2:3:3',
    {
      moves: [
        { from: 0, to: 1, kind: 1 },
        { from: 2, to: 0, kind: 2, ffn: 32 },
      ],
    },
  ],
  ['heads in the middle of a token', '2:3:3', { from: 2, to: 1, kind: 1, exact: { position: 33 + 12, layer: 2 } }],
  ['a layer', '1@1*1:1', { from: 1, to: 0, layers: 1 }],
];

/** To a GPU, from one, and between two: heads with their KV, columns, a layer. What moves is planned alike everywhere. */
const THROUGH_GPU = ['heads', 'both', 'heads in the middle of a token', 'a layer'];

for (const [name, devices, hostBackend, chosen] of [
  ['WASM', ['wasm', 'wasm'], 'wasm', moves],
  ['WASM between two WebGPUs', ['wasm', 'webgpu'], 'webgpu', moves.filter(([text]) => THROUGH_GPU.includes(text))],
] as const) {
  test(`${name}: moves while an answer streams leave the text as it is`, async ({ browser, server }) => {
    test.setTimeout(240_000);
    mesh = await openMesh(browser, server, {
      host: SLOW,
      devices: devices.map((backend) => ({ query: `threads=1&backend=${backend}&${DELAY}` })),
    });
    const { host } = mesh;
    await load(host, TINY, '2:3:3', hostBackend);
    const unmoved = (await greedy(host, tiny.ids, TOKENS)).ids;
    for (const [text, ratios, move] of chosen) {
      await host.evaluate((given) => window.edgevisor.setRatios(given), ratios);
      const before = (await status(host)).plan as Plan;
      const { answer } = await begin(host, tiny.ids, TOKENS);
      const report = await migrate(host, move);
      const seen = await host.evaluate(() => window.seen?.length ?? 0);
      expect(report.state, text).toBe('committed');
      // In the middle of the answer, not after it.
      expect(report.position, text).toBeLessThanOrEqual(tiny.ids.length + seen);
      expect(seen, text).toBeLessThan(TOKENS);
      expect((await answer).ids, text).toEqual(unmoved);
      const { plan } = await status(host);
      expect(plan?.epoch).toBe(report.epoch);
      expect(plan?.epoch).toBeGreaterThan(before.epoch);
    }
  });
}

test('a move is cancelled by its signal, and a second asked for at once waits for the first', async ({
  browser,
  server,
}) => {
  test.setTimeout(120_000);
  mesh = await openMesh(browser, server, {
    host: SLOW,
    devices: [1, 2].map(() => ({ query: `threads=1&backend=wasm&${DELAY}` })),
  });
  const { host } = mesh;
  await load(host, TINY, '2:3:3');
  const unmoved = (await greedy(host, tiny.ids, TOKENS)).ids;
  const { answer } = await begin(host, tiny.ids, TOKENS);
  const start = amounts((await status(host)).plan as Plan);
  const result = await host.evaluate(async () => {
    const controller = new AbortController();
    const states: string[] = [];
    const end = window.edgevisor.on('move', ({ id, state }) => states.push(`${id} ${state}`));
    const cancelled = window.edgevisor
      .migrate({ from: 1, to: 2, kind: 1, exact: { position: 250, layer: 0 } }, { signal: controller.signal })
      .catch((error: { code?: string }) => error.code);
    const second = window.edgevisor.migrate({ from: 0, to: 1, kind: 2, ffn: 32 });
    setTimeout(() => controller.abort(), 300);
    const ended = [await cancelled, (await second).state];
    end();
    return { ended, states };
  });
  expect(result.ended).toEqual(['aborted', 'committed']);
  const [first] = result.states[0].split(' ').map(Number);
  expect(result.states.indexOf(`${first} cancelled`)).toBeGreaterThan(result.states.indexOf(`${first} preparing`));
  expect(result.states.indexOf(`${first + 1} preparing`)).toBeGreaterThan(result.states.indexOf(`${first} cancelled`));
  expect((await answer).ids).toEqual(unmoved);
  const [[heads, ffn], [otherHeads, otherFfn], rest] = start;
  expect(amounts((await status(host)).plan as Plan)).toEqual([[heads, ffn - 32], [otherHeads, otherFfn + 32], rest]);
});

test.describe('the plan socket', () => {
  test.skip(process.platform === 'win32', 'Windows has no Unix sockets');
  let folder: string;
  let path: string;
  let own: TestServer | undefined;

  test.beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'plan-e2e-'));
    path = join(folder, 'plan.sock');
    own = await startTestServer({ EDGEVISOR_PLAN_SOCKET: path });
  });
  test.afterAll(async () => {
    await own?.close();
    if (folder) rmSync(folder, { recursive: true });
  });

  test('moves shares and layers in the middle of an answer, and shows them committed', async ({ browser }) => {
    test.setTimeout(120_000);
    expect(await send(path, { op: 'ping' })).toEqual({ ok: true });
    expect(await send(path, { op: 'status' })).toMatchObject({ ok: false, error: expect.stringContaining('No room') });
    mesh = await openMesh(browser, own as TestServer, {
      host: SLOW,
      devices: [1, 2].map(() => ({ query: `threads=1&backend=wasm&${DELAY}` })),
    });
    const { host } = mesh;
    expect(await send(path, { op: 'set_plan', cmd: { seq: 1 } })).toMatchObject({
      ...{ ok: false, error: expect.stringContaining('No model is loaded') },
    });
    await load(host, TINY, '1@2*1:1@2');
    const unmoved = (await greedy(host, tiny.ids, TOKENS)).ids;

    const { answer } = await begin(host, tiny.ids, TOKENS);
    const heads = {
      ...{ seq: 601, mode: 'next_barrier', stageIndex: 1, fromNodeIndex: 1, toNodeIndex: 2 },
      ...{ cmdKind: 1, nHeadsToMove: 1, nFfnToMove: 0 },
    };
    const shares = await send(path, { op: 'set_plan', cmd: heads });
    expect(shares).toMatchObject({
      ...{ ok: true, cacheSeq: 1, cmd: { ...heads, triggerPos: 0, triggerLayer: 0, reserved0: 0 } },
    });
    expect(['queued', 'preparing', 'copying', 'committed']).toContain(shares.state);
    expect(await send(path, { op: 'set_plan', cmd: heads })).toEqual({ ok: false, error: 'stale seq' });
    const layers = {
      seq: 301,
      mode: 'next_barrier',
      stageIndex: 4294967295,
      fromNodeIndex: 2,
      toNodeIndex: 0,
      layerCount: 1,
    };
    expect(await send(path, { op: 'set_pp_migration', cmd: layers })).toMatchObject({
      ...{ ok: true, cmd: layers, ppMigration: true, layerCount: 1 },
    });
    const profile = await send(path, { op: 'layer_prof', all: true });
    expect(profile).toMatchObject({ ok: true, layer_prof: { header: { nLayers: 4 } } });

    expect((await answer).ids).toEqual(unmoved);
    await expect
      .poll(async () => ((await send(path, { op: 'status' })).moves as MoveReport[]).map(({ state }) => state))
      .toEqual(['committed', 'committed']);
    const after = await send(path, { op: 'status' });
    expect(after).toMatchObject({
      ...{ position: tiny.ids.length + TOKENS - 2, batchSize: 1, perfSamples: 3, epoch: 3, lastSeq: 601 },
      ppMigration: { fromNodeIndex: 2, toNodeIndex: 0, layerCount: 1, layers: [2] },
    });
    // Both took over while the answer streamed.
    for (const { position } of after.moves as MoveReport[]) expect(position).toBeLessThan(tiny.ids.length + TOKENS - 1);
    const { perf } = await send(path, { op: 'perf' });
    expect(perf).toEqual(
      [0, 1, 2].map((nodeIndex) => ({
        ...{ nodeIndex, stageIndex: nodeIndex === 0 ? 0 : 1, position: tiny.ids.length + TOKENS - 2, batchSize: 1 },
        ...{ execUs: expect.any(Number), syncUs: expect.any(Number) },
      })),
    );
    expect((await status(host)).plan?.stages.map(({ layers: range }) => range)).toEqual([
      [0, 3],
      [3, 4],
    ]);
  });

  test('watch moves FFN columns away from a slow device', async ({ browser }) => {
    test.setTimeout(120_000);
    mesh = await openMesh(browser, own as TestServer, {
      host: 'verify=1',
      devices: ['', '&emulate=slow:12'].map((more) => ({ query: `threads=1&backend=wasm${more}` })),
    });
    const { host } = mesh;
    await load(host, TINY, '1:1:1');
    const before = amounts((await status(host)).plan as Plan);
    const unmoved = (await greedy(host, tiny.ids, TOKENS)).ids;
    const printed: string[] = [];
    const watch = ['watch', '--socket', path, '--times', '1', '--interval', '100', '--kind2', '--ffn', '64'];
    const ended = new AbortController();
    const watching = runPlan(watch, {}, { print: (line) => printed.push(line), signal: ended.signal });
    // Until it has seen enough.
    void watching.catch(() => undefined).finally(() => ended.abort());
    while (!ended.signal.aborted) expect((await greedy(host, tiny.ids, TOKENS)).ids).toEqual(unmoved);
    expect(await watching).toBe(0);
    expect(printed).toEqual([expect.stringMatching(/^stage 0: node \d took \d+ µs, node \d \d+ µs: moved$/)]);
    const [slowest, fastest] = [...printed[0].matchAll(/node (\d)/g)].map(([, node]) => Number(node));
    const expected = before.map(([heads, ffn], node) => {
      const moved = node === slowest ? -64 : node === fastest ? 64 : 0;
      return [heads, ffn + moved];
    });
    expect(amounts((await status(host)).plan as Plan)).toEqual(expected);
  });
});

test.describe('the default model', () => {
  test.skip(!hasDefaultModel(), 'models/ lacks the default model: run npm start once');
  const golden = readGolden(repoPath('tests/fixtures/smollm2-135m-instruct.q4_1.json'));
  const { ids, greedy: expected } = golden.cases.find(({ name }) => name === 'count')!;

  test('goes on through heads, FFN columns and layers that move', async ({ browser, server }) => {
    test.setTimeout(300_000);
    const tokens = 24;
    mesh = await openMesh(browser, server, {
      host: 'verify=1',
      devices: [{ query: 'threads=1&backend=wasm' }, { query: 'threads=1&backend=wasm' }],
    });
    const { host } = mesh;
    await load(host, DEFAULT_MODEL, '2:3:3');
    const wanted = expected.slice(0, tokens);
    for (const [ratios, move] of [
      ['2:3:3', { from: 1, to: 2, kind: 1, heads: 1 }],
      ['2:3:3', { from: 2, to: 0, kind: 2, ffn: 256 }],
      ['1@14*1:1@16', { from: 1, to: 0, layers: 2 }],
    ] as const) {
      await host.evaluate((given) => window.edgevisor.setRatios(given), ratios);
      const { answer } = await begin(host, ids, tokens, 1);
      const report = await migrate(host, move);
      expect(report.state).toBe('committed');
      expect((await answer).ids).toEqual(wanted);
    }
  });
});
