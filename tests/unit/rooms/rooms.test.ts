import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import type { RoomsOptions } from '../../../signaling-server/rooms.ts';
import { CloseCode, MAX_MESSAGE_BYTES, type Up } from '../../../web/mesh/messages.ts';
import { deviceId, newDeviceKey } from '../../../web/mesh/secret.ts';
import { connect, host, join, joinMessage, newRoom, openMessage, startRooms, type TestRooms, until } from './page.ts';

let rooms: TestRooms;
async function start(options?: RoomsOptions): Promise<number> {
  rooms = await startRooms(options);
  return rooms.port;
}
afterEach(() => rooms.close());
const indices = (members: { index: number }[]) => members.map((member) => member.index);

describe('joining', () => {
  test('gives the host index 0 and the others the next ones, and tells everyone', async () => {
    const port = await start({ iceServers: [{ urls: 'stun:10.0.0.1' }] });
    const room = newRoom();
    const { page: hostPage, welcome } = await host(port, room);
    expect(welcome).toMatchObject({ index: 0, ask: false, iceServers: [{ urls: 'stun:10.0.0.1' }] });
    const first = await join(port, room, 'laptop');
    expect(first.welcome.index).toBe(1);
    expect((await hostPage.hear('member')).member).toMatchObject({ index: 1, name: 'laptop', online: true });
    const second = await join(port, room, 'phone');
    expect(indices(second.welcome.members)).toEqual([0, 1, 2]);
    expect((await first.page.hear('member')).member).toMatchObject({ index: 2, name: 'phone' });
  });

  test('an index is never given to another device, and the same device gets it again', async () => {
    const port = await start();
    const room = newRoom();
    await host(port, room);
    const key = newDeviceKey();
    const first = await join(port, room, 'laptop', key);
    await join(port, room);
    first.page.say({ type: 'leave' });
    await first.page.closed;
    expect((await join(port, room)).welcome.index).toBe(3);
    expect((await join(port, room, 'laptop', key)).welcome.index).toBe(1);
  });

  test('a device that is back before its old socket has ended replaces it', async () => {
    const port = await start();
    const room = newRoom();
    const { page: hostPage } = await host(port, room);
    const key = newDeviceKey();
    const before = await join(port, room, 'laptop', key, 1);
    await hostPage.hear('member');
    const after = await join(port, room, 'laptop', key, 2);
    expect(after.welcome.index).toBe(1);
    expect(await before.page.closed).toBe(CloseCode.replaced);
    expect((await hostPage.hear('member')).member).toMatchObject({ index: 1, session: 2, online: true });
    expect(rooms.stats().members).toBe(2);
  });

  test('the room outlives a reload of the host, which stays the host', async () => {
    const port = await start();
    const room = newRoom();
    const { page } = await host(port, room);
    const device = await join(port, room);
    page.say({ type: 'leave' });
    expect(await device.page.hear('left')).toMatchObject({ index: 0, reason: 'left' });
    const again = await host(port, room);
    expect(again.welcome.index).toBe(0);
    expect(indices(again.welcome.members).sort()).toEqual([0, 1]);
    expect((await device.page.hear('member')).member.index).toBe(0);
  });

  test('a room vanishes with its last connection, and its host brings back who sat where', async () => {
    const port = await start();
    const room = newRoom();
    const { page } = await host(port, room);
    page.leave();
    await until(() => rooms.stats().rooms === 0);
    const key = newDeviceKey();
    await host(port, room, { seats: [{ id: deviceId(key), index: 4 }] });
    expect((await join(port, room, 'laptop', key)).welcome.index).toBe(4);
    expect((await join(port, room)).welcome.index).toBe(5);
  });

  test('a broken connection is shown, and after a while the place is given up', async () => {
    const port = await start({ limits: { absenceMs: 50 } });
    const room = newRoom();
    const { page } = await host(port, room);
    const device = await join(port, room);
    await page.hear('member');
    device.page.leave();
    expect((await page.hear('member')).member).toMatchObject({ index: 1, online: false });
    expect(await page.hear('left')).toMatchObject({ index: 1, reason: 'lost' });
  });

  test('names can be changed by their owner and by the host', async () => {
    const port = await start();
    const room = newRoom();
    const { page } = await host(port, room);
    const device = await join(port, room, 'phone');
    await page.hear('member');
    page.say({ type: 'rename', index: 1, name: 'kitchen' });
    expect((await device.page.hear('member')).member.name).toBe('kitchen');
    expect((await page.hear('member')).member.name).toBe('kitchen');
    device.page.say({ type: 'profile', profile: { name: 'my phone', browser: 'Test', rtc: false, session: 1 } });
    expect((await page.hear('member')).member).toMatchObject({ name: 'my phone', rtc: false });
  });
});

