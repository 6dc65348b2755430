/** Chromium as the benchmarks use it: the one of the browser tests, with a profile of its own for each engine. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromiumOptions } from '../support/chromium.ts';
import { BenchError } from './bench-error.ts';
import { browserMemory, type Memory } from './memory.ts';
import { type BenchPage, openPage, type PageProcess } from './page.ts';

/** Starting a browser leaves work behind; it counts to nobody. */
const SETTLE_MS = 2000;

export interface BenchBrowser {
  page: BenchPage;
  /** For `browserMemory`. */
  profile: string;
  /** `Chromium 156.0…` */
  version: string;
  /** While it showed an empty page; undefined where the system does not say. */
  emptyMemory: Memory | undefined;
  close(): Promise<void>;
}

/**
 * Starts Chromium with an empty profile, shows an empty page and measures its memory.
 * @param emptyPage address of a page with nothing on it
 * @param gpu take the machine's GPU instead of the software adapter of the tests
 */
export async function openBrowser(emptyPage: string, { gpu }: { gpu: boolean }): Promise<BenchBrowser> {
  const options = chromiumOptions({ gpu });
  if (!options) throw new BenchError('No Chromium to measure in. Install it, or set CHROMIUM_PATH.');
  const profile = mkdtempSync(join(tmpdir(), 'edgevisor-bench-'));
  const remove = () => rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  let opened: PageProcess;
  try {
    opened = await openPage(options.executablePath, options.args, profile);
  } catch (error) {
    remove();
    throw error;
  }
  const { page } = opened;
  await page.goto(emptyPage);
  await sleep(SETTLE_MS);
  const userAgent = await page.evaluate(() => navigator.userAgent);
  return {
    page,
    profile,
    version: userAgent.match(/Chrome\/[\d.]+/)?.[0] ?? userAgent,
    emptyMemory: browserMemory(profile),
    async close() {
      await opened.close();
      remove();
    },
  };
}
