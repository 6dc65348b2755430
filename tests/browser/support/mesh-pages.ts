/** A host page and contributing pages in one room, in browsers of any kind. */
import type { Browser, BrowserContext, Page } from '@playwright/test';
import type { ContributeHandle } from '../../../web/api.ts';
import { newSecret } from '../../../web/mesh/secret.ts';
import { type BrowserName, launch } from '../mesh/browsers.ts';
import type { TestServer } from './servers.ts';

export interface MeshPages {
  secret: string;
  host: Page;
  devices: Page[];
  /** Opens another contributing page. */
  join(options?: DeviceOptions): Promise<Page>;
  close(): Promise<void>;
}

export interface DeviceOptions {
  /** Query of the contribute page. */
  query?: string;
  /** Default: the test's own browser. */
  browser?: BrowserName;
}

const FIREFOX_CONTEXT = { colorScheme: null, reducedMotion: null, forcedColors: null, contrast: null } as const;

/** Opens the pages; the devices join one after another, so that their indices are those of the list, from 1. */
export async function openMesh(
  browser: Browser,
  server: Pick<TestServer, 'url'>,
  options: { host?: string; devices: DeviceOptions[] },
): Promise<MeshPages> {
  const secret = newSecret();
  const own: Browser[] = [];
  const contexts: BrowserContext[] = [];
  const others = new Map<BrowserName, Browser>();

  async function newPage(name: BrowserName | undefined, url: string): Promise<Page> {
    let used = browser;
    if (name && name !== browser.browserType().name()) {
      used = others.get(name) ?? (await launch(name));
      others.set(name, used);
      own.push(used);
    }
    const context = await used.newContext(used.browserType().name() === 'firefox' ? FIREFOX_CONTEXT : {});
    contexts.push(context);
    const page = await context.newPage();
    page.on('pageerror', (error) => console.log(`page: ${error}`));
    await page.goto(url);
    return page;
  }

  const host = await newPage(undefined, `${server.url}/host.html?${options.host ?? ''}#room=${secret}`);
  await host.evaluate(() => window.edgevisor.ready);
  const devices: Page[] = [];

  async function join({ query = '', browser: name }: DeviceOptions = {}): Promise<Page> {
    const page = await newPage(name, `${server.url}/?${query}#room=${secret}`);
    devices.push(page);
    const index = devices.length;
    await page.waitForFunction(
      async (wanted) => {
        const handle = (window as unknown as { edgevisor?: ContributeHandle }).edgevisor;
        return handle && (await handle.status()).index === wanted;
      },
      index,
      { timeout: 30_000 },
    );
    await host.waitForFunction(
      async (wanted) => {
        const { devices: known } = await window.edgevisor.status();
        return known.some(({ index: one, backend }) => one === wanted && backend !== '');
      },
      index,
      { timeout: 30_000 },
    );
    return page;
  }
  for (const device of options.devices) await join(device);

  return {
    ...{ secret, host, devices, join },
    async close() {
      for (const context of contexts) await context.close();
      for (const one of own) await one.close();
    },
  };
}

/** Greedy answer to golden ids through the host's handle. */
export const greedy = (host: Page, ids: number[], maxTokens: number) =>
  host.evaluate((options) => window.edgevisor.generate(options), {
    ...{ ids, maxTokens, temperature: 0, ignoreEos: true, reuse: false },
  });