describe('signals', () => {
  const seal = '0'.repeat(32);
  test("reach the one member they are for, with the sender's index", async () => {
    const port = await start();
    const room = newRoom();
    const { page } = await host(port, room);
    const first = await join(port, room);
    const second = await join(port, room);
    second.page.say({ type: 'signal', peer: 0, data: 'offer', seal });
    expect(await page.hear('signal')).toEqual({ type: 'signal', peer: 2, data: 'offer', seal });
    first.page.say({ type: 'ping' });
    await first.page.hear('pong');
    expect(first.page.said.some((message) => message.type === 'signal')).toBe(false);
  });
  test('to nobody are no fault', async () => {
    const port = await start();
    const { page } = await host(port, newRoom());
    page.say({ type: 'signal', peer: 7, data: '', seal });
    page.say({ type: 'ping' });
    await page.hear('pong');
  });
});

describe('the host decides', () => {
  test('who comes in, where it wants to be asked', async () => {
    const port = await start();
    const room = newRoom();
    const { page } = await host(port, room, { ask: true });
    const [wanted, unwanted] = ['wanted', 'unwanted'].map((name) => {
      const device = connect(port);
      device.say(joinMessage(room, name));
      return device;
    });
    await Promise.all([wanted.hear('pending'), unwanted.hear('pending')]);
    const knocks = [await page.hear('knock'), await page.hear('knock')];
    const idOf = (name: string) => knocks.find((knock) => knock.name === name)!.id;
    wanted.say({ type: 'signal', peer: 0, data: 'let me in', seal: '0'.repeat(32) });
    expect(await wanted.closed, 'one that waits may only wait').toBe(CloseCode.protocol);

    page.say({ type: 'refuse', id: idOf('unwanted') });
    expect(await unwanted.closed).toBe(CloseCode.refused);
    expect(unwanted.said.at(-1)).toMatchObject({ code: 'refused' });

    const again = connect(port);
    again.say(joinMessage(room, 'again'));
    const knock = await page.hear('knock');
    page.say({ type: 'admit', id: knock.id });
    expect((await again.hear('welcome')).index).toBe(1);
    expect(await page.hear('knock-gone')).toBeDefined();
  });

  test('and is told again of those that wait, after a reload', async () => {
    const port = await start();
    const room = newRoom();
    const { page } = await host(port, room);
    await join(port, room);
    page.leave();
    await host(port, room, { ask: true });
    const device = connect(port);
    device.say(joinMessage(room, 'waiter'));
    await device.hear('pending');
    const { page: reloaded } = await host(port, room, { ask: true });
    expect(await reloaded.hear('knock')).toMatchObject({ name: 'waiter' });
  });

  test('who was in before comes back without asking', async () => {
    const port = await start();
    const room = newRoom();
    const { page } = await host(port, room);
    const key = newDeviceKey();
    const device = await join(port, room, 'laptop', key);
    page.say({ type: 'ask', ask: true });
    await page.hear('ask');
    device.page.leave();
    expect((await join(port, room, 'laptop', key)).welcome.index).toBe(1);
  });

  test('who goes: a removed device is kept out, under a new name it must ask', async () => {
    const port = await start();
    const room = newRoom();
    const { page } = await host(port, room);
    const key = newDeviceKey();
    const device = await join(port, room, 'pest', key);
    const other = await join(port, room);
    page.say({ type: 'remove', index: 1 });
    expect(await device.page.closed).toBe(CloseCode.removed);
    expect(await other.page.hear('left')).toMatchObject({ index: 1, reason: 'removed' });
    expect(await page.hear('ask')).toMatchObject({ ask: true });

    const back = connect(port);
    back.say(joinMessage(room, 'pest', key));
    expect(await back.closed).toBe(CloseCode.removed);
    const disguised = connect(port);
    disguised.say(joinMessage(room, 'friend'));
    await disguised.hear('pending');
  });

  test('removed devices stay out of a room that is opened anew', async () => {
    const port = await start();
    const room = newRoom();
    const key = newDeviceKey();
    await host(port, room, { banned: [deviceId(key)] });
    const device = connect(port);
    device.say(joinMessage(room, 'pest', key));
    expect(await device.closed).toBe(CloseCode.removed);
  });

  test.each([
    { type: 'admit', id: '0'.repeat(32) },
    { type: 'refuse', id: '0'.repeat(32) },
    { type: 'remove', index: 0 },
    { type: 'rename', index: 0, name: 'fool' },
    { type: 'ask', ask: false },
  ] satisfies Up[])('nobody else may $type', async (message) => {
    const port = await start();
    const room = newRoom();
    await host(port, room);
    const device = await join(port, room);
    device.page.say(message);
    expect(await device.page.closed).toBe(CloseCode.protocol);
    expect(device.page.said.at(-1)).toMatchObject({ message: 'Only the host of the room can do that.' });
  });
});

