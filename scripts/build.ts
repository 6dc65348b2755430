import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './run.ts';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Kept in the output: the digest of the sources that it was built from. */
const STAMP = '.built-from';
/** Everything that the built pages depend on, relative to the repository. */
const PAGE_SOURCES = [
  ...['web', 'public', 'shaders', 'wasm-cpu/assembly', 'wasm-cpu/build.ts'],
  ...['vite.config.ts', 'package-lock.json'],
];
const PAGES = join(ROOT, 'dist');

/** Builds the WASM kernels; their own build leaves out what is up to date. */
export function ensureKernels(): Promise<void> {
  return run('npm', ['run', '--silent', 'build:wasm'], { cwd: ROOT });
}

/** Builds the pages, unless they are already built from the sources as they are now. Needs the kernels. */
export async function ensurePages(log: (line: string) => void): Promise<void> {
  const digest = await digestOf(PAGE_SOURCES);
  const built = await readFile(join(PAGES, STAMP), 'utf8').catch(() => undefined);
  if (built === digest) {
    log('The pages are built already.');
    return;
  }
  log('Building the pages …');
  await buildPages(digest);
}

/** Vite empties its output first, so it gets a directory of its own: a running server keeps whole pages until the swap. */
async function buildPages(digest: string): Promise<void> {
  const scratch = join(ROOT, 'node_modules', '.cache', `pages-${process.pid}`);
  await mkdir(scratch, { recursive: true });
  try {
    await run('npx', ['vite', 'build', '--outDir', scratch, '--emptyOutDir', '--logLevel', 'warn'], { cwd: ROOT });
    await writeFile(join(scratch, STAMP), digest);
    await rm(PAGES, { recursive: true, force: true });
    await rename(scratch, PAGES);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Over names and contents of files and directories; what is not there counts as empty. */
async function digestOf(sources: string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const source of sources)
    for (const file of await filesBelow(join(ROOT, source)))
      hash
        .update(`${file.slice(ROOT.length)}\0`)
        .update(await readFile(file))
        .update('\0');
  return hash.digest('hex');
}

async function filesBelow(path: string): Promise<string[]> {
  const found = await stat(path).catch(() => undefined);
  if (!found) return [];
  if (found.isFile()) return [path];
  const entries = await readdir(path, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
