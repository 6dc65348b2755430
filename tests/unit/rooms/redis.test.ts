import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { attachRooms } from '../../../signaling-server/rooms.ts';
import { CloseCode, RELAY_PATH, SIGNALING_VERSION } from '../../../web/mesh/messages.ts';
import { newDeviceKey } from '../../../web/mesh/secret.ts';
import { connect, host, join, joinMessage, newRoom, openMessage, startRooms, type TestRooms, until } from './page.ts';

const REDIS = '/usr/bin/redis-server';
const without = !existsSync(REDIS);
if (without)
  console.log(`Skipped: rooms over several processes, since there is no ${REDIS} (Debian package redis-server).`);

let redis: ChildProcess;
let redisUrl = '';
let first: TestRooms;
let second: TestRooms;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}

describe.skipIf(without)('rooms shared through Redis', () => {
  beforeAll(async () => {
    const port = await freePort();
    redisUrl = `redis://127.0.0.1:${port}`;
    const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
    redis = spawn(REDIS, options, { stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const output of redis.stdout!) if (String(output).includes('Ready to accept connections')) break;
    redis.stdout?.resume();
  });
  afterAll(() => {
    redis.kill();
  });
  afterEach(async () => {
    await Promise.all([first?.close(), second?.close()]);
  });
  async function start(): Promise<void> {
    [first, second] = await Promise.all([startRooms({ redisUrl }), startRooms({ redisUrl })]);
  }

  test('a device joins at one process the room that was opened at the other, and they signal', async () => {
    await start();
    const room = newRoom();
    const { page } = await host(first.port, room);
    const device = await join(second.port, room, 'far');
    expect(device.welcome.index).toBe(1);
    expect(device.welcome.members.map((member) => member.index)).toEqual([0, 1]);
    expect((await page.hear('member')).member).toMatchObject({ index: 1, name: 'far' });
    const seal = '0'.repeat(32);
    for (let i = 0; i < 20; i++) device.page.say({ type: 'signal', peer: 0, data: `${i}`, seal });
    for (let i = 0; i < 20; i++) expect(await page.hear('signal')).toMatchObject({ peer: 1, data: `${i}` });
    page.say({ type: 'signal', peer: 1, data: 'answer', seal });
    expect((await device.page.hear('signal')).data).toBe('answer');
    expect([first.stats().rooms, second.stats().rooms]).toEqual([1, 0]);
  });

  test('the host comes back through the other process, and its room is where it was', async () => {
    await start();
    const room = newRoom();
    const { page } = await host(first.port, room);
    const device = await join(first.port, room);
    page.leave();
    await device.page.hear('member');
    const again = await host(second.port, room);
    expect(again.welcome.index).toBe(0);
    expect([first.stats().rooms, second.stats().rooms]).toEqual([1, 0]);
    again.page.say({ type: 'remove', index: 1 });
    expect(await device.page.closed).toBe(CloseCode.removed);
  });

  test('a device that is gone from the other process is shown as absent, its goodbye as a goodbye', async () => {
    await start();
    const room = newRoom();
    const { page } = await host(first.port, room);
    const [one, two] = [await join(second.port, room), await join(second.port, room)];
    await page.hear('member');
    await page.hear('member');
    one.page.leave();
    expect((await page.hear('member')).member).toMatchObject({ index: 1, online: false });
    two.page.say({ type: 'leave' });
    expect(await page.hear('left')).toMatchObject({ index: 2, reason: 'left' });
    await two.page.closed;
  });

  test('who is refused at the one is refused at the other', async () => {
    await start();
    const room = newRoom();
    const { page } = await host(first.port, room, { ask: true });
    const key = newDeviceKey();
    const device = connect(second.port);
    device.say(joinMessage(room, 'pest', key));
    await device.hear('pending');
    page.say({ type: 'refuse', id: (await page.hear('knock')).id });
    expect(await device.closed).toBe(CloseCode.refused);
    const thief = connect(second.port);
    thief.say(openMessage(room, { key: newDeviceKey() }));
    expect(await thief.closed).toBe(CloseCode.refused);
  });

  test('no room is no room anywhere, also after it has vanished', async () => {
    await start();
    const room = newRoom();
    const { page } = await host(first.port, room);
    page.leave();
    await until(() => first.stats().rooms === 0);
    const device = connect(second.port);
    device.say(joinMessage(room));
    expect(await device.closed).toBe(CloseCode.unavailable);
    expect(device.said.at(-1)).toMatchObject({ code: 'no-room' });
  });

  test('two members at different processes are relayed', async () => {
    await start();
    const room = newRoom();
    const { page, welcome } = await host(first.port, room);
    const device = await join(second.port, room);
    const open = (port: number, from: number, to: number, ticket: string) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${RELAY_PATH}`, { origin: `http://127.0.0.1:${port}` });
      const received: Buffer[] = [];
      const greeting = {
        type: 'relay',
        version: SIGNALING_VERSION,
        room: room.id,
        from,
        to,
        ticket,
        channel: 'bulk',
        attempt: 1,
      };
      socket.on('open', () => socket.send(JSON.stringify(greeting)));
      const paired = new Promise<void>((resolve) => {
        socket.on('message', (data, isBinary) => {
          if (isBinary) received.push(data as Buffer);
          else resolve();
        });
      });
      return { socket, received, paired, closed: new Promise<number>((resolve) => socket.once('close', resolve)) };
    };
    const near = open(first.port, 0, 1, welcome.ticket);
    const far = open(second.port, 1, 0, device.welcome.ticket);
    await Promise.all([near.paired, far.paired]);
    const data = Buffer.from(Uint8Array.from({ length: 100_000 }, (_, i) => i % 256));
    near.socket.send(data);
    for (let i = 0; i < 20; i++) far.socket.send(Buffer.of(i));
    await until(() => far.received.length === 1 && near.received.length === 20);
    expect(far.received[0].equals(data)).toBe(true);
    expect(near.received.map((message) => message[0])).toEqual(Array.from({ length: 20 }, (_, i) => i));
    page.say({ type: 'remove', index: 1 });
    expect(await far.closed).toBe(CloseCode.removed);
    expect(await near.closed).toBe(1000);
  });
});

test('a Redis that does not answer is said at the start, without its password', async () => {
  const port = await freePort();
  await expect(attachRooms([], { redisUrl: `redis://:hunter2@127.0.0.1:${port}` })).rejects.toThrow(
    `Redis does not answer at 127.0.0.1:${port}. Start it, or start without REDIS_URL.`,
  );
});
