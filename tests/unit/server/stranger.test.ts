/**
 * What somebody learns and can do who reaches the server but has no room's link: a whole server with a room in use, and
 * every address of it. docs/security.md has the table.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { listen } from '../../../signaling-server/http-server.ts';
import { type RunningServer, startServer } from '../../../signaling-server/main.ts';
import { CloseCode, RELAY_PATH, SIGNALING_VERSION, type Up } from '../../../web/mesh/messages.ts';
import { newDeviceKey, newSecret } from '../../../web/mesh/secret.ts';
import { connect, host, joinMessage, join as joinRoom, newRoom, openMessage, type Page } from '../rooms/page.ts';

const root = mkdtempSync(join(tmpdir(), 'edgevisor-stranger-'));
const planSocket = join(root, 'plan.sock');
const room = newRoom();
const deviceKey = newDeviceKey();
const log: string[] = [];
let server: RunningServer;
let port: number;
let hostPage: Page;
/** What must not be learned: the room, who is in it, and what opens it. */
let hidden: string[];

beforeAll(async () => {
  for (const folder of ['pages', 'models', 'certificate']) mkdirSync(join(root, folder));
  for (const page of ['index.html', 'host.html']) writeFileSync(join(root, 'pages', page), 'a page');
  writeFileSync(join(root, 'models', 'm.gguf'), 'a model');
  const [pages, models, certificate] = ['pages', 'models', 'certificate'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ];
  server = await startServer(
    { port: await freePort(), pages, models, certificate, iceServers: [], planSocket },
    (line) => log.push(line),
  );
  port = Number(new URL(server.addresses.http[0]!).port);
  const opened = await host(port, room);
  hostPage = opened.page;
  const device = await joinRoom(port, room, 'phone of Ada', deviceKey);
  const { id } = device.welcome.members.find(({ index }) => index === 1)!;
  const tickets = [opened.welcome.ticket, device.welcome.ticket];
  hidden = [room.id, room.proof, room.secret, room.hostKey, deviceKey, id, 'phone of Ada', ...tickets];
});

afterAll(async () => {
  await server.close();
  rmSync(root, { recursive: true });
});

async function freePort(): Promise<number> {
  const probe = createServer();
  const free = await listen(probe, 0);
  await new Promise((resolve) => probe.close(resolve));
  return free;
}

const expectNothingOf = (said: string) => {
  for (const each of hidden) expect(said).not.toContain(each);
};

/** What the host's page hears while a stranger does something; a question of the host's own marks the end. */
async function heardByHost(act: () => Promise<unknown>): Promise<string[]> {
  const before = hostPage.said.length;
  await act();
  hostPage.say({ type: 'ping' });
  await hostPage.hear('pong');
  return hostPage.said.slice(before).map(({ type }) => type);
}

