/**
 * WebKitGTK through its own driver: a browser without WebRTC, WebGPU and (as Debian builds it) SharedArrayBuffer, as some
 * people's are. Playwright cannot drive it, and plain WebDriver needs no package.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { findWebKit } from '../../../scripts/browsers.ts';

/** How long the driver may take to answer at all, in ms. */
const START_MS = 20_000;
/** How long the body of a script may take, in ms: the tests' own limit comes first. */
const SCRIPT_MS = 300_000;

export interface WebKitPage {
  /** Runs the body of an async function in the page; gives what it returns. */
  evaluate<T>(body: string): Promise<T>;
  goto(url: string): Promise<void>;
  reload(): Promise<void>;
  /** Puts the window away, as a person does who turns to something else. */
  minimize(): Promise<void>;
  close(): Promise<void>;
}

/** Opens an address in a WebKitGTK of its own. Rejects with an Error that has the driver's words. */
export async function openWebKit(url: string): Promise<WebKitPage> {
  const found = findWebKit();
  if (!found) throw new Error('There is no WebKitGTK here: apt-get install webkit2gtk-driver xvfb');
  const port = await freePort();
  const driver = spawn(found.display, ['-a', found.driver, `--port=${port}`], {
    // A group of its own, so that display, driver and browser end together.
    detached: true,
    stdio: 'ignore',
    env: { ...process.env, WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1', LIBGL_ALWAYS_SOFTWARE: '1' },
  });
  const base = `http://127.0.0.1:${port}`;
  try {
    await answering(base, driver);
    const { sessionId } = await call<{ sessionId: string }>(`${base}/session`, {
      capabilities: {
        alwaysMatch: {
          'webkitgtk:browserOptions': { binary: found.browser, args: ['--automation'] },
          acceptInsecureCerts: true,
        },
      },
    });
    const session = `${base}/session/${sessionId}`;
    const command = async (name: string, body: unknown = {}): Promise<void> => {
      await call(`${session}/${name}`, body);
    };
    await command('timeouts', { script: SCRIPT_MS, pageLoad: 60_000 });
    await command('url', { url });
    return {
      evaluate: (body) =>
        call(`${session}/execute/async`, {
          script: `const done = arguments[arguments.length - 1];
            (async () => { ${body} })().then((value) => done({ value }), (error) => done({ error: String(error) }));`,
          args: [],
        }).then((outcome) => {
          const { value, error } = outcome as { value: never; error?: string };
          if (error) throw new Error(error);
          return value;
        }),
      goto: (address) => command('url', { url: address }),
      reload: () => command('refresh'),
      minimize: () => command('window/minimize'),
      async close() {
        await fetch(session, { method: 'DELETE' }).catch(() => undefined);
        await stop(driver);
      },
    };
  } catch (error) {
    await stop(driver);
    throw error;
  }
}

async function call<T>(url: string, body: unknown): Promise<T> {
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
  const { value } = (await response.json()) as { value: T & { error?: string; message?: string } };
  if (!response.ok) throw new Error(`WebKitWebDriver: ${value.error}: ${value.message}`);
  return value;
}

async function answering(base: string, driver: ChildProcess): Promise<void> {
  const deadline = Date.now() + START_MS;
  for (;;) {
    const up = await fetch(`${base}/status`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (up) return;
    if (driver.exitCode !== null || Date.now() > deadline) throw new Error('WebKitWebDriver did not start.');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function stop(driver: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (driver.exitCode !== null || driver.pid === undefined) {
      resolve();
      return;
    }
    driver.once('close', () => resolve());
    process.kill(-driver.pid, 'SIGTERM');
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