describe('strangers', () => {
  test('without the secret get the same answer as where there is no room', async () => {
    const port = await start();
    const room = newRoom();
    await host(port, room);
    const answers = [];
    for (const wrong of [{ ...newRoom(), id: room.id }, newRoom()]) {
      const device = connect(port);
      device.say(joinMessage(wrong));
      expect(await device.closed).toBe(CloseCode.unavailable);
      answers.push(device.said);
    }
    expect(answers[0]).toEqual(answers[1]);
  });

  test('who know the secret cannot take the room from its host', async () => {
    const port = await start();
    const room = newRoom();
    await host(port, room);
    const thief = connect(port);
    thief.say(openMessage(room, { key: newDeviceKey() }));
    expect(await thief.closed).toBe(CloseCode.refused);
    expect(thief.said.at(-1)).toMatchObject({ code: 'taken' });
  });

  test.each([
    ['another origin', 'http://evil.example'],
    ['another port', 'http://127.0.0.1:1'],
    ['none', undefined],
    ['no address', 'null'],
  ])('from %s are not let in', async (_, origin) => {
    const port = await start();
    for (const path of ['/room', '/relay']) {
      const status = await new Promise((resolve) => {
        const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, origin ? { origin } : {});
        socket.on('unexpected-response', (_request, response) => resolve(response.statusCode));
        socket.on('open', () => resolve('open'));
        socket.on('error', () => undefined);
      });
      expect(status).toBe(403);
    }
  });

  test('from an origin that the operator named are', async () => {
    const port = await start({ allowedOrigins: ['https://edge.example'] });
    const page = connect(port, { origin: 'https://edge.example' });
    page.say({ type: 'ping' });
    await page.hear('pong');
  });

  test('find nothing at other paths', async () => {
    const port = await start();
    expect(await connect(port, { path: '/rooms' }).closed).toBe(1006);
  });
});

describe('limits', () => {
  const refusal = async (port: number, message: Up) => {
    const page = connect(port);
    page.say(message);
    await page.closed;
    return page.said.at(-1);
  };
  test('of rooms', async () => {
    const port = await start({ limits: { rooms: 1 } });
    await host(port, newRoom());
    expect(await refusal(port, openMessage(newRoom()))).toMatchObject({ code: 'full' });
  });
  test('of members, and of devices that wait', async () => {
    const port = await start({ limits: { members: 2 } });
    const room = newRoom();
    const { page } = await host(port, room);
    await join(port, room);
    expect(await refusal(port, joinMessage(room))).toMatchObject({ code: 'full' });
    page.say({ type: 'ask', ask: true });
    await page.hear('ask');
    const waiting = [connect(port), connect(port)];
    for (const device of waiting) {
      device.say(joinMessage(room));
      await device.hear('pending');
    }
    expect(await refusal(port, joinMessage(room))).toMatchObject({ code: 'full' });
    page.say({ type: 'admit', id: (await page.hear('knock')).id });
    await until(() => waiting.some((device) => device.said.at(-1)?.type === 'error'));
    page.say({ type: 'ping' });
    await page.hear('pong');
  });
  test('of seats that a room remembers', async () => {
    const port = await start({ limits: { seats: 2 } });
    const room = newRoom();
    await host(port, room);
    (await join(port, room)).page.say({ type: 'leave' });
    expect(await refusal(port, joinMessage(room))).toMatchObject({ code: 'full' });
  });
  test('of connections, over all and by address', async () => {
    for (const limits of [{ connections: 1 }, { connectionsPerAddress: 1 }]) {
      const port = await start({ limits });
      const first = connect(port);
      first.say({ type: 'ping' });
      await first.hear('pong');
      expect(await connect(port).closed).toBe(1006);
      first.leave();
      await until(() => rooms.stats().connections === 0);
      const next = connect(port);
      next.say({ type: 'ping' });
      await next.hear('pong');
      await rooms.close();
    }
  });
  test('of the size of a message', async () => {
    const port = await start();
    const { page } = await host(port, newRoom());
    page.socket.send('x'.repeat(MAX_MESSAGE_BYTES + 1));
    expect(await page.closed).toBe(1009);
  });
  test('of messages a second', async () => {
    const port = await start({ limits: { messagesPerSecond: 1, messageBurst: 10 } });
    const { page } = await host(port, newRoom());
    for (let i = 0; i < 20; i++) page.say({ type: 'ping' });
    expect(await page.closed).toBe(CloseCode.limit);
    expect(page.said.filter((message) => message.type === 'pong').length).toBeLessThan(10);
  });
  test('of silence at the start', async () => {
    const port = await start({ limits: { helloMs: 30 } });
    expect(await connect(port).closed).toBe(CloseCode.limit);
    expect(await connect(port, { path: '/relay' }).closed).toBe(CloseCode.protocol);
  });
  test('of silence later: a page that answers no heartbeat is gone', async () => {
    const port = await start({ limits: { pingMs: 40 } });
    const room = newRoom();
    const { page } = await host(port, room);
    const device = await join(port, room);
    await page.hear('member');
    // What a network does that is gone: nothing arrives, nothing is closed.
    device.page.socket.pause();
    expect((await page.hear('member')).member).toMatchObject({ index: 1, online: false });
  });
});

