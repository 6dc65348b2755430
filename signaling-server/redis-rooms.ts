/**
 * Rooms over several server processes. A room lives in one of them, its home: the one where its host opened it. The
 * others pass on, through Redis, what their pages say to a room, and back what it answers. Nothing is stored in Redis.
 */
import { randomUUID } from 'node:crypto';
import * as v from 'valibot';
import { CloseCode, DownSchema, type Up, UpSchema } from '../web/mesh/messages.ts';
import type { Bus } from './redis-bus.ts';
import type { Caller, Registry, Session } from './rooms-registry.ts';

/** How often a process says which of its pages are still there, in ms; after three times that, they are not. */
const ALIVE_MS = 10_000;

const ToHomeSchema = v.variant('type', [
  v.strictObject({ type: v.literal('up'), process: v.string(), connection: v.number(), message: UpSchema }),
  v.strictObject({ type: v.literal('closed'), process: v.string(), connection: v.number() }),
  v.strictObject({ type: v.literal('alive'), process: v.string(), connection: v.number() }),
]);
const ToProcessSchema = v.variant('type', [
  v.strictObject({ type: v.literal('down'), connection: v.number(), message: DownSchema }),
  v.strictObject({ type: v.literal('close'), connection: v.number(), code: v.number(), reason: v.string() }),
]);
const RemovedSchema = v.strictObject({ room: v.string(), index: v.number() });
type ToHome = v.InferOutput<typeof ToHomeSchema>;
type ToProcess = v.InferOutput<typeof ToProcessSchema>;

const roomTopic = (room: string) => `edgevisor:room:${room}`;
const processTopic = (process: string) => `edgevisor:process:${process}`;
const REMOVED_TOPIC = 'edgevisor:removed';

export interface SharedRooms {
  /** As the registry's, but finds the room's home first. */
  connect(caller: Caller): Session;
  /** The registry has opened a room: this process is its home. */
  opened(room: string): void;
  vanished(room: string): void;
  /** Tells all processes that a member's relayed channels must end. */
  removed(room: string, index: number): void;
  close(): void;
}

/** A page whose room is elsewhere. */
interface Remote {
  caller: Caller;
  room: string;
}

/** A page at another process, in a room of this one. */
interface Visitor {
  session: Session;
  seenAt: number;
}

export async function shareRooms(
  registry: Registry,
  bus: Bus,
  dropRelay: (room: string, index: number) => void,
): Promise<SharedRooms> {
  const process = randomUUID();
  const homes = new Map<string, Promise<() => void>>();
  const remotes = new Map<number, Remote>();
  const visitors = new Map<string, Visitor>();
  let nextConnection = 0;

  const publish = (topic: string, message: ToHome | ToProcess) =>
    bus.publish(topic, Buffer.from(JSON.stringify(message)));
  /** For what is lost with its process anyway. */
  const publishOrForget = (topic: string, message: ToHome | ToProcess) => void publish(topic, message).catch(() => 0);

  function connect(caller: Caller): Session {
    const connection = nextConnection++;
    let target: Session | undefined;
    let over = false;
    // One message after another, since finding the home takes a while.
    let last: Promise<void> = Promise.resolve();

    async function find(room: string, message: Up): Promise<Session> {
      if (registry.has(room)) return registry.connect(caller);
      remotes.set(connection, { caller, room });
      const listeners = await publish(roomTopic(room), { type: 'up', process, connection, message });
      if (listeners > 0) {
        return {
          receive: (next) => publishOrForget(roomTopic(room), { type: 'up', process, connection, message: next }),
          closed: () => publishOrForget(roomTopic(room), { type: 'closed', process, connection }),
        };
      }
      remotes.delete(connection);
      return registry.connect(caller);
    }

    async function route(message: Up): Promise<void> {
      if (over) return;
      if (target || (message.type !== 'open' && message.type !== 'join')) {
        target ??= registry.connect(caller);
        target.receive(message);
        return;
      }
      try {
        target = await find(message.room, message);
        // A home elsewhere has had it with the question whether there is one.
        if (!remotes.has(connection)) target.receive(message);
      } catch {
        const text = 'The server cannot reach its Redis, through which rooms are shared. Try again in a moment.';
        caller.send({ type: 'error', code: 'unavailable', message: text });
        caller.close(CloseCode.unavailable, 'redis');
      }
    }

    return {
      receive: (message) => {
        last = last.then(() => route(message));
      },
      closed: () => {
        last = last.then(() => {
          over = true;
          remotes.delete(connection);
          target?.closed();
        });
      },
    };
  }

  /** At home: a message from a page at another process. */
  function takeAtHome(data: Buffer): void {
    const message = v.parse(ToHomeSchema, JSON.parse(data.toString()));
    const key = `${message.process} ${message.connection}`;
    const known = visitors.get(key);
    const back = (answer: ToProcess) => publishOrForget(processTopic(message.process), answer);
    const { connection } = message;
    if (known) known.seenAt = Date.now();
    if (message.type === 'closed') {
      visitors.delete(key);
      known?.session.closed();
    } else if (message.type === 'up') {
      const session =
        known?.session ??
        registry.connect({
          send: (down) => back({ type: 'down', connection, message: down }),
          close: (code, reason) => back({ type: 'close', connection, code, reason }),
        });
      visitors.set(key, { session, seenAt: Date.now() });
      session.receive(message.message);
    } else if (!known) back({ type: 'close', connection, code: CloseCode.unavailable, reason: 'unknown here' });
  }

  function takeHere(data: Buffer): void {
    const message = v.parse(ToProcessSchema, JSON.parse(data.toString()));
    const remote = remotes.get(message.connection);
    if (message.type === 'down') remote?.caller.send(message.message);
    else remote?.caller.close(message.code, message.reason);
  }

  async function sayAlive(): Promise<void> {
    for (const [connection, { caller, room }] of remotes) {
      const homes = await publish(roomTopic(room), { type: 'alive', process, connection }).catch(() => 0);
      if (homes === 0) caller.close(CloseCode.unavailable, 'home gone');
    }
    for (const [key, { session, seenAt }] of visitors) {
      if (Date.now() - seenAt < 3 * ALIVE_MS) continue;
      visitors.delete(key);
      session.closed();
    }
  }

  const stopListening = await bus.subscribe(processTopic(process), takeHere);
  const stopRemoved = await bus.subscribe(REMOVED_TOPIC, (data) => {
    const { room, index } = v.parse(RemovedSchema, JSON.parse(data.toString()));
    dropRelay(room, index);
  });
  const timer = setInterval(() => void sayAlive(), ALIVE_MS);

  return {
    connect,
    opened(room) {
      const subscribed = bus.subscribe(roomTopic(room), takeAtHome);
      // Until it is there, others find no such room and ask again.
      subscribed.catch(() => undefined);
      homes.set(room, subscribed);
    },
    vanished(room) {
      void homes.get(room)?.then(
        (unsubscribe) => unsubscribe(),
        () => undefined,
      );
      homes.delete(room);
    },
    removed: (room, index) =>
      void bus.publish(REMOVED_TOPIC, Buffer.from(JSON.stringify({ room, index }))).catch(() => dropRelay(room, index)),
    close() {
      clearInterval(timer);
      stopListening();
      stopRemoved();
    },
  };
}
