/**
 * The relay: joins two sockets of a room's members into one channel, for devices that cannot reach each other. Binary
 * messages go from one to the other as they are; nothing is kept but counters.
 */
import type { RawData, WebSocket } from 'ws';
import { CloseCode, MessageError, parseRelayHello, SIGNALING_VERSION } from '../web/mesh/messages.ts';
import type { Tickets } from './relay-tickets.ts';
import { createRate, type RoomLimits } from './rooms-limits.ts';

/** Largest message: frames are cut to less. */
export const MAX_RELAY_MESSAGE_BYTES = 256 * 1024;
/** Bytes waiting for a slow receiver above which its sender is not read from, and below which it is again. */
const HIGH_WATER_BYTES = 1024 * 1024;
const LOW_WATER_BYTES = 256 * 1024;
/** Bytes that may wait where the sender is at another process and cannot be held. */
const MAX_UNHELD_BYTES = 16 * 1024 * 1024;

/** Carries the messages of a channel whose ends are at different processes. */
export interface RelayBus {
  /** Resolves with the number of processes that listen. */
  publish(topic: string, message: Buffer): Promise<number>;
  /** Resolves once listening, with the function that ends it. */
  subscribe(topic: string, listener: (message: Buffer) => void): Promise<() => void>;
}

export interface RelayStats {
  /** Sockets here whose other end is connected, wherever that is. */
  ends: number;
  messages: number;
  bytes: number;
}

export interface Relay {
  /** Takes over a socket that has said nothing yet. */
  accept(socket: WebSocket): void;
  /** Ends all channels of a member. */
  drop(room: string, index: number): void;
  stats(): RelayStats;
}

/** One socket's end of a channel. */
interface End {
  socket: WebSocket;
  /** Names the channel; the same at both ends. */
  channel: string;
  /** `room index` of the member. */
  member: string;
  from: number;
  /** Sends to the other end; undefined until it is there. */
  forward: ((data: Buffer) => void) | undefined;
  /** Ends what this end holds elsewhere. */
  release: () => void;
  /** Why nothing is read from the socket for now. */
  holds: Set<'rate' | 'receiver'>;
}

/** On the bus, a message's first byte says what it is. */
const BUS_HELLO = 0;
const BUS_ANSWER = 1;
const BUS_DATA = 2;
const BUS_CLOSE = 3;

