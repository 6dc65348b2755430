import type { Page } from '@playwright/test';
import type * as InPage from './store/in-page.ts';
import { type CountingServer, expectedHash, serveVirtualModel, TENSOR_BYTES, TENSORS } from './store/virtual-model.ts';
import { expect, test } from './support/test.ts';

let server: CountingServer;
let hash: string;

test.beforeAll(async () => {
  server = await serveVirtualModel();
  hash = expectedHash();
});

test.afterAll(async () => {
  await server.close();
});

/** Calls a function of `store/in-page.ts` in a page. */
function inPage<Name extends keyof typeof InPage>(
  page: Page,
  name: Name,
  ...args: Parameters<(typeof InPage)[Name]>
): Promise<Awaited<ReturnType<(typeof InPage)[Name]>>> {
  return page.evaluate(
    async ([name, args]) => {
      const path = '/tests/browser/store/in-page.ts';
      const module = await import(path);
      return module[name](...args);
    },
    [name, args] as const,
  );
}

/** Ends the page's process as the system does that needs its memory: nothing in it runs any more. */
async function crash(page: Page): Promise<void> {
  const crashed = page.waitForEvent('crash');
  const devtools = await page.context().newCDPSession(page);
  // The process that should answer is gone.
  devtools.send('Page.crash').catch(() => undefined);
  await crashed;
}

const load = (page: Page) => inPage(page, 'loadAll', server.url, TENSORS);

test('a second load of a page downloads nothing, and deleting frees the room', async ({ modulePage }) => {
  server.taken();
  const cold = await load(modulePage);
  expect(cold).toMatchObject({ hash, notes: [], progress: { stored: 0, fetched: TENSOR_BYTES, total: TENSOR_BYTES } });
  expect(server.taken()).toBe(TENSOR_BYTES);
  await modulePage.reload();
  const warm = await load(modulePage);
  expect(warm).toMatchObject({ hash, notes: [], progress: { stored: TENSOR_BYTES, fetched: 0 } });
  expect(server.taken()).toBe(0);
  await inPage(modulePage, 'deleteAll');
  expect(await inPage(modulePage, 'storedBytes')).toBe(0);
});

test('a tab killed in the middle of a download goes on where it was', async ({ modulePage, viteUrl, browserName }) => {
  server.taken();
  server.holdAfter(TENSOR_BYTES / 2);
  const dying = load(modulePage).catch(() => undefined);
  await expect(async () => {
    expect(await inPage(modulePage, 'storedBytes')).toBeGreaterThan(TENSOR_BYTES / 4);
  }).toPass();
  const context = modulePage.context();
  if (browserName === 'chromium') await crash(modulePage);
  await modulePage.close();
  await dying;
  server.release();
  server.taken();
  const page = await context.newPage();
  await page.goto(`${viteUrl}/tests/browser/support/blank.html`);
  const stored = await inPage(page, 'storedBytes');
  expect(stored).toBeGreaterThan(TENSOR_BYTES / 4);
  const { progress, ...rest } = await load(page);
  expect(rest).toEqual({ hash, notes: [] });
  expect(progress).toMatchObject({ stored, fetched: TENSOR_BYTES - stored });
  expect(server.taken()).toBe(TENSOR_BYTES - stored);
});

test('a damaged piece is fetched again, alone', async ({ modulePage }) => {
  await load(modulePage);
  const damaged = await inPage(modulePage, 'damageOnePiece');
  server.taken();
  expect(await load(modulePage)).toMatchObject({ hash, notes: [], progress: { fetched: damaged } });
  expect((await load(modulePage)).progress).toMatchObject({ fetched: 0 });
});

test('a full disk: a message, and the model is there all the same', async ({ modulePage, browserName, viteUrl }) => {
  test.skip(browserName !== 'chromium', 'Only Chromium lets a test shrink the room of an origin.');
  const devtools = await modulePage.context().newCDPSession(modulePage);
  await devtools.send('Storage.overrideQuotaForOrigin', { origin: new URL(viteUrl).origin, quotaSize: 8 << 20 });
  const first = await load(modulePage);
  expect(first).toMatchObject({ hash, progress: { total: TENSOR_BYTES } });
  expect(first.notes).toHaveLength(1);
  expect(first.notes[0]).toMatch(/no more room/);
  const second = await load(modulePage);
  expect(second.hash).toBe(hash);
  expect(second.progress!.stored + second.progress!.fetched).toBe(TENSOR_BYTES);
  await devtools.send('Storage.overrideQuotaForOrigin', { origin: new URL(viteUrl).origin });
});

test('a page whose storage is switched off says so and loads', async ({ modulePage }) => {
  await modulePage.addInitScript(() => {
    Object.defineProperty(globalThis, 'indexedDB', { value: undefined });
  });
  await modulePage.reload();
  const { hash: got, notes } = await load(modulePage);
  expect(got).toBe(hash);
  expect(notes).toHaveLength(1);
  expect(notes[0]).toMatch(/no storage/);
});

test('storage that never answers does not hold up the load', async ({ modulePage }) => {
  await modulePage.addInitScript(() => {
    IDBFactory.prototype.open = () => ({}) as IDBOpenDBRequest;
  });
  await modulePage.reload();
  const { hash: got, notes } = await load(modulePage);
  expect(got).toBe(hash);
  expect(notes[0]).toMatch(/does not answer/);
});
