import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createServer } from 'vite';
import { ROOT } from '../../../scripts/build.ts';
import { serveDataFrom } from '../../../scripts/vite-data.ts';
import config from '../../../vite.config.ts';
import { type ServerProcess, startServerProcess } from '../../support/server-process.ts';
import { makeModelsDirectory } from './models.ts';
import { makeScratchDirectory } from './scratch.ts';

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

/** Starts the real server with the built pages and the tests' models. */
export async function startTestServer(env: NodeJS.ProcessEnv = {}): Promise<TestServer> {
  const scratch = makeScratchDirectory();
  const remove = () => rmSync(scratch, { recursive: true, force: true });
  const models = makeModelsDirectory(scratch);
  let server: ServerProcess;
  try {
    server = await startServerProcess(models, scratch, env);
  } catch (error) {
    remove();
    throw error;
  }
  const { url, stop } = server;
  const close = async () => {
    await stop();
    remove();
  };
  try {
    const addresses = (await (await fetch(`${url}/addresses.json`)).json()) as { https: string[] };
    return { url, secureUrl: addresses.https.at(-1) ?? '', models, close };
  } catch (error) {
    await close();
    throw error;
  }
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
