/**
 * The WebSockets of the signaling server: `/room` and `/relay` on servers that serve the pages too. This file owns the
 * sockets: who may connect, how much, and whether they still live. What is said on them is the registry's and the relay's.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { type RawData, type WebSocket, WebSocketServer } from 'ws';
import {
  CloseCode,
  type IceServer,
  MAX_MESSAGE_BYTES,
  MessageError,
  parseUp,
  RELAY_PATH,
  ROOM_PATH,
} from '../web/mesh/messages.ts';
import { createPlanRequests, type PlanRooms } from './plan-requests.ts';
import { openBus } from './redis-bus.ts';
import { type SharedRooms, shareRooms } from './redis-rooms.ts';
import { createRelay, MAX_RELAY_MESSAGE_BYTES, type RelayStats } from './relay.ts';
import { createTickets } from './relay-tickets.ts';
import { createRate, DEFAULT_LIMITS, type RoomLimits } from './rooms-limits.ts';
import { type Caller, createRegistry, type Registry, type Session } from './rooms-registry.ts';

export interface RoomsOptions {
  /** STUN and TURN servers for the pages; none by default, which is enough on one network. */
  iceServers?: IceServer[];
  /** Origins that may connect besides the one that the request itself names as its host. */
  allowedOrigins?: string[];
  /** Shares the rooms with all server processes at this Redis: `redis://…`. */
  redisUrl?: string;
  limits?: Partial<RoomLimits>;
  /** Gets sentences for a person; never a secret, a proof, a key or a ticket. */
  log?: (line: string) => void;
}

export interface RoomsStats {
  rooms: number;
  members: number;
  /** Devices that wait to be let in. */
  waiting: number;
  /** Open WebSockets. */
  connections: number;
  relay: RelayStats;
}

export interface AttachedRooms {
  stats(): RoomsStats;
  /** The rooms of this process, for the plan socket. */
  readonly plan: PlanRooms;
  /** Ends all sockets. The servers themselves stay. */
  close(): Promise<void>;
}

/** A relay's key, shared through Redis where there is one. */
const KEY_BYTES = 32;

/**
 * Serves rooms and relay on the servers' WebSocket upgrades. Rejects where `redisUrl` is given and Redis does not answer.
 */