export function createRelay(options: { limits: RoomLimits; tickets: Tickets; bus?: RelayBus }): Relay {
  const { limits, tickets, bus } = options;
  const ends = new Set<End>();
  const waiting = new Map<string, End>();
  const stats: RelayStats = { ends: 0, messages: 0, bytes: 0 };

  function accept(socket: WebSocket): void {
    const silent = setTimeout(() => refuse(socket, 'no greeting'), limits.helloMs);
    socket.once('close', () => clearTimeout(silent));
    socket.once('message', (data: RawData, isBinary: boolean) => {
      clearTimeout(silent);
      try {
        if (isBinary) throw new MessageError('a greeting was due');
        greet(socket, (data as Buffer).toString());
      } catch (error) {
        if (!(error instanceof MessageError)) throw error;
        refuse(socket, error.message);
      }
    });
  }

  function greet(socket: WebSocket, text: string): void {
    const hello = parseRelayHello(text);
    if (hello.version !== SIGNALING_VERSION) throw new MessageError('another version of the protocol');
    if (hello.from === hello.to || !tickets.accepts(hello.ticket, hello.room, hello.from))
      throw new MessageError('no ticket for this');
    const [low, high] = hello.from < hello.to ? [hello.from, hello.to] : [hello.to, hello.from];
    const end: End = {
      socket,
      channel: `${hello.room}:${hello.channel}:${hello.attempt}:${low}-${high}`,
      member: memberKey(hello.room, hello.from),
      from: hello.from,
      forward: undefined,
      release: () => undefined,
      holds: new Set(),
    };
    ends.add(end);
    read(end);
    const other = waiting.get(end.channel);
    if (other && other.from !== end.from) {
      waiting.delete(end.channel);
      join(end, (data) => write(other.socket, data, end));
      join(other, (data) => write(socket, data, other));
      end.release = () => other.socket.close(1000, 'other end closed');
      // Whatever the other end held at the bus is no longer needed.
      other.release();
      other.release = () => socket.close(1000, 'other end closed');
      return;
    }
    other?.socket.close(CloseCode.replaced, 'connected again');
    waiting.set(end.channel, end);
    const late = setTimeout(() => end.forward ?? socket.close(CloseCode.unavailable, 'nobody came'), limits.helloMs);
    socket.once('close', () => clearTimeout(late));
    if (bus) void meetOnBus(end, hello.to, bus);
  }

  function read(end: End): void {
    const { socket } = end;
    const rate = createRate(limits.relayBytesPerSecond, limits.relayBytesPerSecond);
    socket.on('message', (data: RawData, isBinary: boolean) => {
      if (!isBinary || !end.forward) {
        refuse(socket, isBinary ? 'data before the other end is there' : 'a text on a relayed channel');
        return;
      }
      const bytes = data as Buffer;
      stats.messages++;
      stats.bytes += bytes.length;
      const pauseMs = rate(bytes.length);
      if (pauseMs > 0) {
        hold(end, 'rate');
        setTimeout(() => resume(end, 'rate'), pauseMs);
      }
      end.forward(bytes);
    });
    socket.on('close', () => {
      ends.delete(end);
      if (waiting.get(end.channel) === end) waiting.delete(end.channel);
      if (end.forward) stats.ends--;
      end.release();
    });
  }

  function join(end: End, forward: (data: Buffer) => void): void {
    end.forward = forward;
    stats.ends++;
    end.socket.send('paired');
  }

  /** Each end listens to a topic of its own and writes to the other's; whoever comes second starts. */
  async function meetOnBus(end: End, to: number, lines: RelayBus): Promise<void> {
    const own = `edgevisor:relay:${end.channel}:${end.from}`;
    const theirs = `edgevisor:relay:${end.channel}:${to}`;
    const say = (kind: number, data: Buffer = Buffer.alloc(0)) =>
      lines.publish(theirs, Buffer.concat([Buffer.of(kind), data])).catch(() => end.socket.close(1011, 'bus failed'));
    let met = false;
    const meet = () => {
      if (end.forward) return;
      met = true;
      if (waiting.get(end.channel) === end) waiting.delete(end.channel);
      join(end, (data) => {
        void say(BUS_DATA, data);
      });
    };
    try {
      const unsubscribe = await lines.subscribe(own, (message) => {
        const kind = message[0];
        if (kind === BUS_DATA) write(end.socket, message.subarray(1), undefined);
        else if (kind === BUS_CLOSE) end.socket.close(1000, 'other end closed');
        else {
          if (kind === BUS_HELLO) void say(BUS_ANSWER);
          meet();
        }
      });
      const quit = () => {
        unsubscribe();
        if (met) void say(BUS_CLOSE);
      };
      // The end may have closed, or met its other half here, in the meantime.
      if (end.socket.readyState !== end.socket.OPEN || (end.forward && !met)) {
        quit();
        return;
      }
      end.release = quit;
      await say(BUS_HELLO);
    } catch {
      end.socket.close(1011, 'bus failed');
    }
  }

  return {
    accept,
    drop(room, index) {
      for (const end of ends) if (end.member === memberKey(room, index)) end.socket.close(CloseCode.removed, 'removed');
    },
    stats: () => ({ ...stats }),
  };
}

const memberKey = (room: string, index: number) => `${room} ${index}`;

function hold(end: End, why: 'rate' | 'receiver'): void {
  end.holds.add(why);
  end.socket.pause();
}

function resume(end: End, why: 'rate' | 'receiver'): void {
  if (end.holds.delete(why) && end.holds.size === 0) end.socket.resume();
}

/** Sends, and stops reading from the source while too much waits. A slow receiver without a source here is ended. */
function write(target: WebSocket, data: Buffer, source: End | undefined): void {
  if (target.readyState !== target.OPEN) return;
  target.send(data, { binary: true }, () => {
    if (source && target.bufferedAmount <= LOW_WATER_BYTES) resume(source, 'receiver');
  });
  if (target.bufferedAmount <= HIGH_WATER_BYTES) return;
  if (source) hold(source, 'receiver');
  else if (target.bufferedAmount > MAX_UNHELD_BYTES) target.close(CloseCode.limit, 'too slow');
}

function refuse(socket: WebSocket, reason: string): void {
  socket.close(CloseCode.protocol, reason.slice(0, 100));
}
