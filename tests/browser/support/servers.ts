import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createServer } from 'vite';
import { ensurePages, ROOT } from '../../../scripts/build.ts';
import { serveDataFrom } from '../../../scripts/vite-data.ts';
import config from '../../../vite.config.ts';
import { makeModelsDirectory } from './models.ts';
import { CACHE, makeScratchDirectory } from './scratch.ts';

/** A server that runs for the tests. */
export interface TestServer {
  /** Origin of http on localhost, without a slash at the end. */
  url: string;
  /** Origin of https on localhost (self-signed); empty where there is none. */
  secureUrl: string;
  /** Directory that the models are served from. */
  models: string;
  close(): Promise<void>;
}

const silent = () => undefined;

/**
 * Starts the real server (`signaling-server/main.ts`) as a process of its own, on free ports, with the built pages and
 * the tests' models. Pages are built first when they are not up to date, and served from a copy, so that a build
 * meanwhile does not pull them away.
 */
export async function startTestServer(env: NodeJS.ProcessEnv = {}): Promise<TestServer> {
  await ensurePages(silent);
  const scratch = makeScratchDirectory();
  const models = makeModelsDirectory(scratch);
  cpSync(join(ROOT, 'dist'), join(scratch, 'pages'), { recursive: true });
  const child = spawn(
    process.execPath,
    [
      ...['--import', 'tsx', 'signaling-server/main.ts', '--port', '0'],
      ...['--models', models, '--pages', join(scratch, 'pages'), '--certificate', join(CACHE, 'test-certificate')],
    ],
    { cwd: ROOT, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  try {
    const url = await readyUrl(child);
    const addresses = (await (await fetch(`${url}/addresses.json`)).json()) as { https: string[] };
    const close = async () => {
      await stop(child);
      rmSync(scratch, { recursive: true, force: true });
    };
    return { url, secureUrl: addresses.https.at(-1) ?? '', models, close };
  } catch (error) {
    await stop(child);
    rmSync(scratch, { recursive: true, force: true });
    throw error;
  }
}

/** Origin from the server's `ready` line; rejects with what it said when it ends before. */
function readyUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const said: string[] = [];
    createInterface({ input: child.stdout! }).on('line', (line) => {
      said.push(line);
      const match = line.match(/^ready (\S+)\/host\.html$/);
      if (match?.[1]) resolve(match[1]);
    });
    child.once('close', () => reject(new Error(`The server ended before it was ready:\n${said.join('\n')}`)));
  });
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else {
      child.once('close', () => resolve());
      child.kill();
    }
  });
}

/**
 * Starts Vite's dev server on a free port with the repository as its root, so that a test page may import any source
 * (`/web/device/webgpu/backend.ts`, `/shaders/x.wgsl?raw`, `/tests/browser/kernels/page.html`); `/models/` has the tests'
 * models.
 */
export async function startViteServer(): Promise<Pick<TestServer, 'url' | 'close'>> {
  const scratch = makeScratchDirectory();
  const vite = await createServer({
    ...config,
    configFile: false,
    root: ROOT,
    cacheDir: join(scratch, 'vite'),
    plugins: [serveDataFrom(makeModelsDirectory(scratch))],
    appType: 'mpa',
    logLevel: 'warn',
    clearScreen: false,
    // All sources are looked through for packages at the start: one found later would reload the page under the test.
    optimizeDeps: { entries: ['web/**/*.ts', 'tests/browser/**/*.ts', '!**/*.spec.ts', '!tests/browser/support/**'] },
    server: { ...config.server, port: 0, strictPort: false, hmr: false, watch: null, host: 'localhost' },
  });
  await vite.listen();
  const url = vite.resolvedUrls?.local[0]?.replace(/\/$/, '');
  if (!url) throw new Error('Vite did not say where it listens.');
  const close = async () => {
    await vite.close();
    rmSync(scratch, { recursive: true, force: true });
  };
  return { url, close };
}
