/** One Chromium for all tabs of a mesh, and the real server. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT } from '../../scripts/build.ts';
import { newSecret } from '../../web/mesh/secret.ts';
import { chromiumOptions } from '../support/chromium.ts';
import { BenchError } from './bench-error.ts';
import { type BenchPage, openPage, type SeparatePage } from './page.ts';
import { startOurServer } from './servers.ts';

export interface BenchMesh {
  host: BenchPage;
  close(): Promise<void>;
}

/** Opens a host page and so many contributing ones, all with the same query, and waits until all are in its room. */
export type OpenMesh = (query: string, contributing: number) => Promise<BenchMesh>;

/** A page that joins is measured first. */
const LONGEST_ARRIVAL_MS = 60_000;
const LOOK_MS = 100;

export async function withMeshBrowser(work: (openMesh: OpenMesh) => Promise<void>): Promise<void> {
  const options = chromiumOptions();
  if (!options) throw new BenchError('No Chromium to measure in. Install it, or set CHROMIUM_PATH.');
  const server = await startOurServer(process.env.MODELS_DIR ?? join(ROOT, 'models'));
  const profile = mkdtempSync(join(tmpdir(), 'edgevisor-bench-'));
  try {
    const browser = await openPage(options.executablePath, options.args, profile);
    try {
      await work((query, contributing) => openMesh(browser.newPage, server.url, query, contributing));
    } finally {
      await browser.close();
    }
  } finally {
    await server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function openMesh(
  newPage: () => Promise<SeparatePage>,
  url: string,
  query: string,
  contributing: number,
): Promise<BenchMesh> {
  const secret = newSecret();
  const pages: SeparatePage[] = [];
  const open = async (path: string): Promise<SeparatePage> => {
    const page = await newPage();
    pages.push(page);
    await page.goto(`${url}${path}?${query}#room=${secret}`);
    return page;
  };
  const host = await open('/host.html');
  await host.evaluate(() => window.edgevisor.ready);
  for (let index = 1; index <= contributing; index++) {
    await open('/');
    await arrival(host, index);
  }
  return {
    host,
    async close() {
      for (const page of pages) await page.close();
    },
  };
}

/** Until the device has said what it offers. */
async function arrival(host: BenchPage, index: number): Promise<void> {
  for (const start = performance.now(); performance.now() - start < LONGEST_ARRIVAL_MS; await sleep(LOOK_MS)) {
    const { devices } = await host.evaluate(() => window.edgevisor.status());
    if (devices.some((device) => device.index === index && device.backend)) return;
  }
  throw new BenchError(`Device ${index} did not come into the room.`);
}
