import { test as base, type Page } from '@playwright/test';
import type { EdgeVisor } from '../../../web/api.ts';
import { startTestServer, startViteServer, type TestServer } from './servers.ts';

export { expect } from '@playwright/test';
export { DEFAULT_MODEL, hasDefaultModel } from './models.ts';

/** Tag of tests that Firefox leaves out: what they test is not the engine's. */
export const ONE_ENGINE = '@one-engine';

declare global {
  interface Window {
    edgevisor: EdgeVisor;
  }
}

interface WorkerFixtures {
  /** The real server with the built pages and the models of `tests/fixtures` plus the default one. Started at first use. */
  server: TestServer;
  /** Origin of Vite's dev server with the repository as its root, for pages that test single modules. Started at first use. */
  viteUrl: string;
  /** As `modulePage`, but one for all tests of a Worker: for those that leave nothing behind in it. */
  sharedModulePage: Page;
}

interface TestFixtures {
  /** A blank cross-origin isolated page of Vite's: `await import('/web/…ts')` works in its `evaluate`. */
  modulePage: Page;
}

/** Playwright's test with our servers. */
export const test = base.extend<TestFixtures, WorkerFixtures>({
  server: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads the pattern to learn what a fixture needs.
    async ({}, use) => {
      const server = await startTestServer();
      await use(server);
      await server.close();
    },
    { scope: 'worker', timeout: 120_000 },
  ],
  viteUrl: [
    // biome-ignore lint/correctness/noEmptyPattern: as above
    async ({}, use) => {
      const vite = await startViteServer();
      await use(vite.url);
      await vite.close();
    },
    { scope: 'worker', timeout: 120_000 },
  ],
  sharedModulePage: [
    async ({ browser, viteUrl }, use) => {
      const page = await browser.newPage();
      await page.goto(`${viteUrl}/tests/browser/support/blank.html`);
      await use(page);
      await page.close();
    },
    { scope: 'worker', timeout: 60_000 },
  ],
  modulePage: async ({ page, viteUrl }, use) => {
    await page.goto(`${viteUrl}/tests/browser/support/blank.html`);
    await use(page);
  },
});

/**
 * Opens the host page with a query such as `model=NAME&backend=wasm` (and `#room=…` if wanted) and waits until
 * `window.edgevisor` is ready.
 */
export async function openHost(page: Page, server: Pick<TestServer, 'url'>, query = ''): Promise<void> {
  await page.goto(`${server.url}/host.html${query && !query.startsWith('#') ? `?${query}` : query}`);
  await page.evaluate(() => window.edgevisor.ready);
}
