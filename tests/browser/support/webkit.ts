/**
 * WebKitGTK through its own driver: a browser without WebRTC, as some people's are. Playwright cannot drive it, and plain
 * WebDriver needs no package.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';

const DRIVER = '/usr/bin/WebKitWebDriver';
const DISPLAY = '/usr/bin/xvfb-run';
const BROWSERS = ['webkit2gtk-4.1', 'webkit2gtk-4.0', 'webkitgtk-6.0'].map(
  (version) => `/usr/lib/x86_64-linux-gnu/${version}/MiniBrowser`,
);
/** How long the driver may take to answer at all, in ms. */
const START_MS = 20_000;

const browser = () => BROWSERS.find((path) => existsSync(path));

/** Whether there are a driver, a browser and a display to run it on. */
export const hasWebKit = (): boolean => existsSync(DRIVER) && existsSync(DISPLAY) && browser() !== undefined;

export interface WebKitPage {
  /** Runs the body of an async function in the page; gives what it returns. */
  evaluate<T>(body: string): Promise<T>;
  close(): Promise<void>;
}

/** Opens an address in a WebKitGTK of its own. Rejects with an Error that has the driver's words. */
export async function openWebKit(url: string): Promise<WebKitPage> {
  const port = await freePort();
  const driver = spawn(DISPLAY, ['-a', DRIVER, `--port=${port}`], {
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
          'webkitgtk:browserOptions': { binary: browser(), args: ['--automation'] },
          acceptInsecureCerts: true,
        },
      },
    });
    const session = `${base}/session/${sessionId}`;
    await call(`${session}/timeouts`, { script: 60_000, pageLoad: 60_000 });
    await call(`${session}/url`, { url });
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
