/** The project's own server as a process of its own, for browser tests and benchmarks. */
import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ensurePages, ROOT } from '../../scripts/build.ts';

export interface ServerProcess {
  /** Origin of http on localhost, without a slash at the end. */
  url: string;
  /** Ends the process; resolves when it has gone. */
  stop(): Promise<void>;
}

/**
 * Starts `signaling-server/main.ts` on free ports with the pages as they are built now, copied to `scratch`, so that a
 * build meanwhile does not pull them away. Rejects with what it said when it ends before it is ready.
 */
export async function startServerProcess(
  models: string,
  scratch: string,
  env: NodeJS.ProcessEnv = {},
): Promise<ServerProcess> {
  await ensurePages(() => undefined);
  const pages = join(scratch, 'pages');
  cpSync(join(ROOT, 'dist'), pages, { recursive: true });
  const certificate = join(ROOT, 'node_modules', '.cache', 'test-certificate');
  const child = spawn(
    process.execPath,
    [
      ...['--import', 'tsx', 'signaling-server/main.ts', '--port', '0'],
      ...['--models', models, '--pages', pages, '--certificate', certificate],
    ],
    { cwd: ROOT, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  return { url: await readyUrl(child), stop: () => stop(child) };
}

/** Origin from the server's `ready` line. */
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
