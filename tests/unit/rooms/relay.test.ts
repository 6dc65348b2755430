import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { MAX_RELAY_MESSAGE_BYTES } from '../../../signaling-server/relay.ts';
import { CloseCode, RELAY_PATH, type RelayHello, SIGNALING_VERSION } from '../../../web/mesh/messages.ts';
import { host, join, newRoom, startRooms, type TestRooms, until } from './page.ts';

let rooms: TestRooms;
afterEach(() => rooms.close());

interface End {
  socket: WebSocket;
  received: Buffer[];
  paired: Promise<void>;
  closed: Promise<number>;
}

function open(port: number, hello: RelayHello): End {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${RELAY_PATH}`, { origin: `http://127.0.0.1:${port}` });
  const received: Buffer[] = [];
  socket.on('error', () => undefined);
  socket.on('open', () => socket.send(JSON.stringify(hello)));
  return {
    socket,
    received,
    paired: new Promise((resolve) => {
      socket.on('message', (data, isBinary) => {
        if (isBinary) received.push(data as Buffer);
        else resolve();
      });
    }),
    closed: new Promise((resolve) => socket.once('close', resolve)),
  };
}

/** A room with a host and two devices, and the greetings with which 0 and 1 meet. */
async function scene(options: Parameters<typeof startRooms>[0] = {}) {
  rooms = await startRooms(options);
  const room = newRoom();
  const { page, welcome } = await host(rooms.port, room);
  const first = await join(rooms.port, room);
  const second = await join(rooms.port, room);
  const hello = (from: number, to: number, ticket: string): RelayHello => ({
    type: 'relay',
    version: SIGNALING_VERSION,
    room: room.id,
    from,
    to,
    ticket,
    channel: 'tensors',
    attempt: 5,
  });
  return {
    port: rooms.port,
    page,
    hellos: [hello(0, 1, welcome.ticket), hello(1, 0, first.welcome.ticket)],
    third: hello(2, 0, second.welcome.ticket),
  };
}

async function pair(scenery: Awaited<ReturnType<typeof scene>>): Promise<[End, End]> {
  const ends = scenery.hellos.map((hello) => open(scenery.port, hello)) as [End, End];
  await Promise.all(ends.map((end) => end.paired));
  return ends;
}

describe('the relay', () => {
  test('joins two members and carries bytes both ways, as they are and in order', async () => {
    const [a, b] = await pair(await scene());
    for (let i = 0; i < 50; i++) a.socket.send(Buffer.alloc(i, i));
    b.socket.send(Buffer.from('back'));
    await until(() => b.received.length === 50 && a.received.length === 1);
    expect(b.received.map((message) => message.length)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(rooms.stats().relay).toEqual({ ends: 2, messages: 51, bytes: (49 * 50) / 2 + 4 });
  });

  test('ends both when one ends', async () => {
    const [a, b] = await pair(await scene());
    a.socket.terminate();
    await b.closed;
    await until(() => rooms.stats().relay.ends === 0);
  });

  test('keeps channels and attempts apart, and lets nobody wait for ever', async () => {
    const scenery = await scene({ limits: { helloMs: 150 } });
    const [one, other] = scenery.hellos;
    const ends = [one, { ...other, channel: 'bulk' as const }, { ...other, attempt: 6 }].map((hello) =>
      open(scenery.port, hello),
    );
    for (const end of ends) expect(await end.closed).toBe(CloseCode.unavailable);
  });

  test('lets an end that comes again replace itself', async () => {
    const scenery = await scene();
    const early = open(scenery.port, scenery.hellos[0]);
    await until(() => rooms.stats().connections === 4);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const [a, b] = await pair(scenery);
    expect(await early.closed).toBe(CloseCode.replaced);
    a.socket.send(Buffer.of(1));
    await until(() => b.received.length === 1);
  });

  test.each([
    ['a ticket of another member', (hello: RelayHello, third: RelayHello) => ({ ...hello, ticket: third.ticket })],
    ['a ticket for another room', (hello: RelayHello) => ({ ...hello, room: '0'.repeat(32) })],
    ['no ticket', (hello: RelayHello) => ({ ...hello, ticket: '' })],
    ['itself to meet', (hello: RelayHello) => ({ ...hello, to: hello.from })],
    ['another version', (hello: RelayHello) => ({ ...hello, version: SIGNALING_VERSION + 1 })],
    ['no greeting', () => ({ type: 'open' })],
  ])('refuses %s', async (_, change) => {
    const { port, hellos, third } = await scene();
    const end = open(port, change(hellos[0], third) as RelayHello);
    expect(await end.closed).toBe(CloseCode.protocol);
  });

  test('refuses texts, data before the other end is there, and messages that are too large', async () => {
    const scenery = await scene();
    const early = open(scenery.port, scenery.hellos[0]);
    early.socket.on('open', () => early.socket.send(Buffer.of(1)));
    expect(await early.closed).toBe(CloseCode.protocol);
    const [a] = await pair(scenery);
    a.socket.send('text');
    expect(await a.closed).toBe(CloseCode.protocol);
    const [b] = await pair(scenery);
    b.socket.send(Buffer.alloc(MAX_RELAY_MESSAGE_BYTES + 1));
    expect(await b.closed).toBe(1009);
  });

  test('ends what a removed member has', async () => {
    const scenery = await scene();
    const [, b] = await pair(scenery);
    scenery.page.say({ type: 'remove', index: 1 });
    expect(await b.closed).toBe(CloseCode.removed);
  });

  test('holds a fast sender back for a slow reader, at bounded memory', async () => {
    const [a, b] = await pair(await scene());
    b.socket.pause();
    const total = 64 * 1024 * 1024;
    const message = Buffer.alloc(MAX_RELAY_MESSAGE_BYTES);
    for (let sent = 0; sent < total; sent += message.length) a.socket.send(message);
    const seen: number[] = [];
    // The reader's and the relay's system buffers fill, then everything waits at the sender.
    await until(() => {
      seen.push(rooms.stats().relay.bytes);
      return seen.length > 40 && seen.at(-1) === seen.at(-40);
    });
    expect(seen.at(-1)).toBeLessThan(total / 2);
    b.socket.resume();
    await until(() => b.received.length === total / message.length);
  });

  test('lets no more through than its rate', async () => {
    const [a, b] = await pair(await scene({ limits: { relayBytesPerSecond: 1_000_000 } }));
    const start = performance.now();
    for (let i = 0; i < 15; i++) a.socket.send(Buffer.alloc(100_000));
    await until(() => b.received.length === 15);
    // 1.5 MB: one at once, the rest in half a second. Only slower is possible.
    expect(performance.now() - start).toBeGreaterThan(300);
  });
});