describe('hostile messages', () => {
  const hex = (digits: number) =>
    fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: digits, maxLength: digits });
  const anything = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom('open', 'join', '', '__proto__'),
    fc.double(),
    hex(32),
    hex(64),
  );
  const nearlyRight = fc
    .tuple(
      fc.constantFrom<Record<string, unknown>>(
        openMessage(newRoom()),
        joinMessage(newRoom()),
        { type: 'signal', peer: 0, data: '', seal: '0'.repeat(32) },
        { type: 'profile', profile: { name: 'x', browser: '', rtc: true, session: 1 } },
        { type: 'admit', id: '0'.repeat(32) },
        { type: 'remove', index: 1 },
        { type: 'rename', index: 1, name: 'x' },
      ),
      fc.constantFrom(
        'type',
        'version',
        'room',
        'proof',
        'key',
        'profile',
        'seats',
        'banned',
        'index',
        'id',
        'peer',
        'more',
      ),
      anything,
    )
    .map(([message, field, value]) => JSON.stringify({ ...message, [field]: value }));

  test('end their own connection at most, and are answered without repeating them', async () => {
    const port = await start({ limits: { connectionsPerAddress: 10_000 } });
    const room = newRoom();
    const { page } = await host(port, room);
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.json(), nearlyRight, fc.uint8Array()), async (message) => {
        const stranger = connect(port);
        await new Promise((resolve) => stranger.socket.once('open', resolve));
        stranger.socket.send(message);
        stranger.say({ type: 'leave' });
        stranger.say({ type: 'leave' });
        await stranger.closed;
        for (const answer of stranger.said) {
          const known = { type: answer.type, code: 'code' in answer ? answer.code : '' };
          expect(['error', 'welcome', 'pending', 'pong', 'knock', 'member', 'ask']).toContain(known.type);
          expect(JSON.stringify(answer)).not.toContain(room.proof);
          if (known.type === 'error') expect(['protocol', 'no-room', 'version', 'taken']).toContain(known.code);
        }
      }),
      { numRuns: 300, seed: 1 },
    );
    page.say({ type: 'ping' });
    await page.hear('pong');
    expect(rooms.stats()).toMatchObject({ rooms: 1, members: 1, waiting: 0 });
    expect(rooms.log).toEqual([]);
  });

  test('of a member end that member only', async () => {
    const port = await start();
    const room = newRoom();
    const { page } = await host(port, room);
    const device = await join(port, room);
    device.page.socket.send(Buffer.of(1, 2, 3));
    expect(await device.page.closed).toBe(CloseCode.protocol);
    await page.hear('member');
    expect((await page.hear('member')).member).toMatchObject({ index: 1, online: false });
  });

  test('another version of the protocol is named', async () => {
    const port = await start();
    const page = connect(port);
    page.say({ ...openMessage(newRoom()), version: 7 });
    expect(await page.closed).toBe(CloseCode.protocol);
    expect(page.said.at(-1)).toMatchObject({
      code: 'version',
      message: 'This page speaks version 7 of signaling, the server 2. Reload the page.',
    });
  });
});
