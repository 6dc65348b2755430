import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket } from 'ws';
import { type AttachedRooms, attachRooms, type RoomsOptions } from '../../../signaling-server/rooms.ts';
import {
  type Down,
  type DownOf,
  type Profile,
  ROOM_PATH,
  SIGNALING_VERSION,
  type Up,
} from '../../../web/mesh/messages.ts';
import { newDeviceKey, newSecret, roomKeys } from '../../../web/mesh/secret.ts';

export interface TestRooms extends AttachedRooms {
  server: Server;
  port: number;
  log: string[];
}

/** A server with nothing but rooms. */
export async function startRooms(options: RoomsOptions = {}, port = 0): Promise<TestRooms> {
  const server = createServer();
  const log: string[] = [];
  const rooms = await attachRooms([server], { log: (line) => log.push(line), ...options });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const close = async () => {
    await rooms.close();
    server.close();
    server.closeAllConnections();
  };
  return { ...rooms, close, server, log, port: (server.address() as AddressInfo).port };
}

/** A page's raw connection, for saying right and wrong things. */
export interface Page {
  socket: WebSocket;
  said: Down[];
  closed: Promise<number>;
  say(message: Up | Record<string, unknown>): void;
  /** Resolves with the next message of a type that was not taken before. */
  hear<T extends Down['type']>(type: T): Promise<DownOf<T>>;
  leave(): void;
}

const profile = (name: string, session = 1): Profile => ({ name, browser: 'Test', rtc: true, session });

export function connect(port: number, options: { origin?: string | undefined; path?: string } = {}): Page {
  const origin = 'origin' in options ? options.origin : `http://127.0.0.1:${port}`;
  const socket = new WebSocket(`ws://127.0.0.1:${port}${options.path ?? ROOM_PATH}`, origin ? { origin } : {});
  const said: Down[] = [];
  const untaken: Down[] = [];
  let waiting: (() => void)[] = [];
  socket.on('message', (data) => {
    const message = JSON.parse(String(data)) as Down;
    said.push(message);
    untaken.push(message);
    for (const wake of waiting.splice(0)) wake();
  });
  socket.on('error', () => undefined);
  const closed = new Promise<number>((resolve) => {
    socket.once('close', (code) => {
      resolve(code);
      for (const wake of waiting.splice(0)) wake();
    });
  });
  return {
    socket,
    said,
    closed,
    say(message) {
      const text = JSON.stringify(message);
      if (socket.readyState === socket.OPEN) socket.send(text);
      else socket.once('open', () => socket.send(text));
    },
    async hear(type) {
      for (;;) {
        const at = untaken.findIndex((message) => message.type === type);
        if (at >= 0) return untaken.splice(at, 1)[0] as DownOf<typeof type>;
        if (socket.readyState >= socket.CLOSING)
          throw new Error(`closed instead of ${type}: ${JSON.stringify(said.at(-1))}`);
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
    },
    leave() {
      waiting = [];
      socket.terminate();
    },
  };
}

export interface TestRoom {
  secret: string;
  id: string;
  proof: string;
  hostKey: string;
}

export function newRoom(): TestRoom {
  const secret = newSecret();
  const { id, proof } = roomKeys(secret);
  return { secret, id, proof, hostKey: newDeviceKey() };
}

type OpenChanges = Partial<Extract<Up, { type: 'open' }>>;

export const openMessage = (room: TestRoom, changes: OpenChanges = {}): Up => ({
  type: 'open',
  version: SIGNALING_VERSION,
  room: room.id,
  proof: room.proof,
  key: room.hostKey,
  profile: profile('host'),
  ask: false,
  seats: [],
  banned: [],
  ...changes,
});

export const joinMessage = (room: TestRoom, name = 'phone', key = newDeviceKey(), session = 1): Up => ({
  type: 'join',
  version: SIGNALING_VERSION,
  room: room.id,
  proof: room.proof,
  key,
  profile: profile(name, session),
});

/** The host's page in a room; resolves once it is welcome. */
export async function host(port: number, room: TestRoom, changes: OpenChanges = {}) {
  const page = connect(port);
  page.say(openMessage(room, changes));
  return { page, welcome: await page.hear('welcome') };
}

/** A device's page in a room; resolves once it is welcome. */
export async function join(port: number, room: TestRoom, name?: string, key?: string, session?: number) {
  const page = connect(port);
  page.say(joinMessage(room, name, key, session));
  return { page, welcome: await page.hear('welcome') };
}

export async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    if (i > 1000) throw new Error('waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
