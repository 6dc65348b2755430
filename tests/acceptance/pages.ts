/** The tabs of an acceptance test: fresh ones for each, or, where time is short, those of the test before. */
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser } from '@playwright/test';
import { sendLine } from '../../scripts/plan.ts';
import { type MeshPages, openMesh, provideName } from '../browser/support/mesh-pages.ts';
import { CONTEXT, devicesIn, type Form } from './cases.ts';

export interface PagesOptions {
  browser: Browser;
  /** Origin of the server. */
  url: string;
  /** Path of its plan socket. */
  socket: string;
  form: Form;
}

/** Which tabs are wanted. */
export interface Wanted {
  backend: 'wasm' | 'webgpu';
  ratios: string;
}

export interface Pages {
  /** Tabs that load the model in these shares, or have begun to. */
  open(wanted: Wanted): Promise<MeshPages>;
  /** The test is over. */
  done(): Promise<void>;
  close(): Promise<void>;
}

const CLOSE_MS = 30_000;
const POLL_MS = 50;

/** Tabs that are opened for each test, by addresses that say everything, and closed after it. */
export function freshPages(options: PagesOptions): Pages {
  let mesh: MeshPages | undefined;
  async function close(): Promise<void> {
    const closing = mesh;
    mesh = undefined;
    if (!closing) return;
    await closing.close();
    await roomClosed(options.socket);
  }
  return {
    async open(wanted) {
      mesh = await openPages(options, wanted);
      return mesh;
    },
    done: close,
    close,
  };
}

/** Tabs that stay for the next test with as many of the same backend, which then loads the model anew. */
export function keptPages(options: PagesOptions): Pages {
  const fresh = freshPages(options);
  let kept: { key: string; mesh: MeshPages } | undefined;
  return {
    async open(wanted) {
      const key = `${wanted.backend} ${devicesIn(wanted.ratios)}`;
      if (kept?.key === key) {
        const again = { model: options.form.model, ratios: wanted.ratios };
        await kept.mesh.host.evaluate((given) => window.edgevisor.load(given), again);
        return kept.mesh;
      }
      await fresh.close();
      kept = undefined;
      const mesh = await fresh.open(wanted);
      kept = { key, mesh };
      return mesh;
    },
    done: async () => undefined,
    close: fresh.close,
  };
}

function openPages({ browser, url, form }: PagesOptions, { backend, ratios }: Wanted): Promise<MeshPages> {
  const devices = devicesIn(ratios);
  // Several tabs share the machine's cores; one has two of them, as in EdgeVisor's test.
  const threads = devices === 1 ? Math.min(2, cpus().length) : 1;
  const more = form.query ? [form.query] : [];
  const query = [`backend=${backend}`, ...(backend === 'wasm' ? [`threads=${threads}`] : []), ...more].join('&');
  return openMesh(
    browser,
    { url },
    {
      host: `model=${form.model}&ratios=${ratios}&${query}&context=${CONTEXT}`,
      devices: Array.from({ length: devices - 1 }, () => ({ query })),
      init: provideName,
    },
  );
}

/** The next test's commands must find one room: its own. */
async function roomClosed(socket: string): Promise<void> {
  const deadline = performance.now() + CLOSE_MS;
  while (performance.now() < deadline) {
    if ((await sendLine(socket, '{"op":"status"}')).includes('No room')) return;
    await sleep(POLL_MS);
  }
  throw new Error('The server still has the room of a page that is closed.');
}
