import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { listen } from '../../../signaling-server/http-server.ts';
import { type RunningServer, StartError, startServer } from '../../../signaling-server/main.ts';
import { welcome } from '../../../signaling-server/welcome.ts';

const root = mkdtempSync(join(tmpdir(), 'edgevisor-main-'));
const options = (port: number) => ({
  port,
  pages: join(root, 'pages'),
  models: join(root, 'models'),
  certificate: join(root, 'certificate'),
  iceServers: [],
});
let running: RunningServer | undefined;
let blocker: Server | undefined;

beforeAll(() => {
  mkdirSync(join(root, 'pages'));
  mkdirSync(join(root, 'models'));
  writeFileSync(join(root, 'pages', 'host.html'), 'host');
});

afterEach(async () => {
  await running?.close();
  running = undefined;
  blocker?.close();
  blocker = undefined;
});

afterAll(() => rmSync(root, { recursive: true }));

const portOf = (origin: string | undefined) => Number(new URL(origin!).port);

/** A port that is taken, with the one below free; found by trying. */
async function takePortAboveAFreeOne(): Promise<number> {
  for (;;) {
    const probe = createServer();
    const free = await listen(probe, 0);
    const above = createServer();
    try {
      await listen(above, free + 1);
      await new Promise((resolve) => probe.close(resolve));
      blocker = above;
      return free + 1;
    } catch {
      probe.close();
    }
  }
}

/** How the server answers a WebSocket's opening request from a page of this origin. */
function upgradeStatus(address: string, origin: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(address.replace(/^http/, 'ws'), { origin, rejectUnauthorized: false });
    socket.once('upgrade', (response) => resolve(response.statusCode));
    socket.once('open', () => socket.close());
    socket.once('unexpected-response', (_, response) => resolve(response.statusCode));
    socket.once('error', reject);
  });
}

describe('starting the server', () => {
  test('answers by http and https on all addresses, and says where', async () => {
    running = await startServer(options(0), () => undefined);
    const { http, https } = running.addresses;
    expect(await (await fetch(`${http.at(-1)}/host.html`)).text()).toBe('host');
    expect(await (await fetch(`${http.at(-1)}/addresses.json`)).json()).toEqual({ http, https });
    expect(https.at(-1)).toMatch(/^https:\/\/localhost:\d+$/);
    expect(http).toHaveLength(https.length);
  });

  test('a taken port is explained', async () => {
    blocker = createServer();
    const port = await listen(blocker, 0);
    const start = startServer(options(port), () => undefined);
    await expect(start).rejects.toThrow(StartError);
    await expect(start).rejects.toThrow(new RegExp(`Port ${port} .*another program.*--port`));
  });

  test('without the https port it says so and goes on with http', async () => {
    const taken = await takePortAboveAFreeOne();
    const said: string[] = [];
    running = await startServer(options(taken - 1), (line) => said.push(line));
    expect(said.join('\n')).toMatch(new RegExp(`No https: port ${taken} `));
    expect(running.addresses.https).toEqual([]);
    expect(portOf(running.addresses.http.at(-1))).toBe(taken - 1);
    expect((await fetch(`${running.addresses.http.at(-1)}/host.html`)).status).toBe(200);
  });

  test('pages that are not built, or no models directory, are explained', async () => {
    const start = (change: object) => startServer({ ...options(0), ...change }, () => undefined);
    await expect(start({ pages: join(root, 'models') })).rejects.toThrow(/no built pages.*npm run build/);
    await expect(start({ models: join(root, 'none') })).rejects.toThrow(/no directory/);
  });

  test('a Redis that does not answer is explained', async () => {
    const start = startServer({ ...options(0), redisUrl: 'redis://localhost:1' }, () => undefined);
    await expect(start).rejects.toThrow(/REDIS_URL.*unset REDIS_URL/);
  });

  test.skipIf(process.platform === 'win32')('a plan socket that is asked for comes and goes with it', async () => {
    const planSocket = join(root, 'plan.sock');
    const said: string[] = [];
    running = await startServer({ ...options(0), planSocket }, (line) => said.push(line));
    expect(said.join('\n')).toContain(planSocket);
    expect(statSync(planSocket).isSocket()).toBe(true);
    await expect(startServer({ ...options(0), planSocket }, () => undefined)).rejects.toThrow(StartError);
    await running.close();
    running = undefined;
    expect(existsSync(planSocket)).toBe(false);
  });

  test('rooms are there on both ports, for pages of the same origin only', async () => {
    running = await startServer(options(0), () => undefined);
    for (const origin of [running.addresses.http.at(-1)!, running.addresses.https.at(-1)!]) {
      expect(await upgradeStatus(`${origin}/room`, origin)).toBe(101);
      expect(await upgradeStatus(`${origin}/room`, 'https://elsewhere.example')).toBe(403);
    }
  });

  test('a link out of the models directory is named, since it is not served', async () => {
    const link = join(root, 'models', 'away.gguf');
    symlinkSync(join(root, 'pages', 'host.html'), link);
    const said: string[] = [];
    running = await startServer(options(0), (line) => said.push(line));
    rmSync(link);
    expect(said.join('\n')).toContain('away.gguf is a link');
  });
});

describe('what the terminal says', () => {
  test('both addresses and a QR code of the https one', async () => {
    const text = await welcome({
      http: ['http://192.168.1.7:8080', 'http://localhost:8080'],
      https: ['https://192.168.1.7:8081', 'https://localhost:8081'],
    });
    expect(text).toContain('http://localhost:8080/host.html');
    expect(text).toContain('https://192.168.1.7:8081/');
    expect(text).toContain('http://192.168.1.7:8080/');
    expect(text).toMatch(/[▀▄█]{3}/);
  });

  test('without a network there is nothing to scan', async () => {
    const text = await welcome({ http: ['http://localhost:8080'], https: ['https://localhost:8081'] });
    expect(text).toContain('other devices cannot join');
    expect(text).not.toMatch(/[▀▄█]/);
  });
});
