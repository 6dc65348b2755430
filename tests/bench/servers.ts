/** The two servers of `bench -- single`: the project's own, and one for the peers' files. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import sirv from 'sirv';
import { ensureKernels, ROOT } from '../../scripts/build.ts';
import { setSecurityHeaders } from '../../signaling-server/headers.ts';
import { listen } from '../../signaling-server/http-server.ts';
import { startServerProcess } from '../support/server-process.ts';
import { PEERS } from './peers.ts';

export interface BenchServer {
  /** Without a slash at the end. */
  url: string;
  close(): Promise<void>;
}

/** Starts the real server on free ports, with pages as they are built now. */
export async function startOurServer(models: string): Promise<BenchServer> {
  await ensureKernels();
  const cache = join(ROOT, 'node_modules', '.cache');
  mkdirSync(cache, { recursive: true });
  const scratch = mkdtempSync(join(cache, 'bench-'));
  const remove = () => rmSync(scratch, { recursive: true, force: true });
  try {
    const { url, stop } = await startServerProcess(models, scratch);
    const close = async () => {
      await stop();
      remove();
    };
    return { url, close };
  } catch (error) {
    remove();
    throw error;
  }
}

/**
 * Serves an empty page (`/`), wllama's package (`/wllama/`) and the models (`/models/`) with the isolation that our own
 * pages have, so that wllama has threads too.
 */
export async function startPeerServer(models: string): Promise<BenchServer> {
  const wllama = sirv(join(PEERS, '@wllama', 'wllama', 'esm'), { dev: true });
  const files = sirv(models, { dev: true });
  const server = createServer((request, response) => {
    setSecurityHeaders(response);
    // wllama makes its Workers from scripts in memory, which our own pages may not.
    response.removeHeader('Content-Security-Policy');
    const [, mount, path] = (request.url ?? '').match(/^\/(wllama|models)(\/.*)$/) ?? [];
    const missing = (): void => {
      response.writeHead(404).end();
    };
    if (mount && path) {
      request.url = path;
      (mount === 'wllama' ? wllama : files)(request, response, missing);
    } else if (request.url === '/') {
      response.setHeader('Content-Type', 'text/html; charset=utf-8');
      response.end('<!doctype html><html lang="en"><title>Empty</title></html>');
    } else missing();
  });
  const port = await listen(server, 0);
  return {
    url: `http://localhost:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
