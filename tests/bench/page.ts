/**
 * Pages of Chromium, driven by as little of the DevTools protocol as the benchmarks need. Not Playwright: it listens to
 * the network, and Chromium then keeps a copy of what every request brings in the page's own process, more than the model itself,
 * and tells of every piece of it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { BenchError } from './bench-error.ts';

export interface BenchPage {
  /** Resolves when the page and its resources are loaded. */
  goto(url: string): Promise<void>;
  /** Calls a function in the page; it is sent as text, so it sees nothing but its argument. Rejects with what it throws. */
  evaluate<Result>(work: () => Result | Promise<Result>): Promise<Result>;
  evaluate<Argument, Result>(
    work: (argument: Argument) => Result | Promise<Result>,
    argument: Argument,
  ): Promise<Result>;
  /** Makes a function a global one of the page, sent as text too. */
  define(name: string, work: (...given: never[]) => unknown): Promise<void>;
}

/** A page with a storage of its own. */
export interface SeparatePage extends BenchPage {
  close(): Promise<void>;
}

export interface PageProcess {
  /** The one that the browser starts with. */
  page: BenchPage;
  newPage(): Promise<SeparatePage>;
  close(): Promise<void>;
}

/** As Playwright starts it where that matters: no window, nothing of the person's, no pages that are kept for "back". */
const FLAGS = [
  ...['--headless', '--password-store=basic', '--use-mock-keychain', '--disable-back-forward-cache'],
  '--remote-debugging-port=0',
];
const LONGEST_START_MS = 30_000;
const LONGEST_LOAD_MS = 60_000;
const LOOK_MS = 20;

/** Starts Chromium with a profile of its own. Rejects with BenchError where it does not come up. */
export async function openPage(path: string, args: readonly string[], profile: string): Promise<PageProcess> {
  const child = spawn(path, [...FLAGS, ...args, `--user-data-dir=${profile}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
  });
  try {
    const address = await debuggingAddress(child);
    const { host } = new URL(address);
    const page = await connect(await pageAddress(`http://${host}`));
    const browser = await connect(address);
    return {
      page: pageOver(page),
      async newPage() {
        const { browserContextId } = (await browser.send('Target.createBrowserContext', {})) as {
          browserContextId: string;
        };
        const { targetId } = (await browser.send('Target.createTarget', { url: 'about:blank', browserContextId })) as {
          targetId: string;
        };
        const connection = await connect(`ws://${host}/devtools/page/${targetId}`);
        return {
          ...pageOver(connection),
          async close() {
            connection.close();
            await browser.send('Target.disposeBrowserContext', { browserContextId });
          },
        };
      },
      async close() {
        page.close();
        browser.close();
        child.kill();
        await ended;
      },
    };
  } catch (error) {
    child.kill('SIGKILL');
    await ended;
    throw error;
  }
}

/** The browser's own, from the line that Chromium writes once it listens. */
function debuggingAddress(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const said: string[] = [];
    const fail = (why: string) => reject(new BenchError(`Chromium ${why}:\n${said.slice(-5).join('\n')}`));
    const timer = setTimeout(() => fail('did not start in time'), LONGEST_START_MS);
    createInterface({ input: child.stderr! }).on('line', (line) => {
      said.push(line);
      const address = line.match(/^DevTools listening on (ws:\S+)/)?.[1];
      if (!address) return;
      clearTimeout(timer);
      resolve(address);
    });
    child.once('error', (error) => fail(`did not start (${error.message})`));
    child.once('close', () => fail('ended'));
  });
}

/** Of its only page, which may come a moment later. */
async function pageAddress(origin: string): Promise<string> {
  for (const start = performance.now(); performance.now() - start < LONGEST_START_MS; await sleep(LOOK_MS)) {
    const targets = (await (await fetch(`${origin}/json/list`)).json()) as {
      type: string;
      webSocketDebuggerUrl: string;
    }[];
    const page = targets.find(({ type }) => type === 'page');
    if (page) return page.webSocketDebuggerUrl;
  }
  throw new BenchError('Chromium shows no page.');
}

/** A connection of the DevTools protocol. */
interface Connection {
  send(method: string, params: object): Promise<unknown>;
  close(): void;
}

async function connect(address: string): Promise<Connection> {
  const socket = new WebSocket(address, { perMessageDeflate: false, maxPayload: 256 * 2 ** 20 });
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
  let calls = 0;
  socket.on('message', (data) => {
    const { id, result, error } = JSON.parse(String(data)) as Answer;
    const call = id === undefined ? undefined : waiting.get(id);
    if (id === undefined || !call) return;
    waiting.delete(id);
    if (error) call.reject(new Error(error.message));
    else call.resolve(result);
  });
  socket.on('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('The page has gone.'));
    waiting.clear();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  return {
    send: (method, params) =>
      new Promise((resolve, reject) => {
        waiting.set(++calls, { resolve, reject });
        // Nothing would ever answer on one that is closed.
        socket.send(JSON.stringify({ id: calls, method, params }), (error) => error && reject(error));
      }),
    close: () => socket.close(),
  };
}

interface Answer {
  id?: number;
  result?: Record<string, unknown>;
  error?: { message: string };
}

interface Evaluated {
  result: { value?: unknown };
  exceptionDetails?: { text: string; exception?: { description?: string } };
}

function pageOver({ send }: Connection): BenchPage {
  async function run(expression: string): Promise<unknown> {
    const answer = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    const { result, exceptionDetails: thrown } = answer as Evaluated;
    if (thrown) throw new Error(thrown.exception?.description ?? thrown.text);
    return result.value;
  }

  return {
    async goto(url) {
      await run('globalThis.isOldPage = true');
      const { errorText } = (await send('Page.navigate', { url })) as { errorText?: string };
      if (errorText) throw new Error(`${url}: ${errorText}`);
      // The old page answers until the new one is there.
      const isThere = `document.readyState === 'complete' && !globalThis.isOldPage`;
      for (const start = performance.now(); !(await run(isThere).catch(() => false)); await sleep(LOOK_MS)) {
        if (performance.now() - start > LONGEST_LOAD_MS) throw new BenchError(`${url} has not loaded.`);
      }
    },
    async define(name, work) {
      await run(`globalThis[${JSON.stringify(name)}] = ${work}, undefined`);
    },
    async evaluate<Argument, Result>(work: (argument: Argument) => Result | Promise<Result>, argument?: Argument) {
      // tsx names functions by a helper, which functions that are sent to the page would look for there.
      const source = `(globalThis.__name ??= (value) => value, (${work})(${JSON.stringify(argument) ?? ''}))`;
      return (await run(source)) as Result;
    },
  };
}
