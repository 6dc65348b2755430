import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './run.ts';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** A build step: what goes in, what comes out, how. Paths are relative to the repository. */
interface BuildStep {
  /** For people: `WASM kernels`. */
  name: string;
  sources: string[];
  output: string;
  build: () => Promise<void>;
}

/** Kept in the output: the digest of the sources that it was built from. */
const STAMP = '.built-from';
const KERNEL_SOURCES = ['wasm-cpu/assembly', 'wasm-cpu/build.ts', 'package-lock.json'];

const kernels: BuildStep = {
  name: 'WASM kernels',
  sources: KERNEL_SOURCES,
  output: 'wasm-cpu/build',
  build: () => run('npm', ['run', '--silent', 'build:wasm']),
};

const pages: BuildStep = {
  name: 'pages',
  sources: [...KERNEL_SOURCES, 'web', 'shaders', 'public', 'vite.config.ts'],
  output: 'dist',
  build: buildPages,
};

/** Builds the WASM kernels, unless they are already built from the sources as they are now. */
export function ensureKernels(log: (line: string) => void): Promise<void> {
  return ensureBuilt(kernels, log);
}

/** Builds the pages, unless they are already built from the sources as they are now. Needs the kernels. */
export function ensurePages(log: (line: string) => void): Promise<void> {
  return ensureBuilt(pages, log);
}

async function ensureBuilt(step: BuildStep, log: (line: string) => void): Promise<void> {
  const digest = await digestOf(step.sources);
  const stamp = join(ROOT, step.output, STAMP);
  if (existsSync(stamp) && (await readFile(stamp, 'utf8')) === digest) {
    log(`The ${step.name} are built already.`);
    return;
  }
  log(`Building the ${step.name} …`);
  await step.build();
  await writeFile(stamp, digest);
}

/** Vite empties its output first, so it gets a directory of its own: a running server keeps whole pages until the swap. */
async function buildPages(): Promise<void> {
  const scratch = join(ROOT, 'node_modules', '.cache', `pages-${process.pid}`);
  await mkdir(scratch, { recursive: true });
  try {
    await run('npx', ['vite', 'build', '--outDir', scratch, '--emptyOutDir', '--logLevel', 'warn']);
    await rm(join(ROOT, pages.output), { recursive: true, force: true });
    await rename(scratch, join(ROOT, pages.output));
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
  if (!existsSync(path)) return [];
  try {
    const entries = await readdir(path, { withFileTypes: true, recursive: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOTDIR') return [path];
    throw error;
  }
}
