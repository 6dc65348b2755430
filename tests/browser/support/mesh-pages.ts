/** A host page and contributing pages in one room, in browsers of any kind. */
import { type Browser, type BrowserContext, expect, type Page, type Response } from '@playwright/test';
import type { ContributeHandle, ContributeStatus, DeviceStatus } from '../../../web/api.ts';
import { newSecret } from '../../../web/mesh/secret.ts';
import { type BrowserName, FIREFOX_CONTEXT, launch } from '../mesh/browsers.ts';
import type { TestServer } from './servers.ts';

export interface MeshPages {
  secret: string;
  host: Page;
  devices: Page[];
  /** Opens another contributing page. */
  join(options?: DeviceOptions): Promise<Page>;
  /** Waits until the device of this index is in the room and has said what it offers. */
  present(index: number): Promise<void>;
  /** What a page has asked the server's models for, since the last call. */
  requests(page: Page): ModelRequest[];
  close(): Promise<void>;
}

/** A request for bytes of a model, from a page or its Workers. */
export interface ModelRequest {
  /** `/models/NAME`, or `/models/NAME/strided`. */
  path: string;
  /** First byte, and bytes of the answer. */
  from: number;
  bytes: number;
  /** Of columns: bytes of one piece. */
  piece?: number;
}

export interface DeviceOptions {
  /** Query of the contribute page. */
  query?: string;
  /** Default: the test's own browser. */
  browser?: BrowserName;
}

/** A page that joins is measured first, which a busy machine takes its time for. */
const ARRIVAL = { timeout: 60_000 };

/** Opens the pages; the devices join one after another, so that their indices are those of the list, from 1. */
export async function openMesh(
  browser: Browser,
  server: Pick<TestServer, 'url'>,
  options: {
    /** Query of the host page. */
    host?: string;
    devices: DeviceOptions[];
    /** Runs in every page before its own scripts. */
    init?: () => void;
  },
): Promise<MeshPages> {
  const secret = newSecret();
  const own: Browser[] = [];
  const contexts: BrowserContext[] = [];
  const others = new Map<BrowserName, Browser>();
  const asked = new Map<Page, ModelRequest[]>();

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
    const requests: ModelRequest[] = [];
    asked.set(page, requests);
    page.on('response', (response) => {
      requests.push(...modelRequests(response));
    });
    if (options.init) await page.addInitScript(options.init);
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
    await expect.poll(async () => (await contributeStatus(page)).index, ARRIVAL).toBe(index);
    await present(index);
    return page;
  }
  const present = async (index: number): Promise<void> => {
    // Not `waitForFunction`: it takes the promise of an async function for the truth.
    await expect.poll(async () => (await statusOf(host, index))?.backend ?? '', ARRIVAL).not.toBe('');
  };
  for (const device of options.devices) await join(device);

  return {
    ...{ secret, host, devices, join, present },
    requests: (page) => asked.get(page)?.splice(0) ?? [],
    async close() {
      for (const context of contexts) await context.close();
      for (const one of own) await one.close();
    },
  };
}

/** What a request asked for; one for several sets of pieces counts as that many. */
function modelRequests(response: Response): ModelRequest[] {
  const { pathname, searchParams } = new URL(response.url());
  if (!pathname.startsWith('/models/') || pathname === '/models/') return [];
  const headers = response.headers();
  const bytes = Number(headers['content-length'] ?? 0);
  if (pathname.endsWith('/strided')) {
    const counts = searchParams.getAll('count').map(Number);
    const lengths = searchParams.getAll('length').map(Number);
    return searchParams.getAll('offset').map((offset, i) => {
      const [piece, count] = [lengths[i] ?? 0, counts[i] ?? 0];
      return { path: pathname, from: Number(offset), bytes: piece * count, piece };
    });
  }
  return [{ path: pathname, from: Number(/bytes (\d+)/.exec(headers['content-range'] ?? '')?.[1] ?? 0), bytes }];
}

/** What the host says of a device. */
export const statusOf = (host: Page, index: number): Promise<DeviceStatus | undefined> =>
  host.evaluate(
    async (wanted) => (await window.edgevisor.status()).devices.find((device) => device.index === wanted),
    index,
  );

/** Calls of a contributing page's handle. */
export const contribute = (page: Page, call: 'pause' | 'resume' | 'leave'): Promise<void> =>
  page.evaluate(async (name) => (window as unknown as { edgevisor: ContributeHandle }).edgevisor[name](), call);
export const contributeStatus = (page: Page): Promise<ContributeStatus> =>
  page.evaluate(async () => (window as unknown as { edgevisor: ContributeHandle }).edgevisor.status());

/** Greedy answer to golden ids through the host's handle. */
export const greedy = (host: Page, ids: number[], maxTokens: number) =>
  host.evaluate((options) => window.edgevisor.generate(options), {
    ...{ ids, maxTokens, temperature: 0, ignoreEos: true, reuse: false },
  });

/** For `init`: tsx names functions by a helper, which functions that are sent to a page would look for there. */
export function provideName(): void {
  // Not as a property of a literal, which would get its name by the same helper.
  (globalThis as { __name?: (value: unknown) => unknown }).__name = (value) => value;
}
