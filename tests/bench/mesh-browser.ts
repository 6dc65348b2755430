/** One Chromium for all tabs of a mesh, and the real server. */

import { join } from 'node:path';
import { type Browser, chromium } from 'playwright';
import { ROOT } from '../../scripts/build.ts';
import { chromiumOptions } from '../support/chromium.ts';
import { BenchError } from './bench-error.ts';
import { startOurServer } from './servers.ts';

export async function withMeshBrowser(work: (browser: Browser, url: string) => Promise<void>): Promise<void> {
  const options = chromiumOptions();
  if (!options) throw new BenchError('No Chromium to measure in. Install it, or set CHROMIUM_PATH.');
  const server = await startOurServer(process.env.MODELS_DIR ?? join(ROOT, 'models'));
  const browser = await chromium.launch(options);
  try {
    await work(browser, server.url);
  } finally {
    await browser.close();
    await server.close();
  }
}
