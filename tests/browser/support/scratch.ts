import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../../scripts/build.ts';

/** Here, and not in the system's temporary directory, since models can be linked only within one file system. */
const CACHE = join(ROOT, 'node_modules', '.cache');
const PREFIX = 'test-run-';
/** No run of the tests takes so long. */
const ABANDONED_AFTER = 6 * 60 * 60 * 1000; // milliseconds

/** A fresh directory, which the caller removes. */
export function makeScratchDirectory(): string {
  mkdirSync(CACHE, { recursive: true });
  return mkdtempSync(join(CACHE, PREFIX));
}

/** Removes what runs left behind that were killed. */
export function removeAbandonedScratch(): void {
  mkdirSync(CACHE, { recursive: true });
  for (const name of readdirSync(CACHE).filter((name) => name.startsWith(PREFIX))) {
    const path = join(CACHE, name);
    if (Date.now() - statSync(path).mtimeMs > ABANDONED_AFTER) rmSync(path, { recursive: true, force: true });
  }
}