describe('by http', () => {
  test.each([
    ['/', 200],
    ['/host.html', 200],
    // What a device needs to be of use; see docs/security.md.
    ['/models/', 200],
    ['/models/m.gguf', 200],
    ['/models/m.gguf/strided?offset=0&stride=1&length=1&count=1', 200],
    ['/addresses.json', 200],
    ['/room', 404],
    ['/relay', 404],
    ['/rooms', 404],
    ['/rooms/', 404],
    ['/api/rooms', 404],
    ['/plan', 404],
    ['/plan.sock', 404],
    ['/.certificate/', 404],
    ['/certificate/key.pem', 404],
    ['/models/../plan.sock', 404],
    ['/.env', 404],
    ['/package.json', 404],
  ])('%s says %i, and nothing of the room', async (path, status) => {
    for (const method of ['GET', 'HEAD']) {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
      expect(response.status).toBe(status);
      expectNothingOf(JSON.stringify([...response.headers]) + (await response.text()));
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'])
      expect((await fetch(`http://127.0.0.1:${port}${path}`, { method })).status).toBe(405);
  });

  test('another page in the same browser may read nothing', async () => {
    const response = await fetch(`http://127.0.0.1:${port}/models/`, { headers: { Origin: 'http://evil.example' } });
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
    expect(response.headers.get('cross-origin-resource-policy')).toBe('same-origin');
  });

  test('the counters of /stats name no room', async () => {
    // Asked from this machine; from others it is not there (rooms/stats.test.ts).
    const text = await (await fetch(`http://127.0.0.1:${port}/stats`)).text();
    expect(JSON.parse(text)).toMatchObject({ rooms: 1, members: 2 });
    expectNothingOf(text);
  });
});

describe('at /room', () => {
  const stranger = newRoom();
  const said: [string, Up | Record<string, unknown>][] = [
    ['joining a room that there is not', joinMessage(stranger)],
    ['joining the room by its id, with another proof', joinMessage({ ...stranger, id: room.id })],
    ['joining with no proof', { ...joinMessage(room), proof: '' }],
    [
      'joining with a proof that differs in one digit',
      joinMessage({ ...room, proof: room.proof.replace(/.$/, (digit) => (digit === '0' ? '1' : '0')) }),
    ],
    ['joining as the device that is in', joinMessage({ ...stranger, id: room.id }, 'x', deviceKey)],
    ['opening the room by its id', openMessage({ ...room, proof: stranger.proof, hostKey: newDeviceKey() })],
    ["opening it with the host's key", openMessage({ ...room, proof: stranger.proof })],
    ['signalling', { type: 'signal', peer: 0, data: 'x', seal: '0'.repeat(32) }],
    ['letting someone in', { type: 'admit', id: '0'.repeat(32) }],
    ['removing someone', { type: 'remove', index: 1 }],
    ['answering a plan', { type: 'plan-reply', id: 0, text: '{}', last: true }],
    ['asking for a list', { type: 'rooms' }],
  ];

  test.each(said)('%s ends the connection; the host hears nothing', async (_, message) => {
    const page = connect(port);
    const heard = await heardByHost(() => {
      page.say(message);
      return page.closed;
    });
    expect(heard).toEqual(['pong']);
    expect(page.said.map(({ type }) => type)).toEqual(['error']);
    expectNothingOf(JSON.stringify(page.said));
  });

  test('a wrong proof and a room that there is not look alike', async () => {
    const answers = [];
    for (const message of [said[0]![1], said[1]![1]]) {
      const page = connect(port);
      page.say(message);
      answers.push([await page.closed, page.said]);
    }
    expect(answers[0]).toEqual(answers[1]);
  });

  test('a room of its own tells it nothing of others', async () => {
    const own = await host(port, stranger);
    expect(own.welcome.members).toHaveLength(1);
    expectNothingOf(JSON.stringify(own.page.said));
    own.page.leave();
  });
});

describe('at /relay', () => {
  const hello = (ticket: string, changes = {}) => ({
    ...{
      type: 'relay',
      version: SIGNALING_VERSION,
      room: room.id,
      from: 1,
      to: 0,
      ticket,
      channel: 'tensors',
      attempt: 1,
    },
    ...changes,
  });
  test.each([
    ['without a ticket', () => hello('')],
    ['with one that it made', () => hello('A'.repeat(43))],
    ['with the room’s proof', () => hello(room.proof)],
    [
      'with one of a room of its own',
      async () => {
        const { page, welcome } = await host(port, newRoom());
        page.leave();
        return hello(welcome.ticket, { from: 0, to: 1 });
      },
    ],
    ['without a greeting', () => ({ type: 'join' })],
  ])('nobody is let in %s', async (_, make) => {
    const message = await make();
    const socket = new WebSocket(`ws://127.0.0.1:${port}${RELAY_PATH}`, { origin: `http://127.0.0.1:${port}` });
    const got: unknown[] = [];
    socket.on('message', (data) => got.push(data));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await new Promise((resolve) => socket.once('open', resolve));
    socket.send(JSON.stringify(message));
    expect(await closed).toBe(CloseCode.protocol);
    expect(got).toEqual([]);
  });
});

test('the plan socket is a file of this user alone, and on no port', () => {
  expect(statSync(planSocket).mode & 0o777).toBe(0o600);
});

test('what the server logs holds no secret', () => {
  expect(log.length).toBeGreaterThan(0);
  expectNothingOf(log.join('\n'));
});

test('secrets cannot be guessed: 128 random bits', () => {
  const made = Array.from({ length: 200 }, newSecret);
  expect(new Set(made).size).toBe(made.length);
  expect(made.every((secret) => Buffer.from(secret, 'base64url').length === 16)).toBe(true);
});