export async function attachRooms(servers: readonly Server[], options: RoomsOptions = {}): Promise<AttachedRooms> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const bus = options.redisUrl ? await openBus(options.redisUrl, options.log ?? (() => undefined)) : undefined;
  const tickets = createTickets(
    bus ? await bus.sharedSecret('edgevisor:relay-key', KEY_BYTES) : randomBytes(KEY_BYTES),
  );
  const relay = createRelay({ limits, tickets, ...(bus ? { bus } : {}) });
  let shared: SharedRooms | undefined;
  const plan = createPlanRequests({
    hosted: () => registry.hosted(),
    toHost: (room, message) => registry.toHost(room, message),
    timeoutMs: limits.planReplyMs,
  });
  const registry: Registry = createRegistry({
    limits,
    iceServers: options.iceServers ?? [],
    ticket: tickets.issue,
    onOpened: (room) => shared?.opened(room),
    onVanished: (room) => shared?.vanished(room),
    onPlanReply: plan.take,
    onRemoved: (room, index) => (shared ? shared.removed(room, index) : relay.drop(room, index)),
  });
  if (bus) shared = await shareRooms(registry, bus, relay.drop);
  const connect = shared ? shared.connect : registry.connect;

  const perAddress = new Map<string, number>();
  const sockets = new Set<WebSocket>();
  const rooms = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES, perMessageDeflate: false });
  const relays = new WebSocketServer({ noServer: true, maxPayload: MAX_RELAY_MESSAGE_BYTES, perMessageDeflate: false });

  function onUpgrade(this: Server, request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const path = request.url?.split('?')[0];
    const target = path === ROOM_PATH ? rooms : path === RELAY_PATH ? relays : undefined;
    if (!target) {
      // Where others listen too, for instance Vite's dev server, it may be theirs.
      if (this.listenerCount('upgrade') === 1) refuseUpgrade(socket, 404, 'Not Found');
      return;
    }
    if (!isAllowedOrigin(request, options.allowedOrigins ?? [])) {
      refuseUpgrade(socket, 403, 'Forbidden');
      return;
    }
    const address = request.socket.remoteAddress ?? '';
    const already = perAddress.get(address) ?? 0;
    if (sockets.size >= limits.connections || already >= limits.connectionsPerAddress) {
      refuseUpgrade(socket, 503, 'Service Unavailable');
      return;
    }
    target.handleUpgrade(request, socket, head, (accepted) => {
      sockets.add(accepted);
      perAddress.set(address, (perAddress.get(address) ?? 0) + 1);
      accepted.once('close', () => {
        sockets.delete(accepted);
        const left = (perAddress.get(address) ?? 1) - 1;
        if (left > 0) perAddress.set(address, left);
        else perAddress.delete(address);
      });
      // A message that is too large or no WebSocket frame at all; `close` follows.
      accepted.on('error', () => undefined);
      keepAlive(accepted, limits.pingMs);
      if (target === relays) relay.accept(accepted);
      else serveRoom(accepted, connect, limits);
    });
  }
  for (const server of servers) server.on('upgrade', onUpgrade);

  return {
    plan,
    stats: () => ({ ...registry.stats(), connections: sockets.size, relay: relay.stats() }),
    async close() {
      for (const server of servers) server.off('upgrade', onUpgrade);
      const closed = [...sockets].map(
        (socket) => new Promise<void>((resolve) => socket.once('close', () => resolve())),
      );
      for (const socket of sockets) socket.terminate();
      await Promise.all(closed);
      registry.close();
      shared?.close();
      await bus?.close();
    },
  };
}

/** Same origin as the page that the server serves, or one that the operator has named. Programs without one are refused. */
function isAllowedOrigin(request: IncomingMessage, allowed: string[]): boolean {
  const { origin, host } = request.headers;
  if (!origin || !URL.canParse(origin)) return false;
  return new URL(origin).host === host || allowed.includes(origin);
}

function refuseUpgrade(socket: Duplex, status: number, reason: string): void {
  socket.end(`HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** WebSocket pings are answered by the browser itself, also for a page that is hidden or busy. */
function keepAlive(socket: WebSocket, pingMs: number): void {
  let answered = true;
  socket.on('pong', () => {
    answered = true;
  });
  const timer = setInterval(() => {
    if (!answered) socket.terminate();
    answered = false;
    if (socket.readyState === socket.OPEN) socket.ping();
  }, pingMs);
  socket.once('close', () => clearInterval(timer));
}

function serveRoom(socket: WebSocket, connect: (caller: Caller) => Session, limits: RoomLimits): void {
  const rate = createRate(limits.messagesPerSecond, limits.messageBurst);
  const refuse = (close: number, code: string, message: string) => {
    caller.send({ type: 'error', code, message });
    caller.close(close, code);
  };
  const caller: Caller = {
    send(message) {
      if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
    },
    close: (code, reason) => socket.close(code, reason),
  };
  const session = connect(caller);
  const silent = setTimeout(() => refuse(CloseCode.limit, 'limit', 'The page has said nothing.'), limits.helloMs);
  socket.on('message', (data: RawData, isBinary: boolean) => {
    clearTimeout(silent);
    if (socket.readyState !== socket.OPEN) return;
    if (rate(1) > 0) {
      refuse(CloseCode.limit, 'limit', 'The page sends too many messages.');
      return;
    }
    try {
      if (isBinary) throw new MessageError('binary data');
      session.receive(parseUp((data as Buffer).toString()));
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      refuse(
        CloseCode.protocol,
        'protocol',
        `The server did not understand the page (${error.message}). Reload the page.`,
      );
    }
  });
  socket.once('close', () => {
    clearTimeout(silent);
    session.closed();
  });
}
