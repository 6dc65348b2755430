/** Which bytes reach a device, from where, and what it keeps: the model's weights over several pages. */
import { createReadStream, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { planBytes } from '../../web/plan/holdings.ts';
import type { Plan } from '../../web/plan/types.ts';
import { readGolden } from '../support/golden.ts';
import { DEFAULT_MODEL as DEFAULT_FILE, openModel, repoPath } from '../support/node-model.ts';
import { greedy, type MeshPages, openMesh, statusOf } from './support/mesh-pages.ts';
import { DEFAULT_MODEL, expect, hasDefaultModel, test } from './support/test.ts';

const TINY = 'tiny-llama.Q4_0';
const tiny = readGolden(repoPath(`tests/fixtures/${TINY}.json`)).cases.find(({ name }) => name === 'ids33')!;
const TOKENS = 16;
const ONE_THREAD = { query: 'threads=1&backend=wasm' };

let mesh: MeshPages | undefined;
test.afterEach(async () => {
  await mesh?.close();
  mesh = undefined;
});

const load = (host: Page, model: string, ratios: string) =>
  host.evaluate((options) => window.edgevisor.load(options), {
    ...{ model, ratios, backend: 'wasm' as const, threads: 1, context: 256 },
  });

/** Bytes of the weights of each device of a plan, as they lie in the file, without norms. */
async function fileShares(path: string, plan: Plan): Promise<Map<number, number>> {
  const { catalogue, hyper } = await openModel(path);
  const sizes = {
    matrixBytes: (...[role, layer]: Parameters<typeof catalogue.matrix>) => catalogue.matrix(role, layer).bytes,
    positions: 0,
    embedding: { device: 0, tied: hyper.tied },
  };
  return new Map(planBytes(plan, hyper, sizes).map(({ device, weightBytes }) => [device, weightBytes]));
}

/** Bytes of weights that a page keeps in IndexedDB. */
const keptBytes = (page: Page) =>
  page.evaluate(async () => {
    const opened = await new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open('edgevisor-shards');
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    const keys = await new Promise<IDBValidKey[]>((resolve, reject) => {
      const request = opened.transaction('shards').objectStore('shards').getAllKeys();
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    opened.close();
    return keys.reduce<number>(
      (sum, key) => (Array.isArray(key) && key[0] === 'piece' ? sum + Number(key[6]) : sum),
      0,
    );
  });

test.describe('the default model', () => {
  test.skip(!hasDefaultModel(), 'models/ lacks the default model: run npm start once');
  const golden = readGolden(repoPath('tests/fixtures/smollm2-135m-instruct.q4_1.json'));
  const { ids, greedy: expected } = golden.cases.find(({ name }) => name === 'count')!;

  test('each device fetches and holds its share, and nothing when it starts again', async ({ browser, server }) => {
    mesh = await openMesh(browser, server, { devices: [ONE_THREAD, ONE_THREAD] });
    const { host, devices } = mesh;
    const { plan } = await load(host, DEFAULT_MODEL, '2:3:3');
    const { catalogue } = await openModel(DEFAULT_FILE);
    const shares = await fileShares(DEFAULT_FILE, plan);
    const columns = Array.from({ length: 30 }, (_, layer) => [
      catalogue.matrix('o', layer),
      catalogue.matrix('down', layer),
    ]).flat();
    for (const [i, page] of devices.entries()) {
      const requests = mesh.requests(page);
      const got = requests.reduce((sum, { bytes }) => sum + bytes, 0);
      const share = shares.get(i + 1)!;
      expect(Math.abs(got / share - 1), `device ${i + 1} got ${got} bytes, its share is ${share}`).toBeLessThan(0.02);
      for (const { from, bytes, piece } of requests) {
        const tensor = columns.find(
          ({ offset, bytes: size }) => from < offset + size && from + bytes > offset && from >= offset,
        );
        if (tensor) expect(piece, `a read within ${tensor.name}`).toBeLessThan(tensor.bytes / tensor.rows);
      }
    }

    // What they allocate, against what the plan foretells for the backend that takes more: with the vocabulary in 8 bits
    // WASM takes 34 bytes a block of it instead of 36.
    const preview = await host.evaluate(() => window.edgevisor.previewRatios('2:3:3'));
    const status = await host.evaluate(() => window.edgevisor.status());
    for (const { device, weightBytes } of preview.devices) {
      const held = status.devices[device].weightBytes;
      const fits = `device ${device} holds ${held}, foretold ${weightBytes}`;
      expect(held / weightBytes, fits).toBeLessThanOrEqual(1);
      expect(held / weightBytes, fits).toBeGreaterThan(34 / 36);
    }

    // All pages anew, with what their browsers keep.
    for (const [i, page] of devices.entries())
      await expect.poll(() => keptBytes(page), { timeout: 60_000 }).toBeGreaterThan(0.98 * shares.get(i + 1)!);
    await host.reload();
    for (const page of devices) await page.reload();
    for (const index of [1, 2]) await mesh.present(index);
    for (const page of [host, ...devices]) mesh.requests(page);
    await load(host, DEFAULT_MODEL, '2:3:3');
    const dataStart = Math.min(...columns.map(({ offset }) => offset), catalogue.matrix('embedding', 0).offset);
    for (const page of [host, ...devices]) {
      const beyondHeader = mesh.requests(page).filter(({ from }) => from >= dataStart);
      // The host looks at samples of the data, 80 KiB, to know by their digest that it is the same model: once for the
      // load, and once for the list of models that its page shows.
      expect(beyondHeader.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(page === host ? 200_000 : 1);
    }
    expect((await greedy(host, ids, 8)).ids).toEqual(expected.slice(0, 8));
  });

  test('from the host’s disk, through a reload of a device in the middle', async ({ browser, server }) => {
    mesh = await openMesh(browser, server, { devices: [ONE_THREAD, ONE_THREAD] });
    const { host, devices } = mesh;
    const loading = loadAsFile(host, `${DEFAULT_MODEL}.gguf`, '2:3:3');
    // Device 1 has a part of its share.
    await expect.poll(async () => (await statusOf(host, 1))?.loaded ?? 0).toBeGreaterThan(4e6);
    await devices[0].reload();
    const { plan } = await loading;
    expect(plan.stages[0].members.map(({ device }) => device)).toEqual([0, 1, 2]);
    for (const page of devices) expect(mesh.requests(page)).toEqual([]);
    expect((await greedy(host, ids, 8)).ids).toEqual(expected.slice(0, 8));
  });
});

/** As if a person had picked the file: its bytes come from this computer's disk, and the name says nothing. */
const loadAsFile = (host: Page, model: string, ratios: string) =>
  host.evaluate(
    async ([name, given]) => {
      const bytes = await (await fetch(`/models/${name}`)).blob();
      const file = new File([bytes], 'picked.gguf');
      return window.edgevisor.load({ model: file, ratios: given, backend: 'wasm', threads: 1, context: 256 });
    },
    [model, ratios],
  );

test('a file from the host’s disk reaches all devices without the server', async ({ browser, server }) => {
  mesh = await openMesh(browser, server, { devices: [ONE_THREAD, { query: 'threads=1&backend=wasm&emulate=nortc' }] });
  const { host, devices } = mesh;
  await loadAsFile(host, `${TINY}.gguf`, '2:3:3');
  for (const page of devices) expect(mesh.requests(page)).toEqual([]);
  expect((await greedy(host, tiny.ids, TOKENS)).ids).toEqual(tiny.greedy.slice(0, TOKENS));
});

test('a model at another address: rows from there, columns from the host', async ({ browser, server }) => {
  const remote = await serveRanges(join(server.models, `${TINY}.gguf`));
  try {
    mesh = await openMesh(browser, server, { devices: [ONE_THREAD, ONE_THREAD] });
    const { host, devices } = mesh;
    await host.evaluate(
      (url) =>
        window.edgevisor.load({ model: new URL(url), ratios: '2:3:3', backend: 'wasm', threads: 1, context: 256 }),
      `${remote.url}/far.gguf`,
    );
    expect((await greedy(host, tiny.ids, TOKENS)).ids).toEqual(tiny.greedy.slice(0, TOKENS));
    for (const page of devices) expect(mesh.requests(page)).toEqual([]);
    // The file once, its beginning again for each page, and not one tensor for each of them.
    expect(remote.sent()).toBeLessThan(1.5 * statSync(join(server.models, `${TINY}.gguf`)).size);
  } finally {
    remote.server.close();
    remote.server.closeAllConnections();
  }
});

/** Another site: a file with ranges, which other origins may read. */
async function serveRanges(path: string): Promise<{ server: Server; url: string; sent(): number }> {
  const { size } = statSync(path);
  let sent = 0;
  const server = createServer((request, response) => {
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Allow-Headers', 'Range');
    response.setHeader('Access-Control-Expose-Headers', 'Content-Range, Content-Length, ETag');
    const [, from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '')?.map(Number) ?? [];
    if (request.method === 'OPTIONS' || from === undefined || to === undefined) {
      response.end();
      return;
    }
    const end = Math.min(to, size - 1);
    sent += end - from + 1;
    response.writeHead(206, {
      'Content-Range': `bytes ${from}-${end}/${size}`,
      'Content-Length': end - from + 1,
      'Content-Type': 'application/octet-stream',
    });
    createReadStream(path, { start: from, end }).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sent: () => sent };
}

test('a device with too little room is known before anything is loaded', async ({ browser, server }) => {
  mesh = await openMesh(browser, server, {
    devices: [ONE_THREAD, { query: 'threads=1&backend=wasm&memory=500&emulate=memory:1' }],
  });
  const { host, devices } = mesh;
  const failure = await host.evaluate(
    (options) =>
      window.edgevisor.load(options).then(
        () => undefined,
        ({ code, message }) => ({ code, message }),
      ),
    { model: TINY, ratios: '1@1*1:6@3', backend: 'wasm' as const, threads: 1, context: 256 },
  );
  expect(failure?.code).toBe('memory');
  expect(failure?.message).toMatch(/layers 1 to 3 need about \d+ MB, but device 2 may use 1 MB: \d+ MB are missing/);
  for (const page of devices) expect(mesh.requests(page)).toEqual([]);
  // A share that fits is fine.
  await load(host, TINY, '1@1*1:0@3');
  expect((await greedy(host, tiny.ids, TOKENS)).ids).toEqual(tiny.greedy.slice(0, TOKENS));
});
