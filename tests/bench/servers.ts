/** The two servers of `bench -- single`: the project's own, and one for the peers' files. */
import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import sirv from 'sirv';
import { ensureKernels, ensurePages, ROOT } from '../../scripts/build.ts';
import { setSecurityHeaders } from '../../signaling-server/headers.ts';
import { listen } from '../../signaling-server/http-server.ts';
import { PEERS } from './peers.ts';

export interface BenchServer {
  /** Without a slash at the end. */
  url: string;
  close(): Promise<void>;
}

/** Starts the real server as a process of its own, on free ports, with pages as they are built now. */
export async function startOurServer(models: string): Promise<BenchServer> {
  await ensureKernels();
  await ensurePages(() => undefined);
  const cache = join(ROOT, 'node_modules', '.cache');
  mkdirSync(cache, { recursive: true });
  const scratch = mkdtempSync(join(cache, 'bench-'));
  // A copy, so that a build meanwhile does not pull the pages away.
  cpSync(join(ROOT, 'dist'), join(scratch, 'pages'), { recursive: true });
  const child = spawn(
    process.execPath,
    [
      ...['--import', 'tsx', 'signaling-server/main.ts', '--port', '0', '--models', models],
      ...['--pages', join(scratch, 'pages'), '--certificate', join(cache, 'test-certificate')],
    ],
    { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const close = async () => {
    await ended(child);
    rmSync(scratch, { recursive: true, force: true });
  };
  try {
    return { url: await readyUrl(child), close };
  } catch (error) {
    await close();
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

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else {
      child.once('close', () => resolve());
      child.kill();
    }
  });
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
