/**
 * A page's place in a room: the client of the signaling server. Comes back by itself when the connection breaks, as the
 * same device. Needs no secure context.
 */
import { holdKey, keepRoom, type RoomMemory, recallRoom } from './device-key.ts';
import { createEmitter, type Emitter } from './emitter.ts';
import { MeshError } from './errors.ts';
import {
  CloseCode,
  type Down,
  type DownOf,
  type IceServer,
  MAX_PLAN_PART_LENGTH,
  MessageError,
  PING_INTERVAL_MS,
  type Profile,
  parseDown,
  ROOM_PATH,
  type RoomMember,
  SIGNALING_VERSION,
  type Up,
} from './messages.ts';
import { deviceId, newSession, roomKeys, sealSignal } from './secret.ts';

/** First and longest time in ms before the next try to connect. */
const RETRY_MS = 500;
const MAX_RETRY_MS = 8_000;
/** Silence of the server in ms after which the connection counts as broken. */
const SILENCE_MS = 3 * PING_INTERVAL_MS;

/** Closing codes after which another try makes no sense, and what they mean as a MeshError's code. */
const FINAL_CODES: Record<number, string> = {
  [CloseCode.protocol]: 'protocol',
  [CloseCode.refused]: 'refused',
  [CloseCode.removed]: 'removed',
  [CloseCode.replaced]: 'replaced',
  [CloseCode.limit]: 'limit',
};

export interface RoomOptions {
  /** Origin of the server: `http://…` or `https://…`. */
  server: string;
  /** The room's secret, from the link's fragment. */
  secret: string;
  role: 'host' | 'device';
  profile: Omit<Profile, 'session'>;
  /** Host: new devices wait until it admits them. */
  ask?: boolean;
  storage: Storage;
}

/**
 * `connecting`: no connection to the server. `waiting`: the host is not there. `pending`: the host has not decided yet.
 * `joined`. `closed`: for good, `failure` says why.
 */
export type RoomState = 'connecting' | 'waiting' | 'pending' | 'joined' | 'closed';

export interface Knock {
  id: string;
  name: string;
  browser: string;
}

export interface RoomEvents {
  state: { state: RoomState; failure?: MeshError };
  /** A member is new or has changed, this device too. */
  member: RoomMember;
  left: { member: RoomMember; reason: 'left' | 'removed' | 'lost' };
  /** A sealed message from another member. */
  signal: { member: RoomMember; data: string };
  /** Host: the devices that wait, after any change. */
  knocks: Knock[];
  /** Host: whether new devices wait; the server turns it on after a removal. */
  ask: boolean;
  /** Host: a request from the server's plan socket, to be answered with `replyPlan`. */
  plan: { id: number; request: string };
}

export interface Room {
  /** Public name of the room. */
  readonly id: string;
  /** Public id of this device. */
  readonly device: string;
  readonly state: RoomState;
  readonly failure: MeshError | undefined;
  /** This device's index; undefined before it has joined for the first time. */
  readonly self: number | undefined;
  /** By index, this device included. */
  readonly members: ReadonlyMap<number, RoomMember>;
  readonly knocks: readonly Knock[];
  readonly iceServers: readonly IceServer[];
  /** Shown to the relay. */
  readonly ticket: string;
  readonly on: Emitter<RoomEvents>['on'];
  /** Sends a sealed message to another member; lost where that is not connected. */
  signal(index: number, data: string): void;
  setName(name: string): void;
  admit(id: string): void;
  refuse(id: string): void;
  remove(index: number): void;
  rename(index: number, name: string): void;
  setAsk(ask: boolean): void;
  /** Answers a request of the plan socket with JSON. */
  replyPlan(id: number, text: string): void;
  /** Leaves for good. */
  leave(): void;
}

/** Enters a room and stays in it. Resolves at once with the room, whose `state` says how far it is. */
export async function enterRoom(options: RoomOptions): Promise<Room> {
  const keys = roomKeys(options.secret);
  const memory = await recallRoom(keys.id, options.storage);
  return connectRoom(options, keys, memory);
}

function connectRoom(options: RoomOptions, keys: ReturnType<typeof roomKeys>, memory: RoomMemory): Room {
  const { storage, role } = options;
  const device = deviceId(memory.key);
  const events = createEmitter<RoomEvents>();
  const members = new Map<number, RoomMember>();
  const knocks = new Map<string, Knock>();
  const releaseKey = holdKey(keys.id, memory.key);
  let profile: Profile = { ...options.profile, session: newSession() };
  let ask = options.ask ?? false;
  let state: RoomState = 'connecting';
  let failure: MeshError | undefined;
  let self: number | undefined;
  let iceServers: IceServer[] = [];
  let ticket = '';
  let socket: WebSocket | undefined;
  let retries = 0;
  let retryTimer: ReturnType<typeof setTimeout> | undefined;
  let heardAt = 0;
  let lookedAt = 0;
  /** The server's last complaint: it comes before the socket is closed. */
  let complaint: DownOf<'error'> | undefined;

  function setState(next: RoomState, reason?: MeshError): void {
    if (state === next) return;
    state = next;
    failure = reason;
    events.emit('state', reason ? { state, failure: reason } : { state });
  }

  function send(message: Up): void {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  }

  function connect(): void {
    clearTimeout(retryTimer);
    complaint = undefined;
    const opened = new WebSocket(new URL(ROOM_PATH, options.server).href.replace(/^http/, 'ws'));
    socket = opened;
    opened.addEventListener('open', () => {
      heardAt = performance.now();
      const entry = { version: SIGNALING_VERSION, room: keys.id, proof: keys.proof, key: memory.key, profile };
      if (role === 'host') send({ type: 'open', ...entry, ask, seats: memory.seats, banned: memory.banned });
      else send({ type: 'join', ...entry });
    });
    opened.addEventListener('message', (event: MessageEvent<unknown>) => {
      if (opened !== socket) return;
      heardAt = performance.now();
      try {
        take(parseDown(String(event.data)));
      } catch (error) {
        if (!(error instanceof MessageError)) throw error;
        end(new MeshError('version', `The server and this page do not fit (${error.message}). Reload the page.`));
      }
    });
    opened.addEventListener('close', (event: CloseEvent) => {
      if (opened === socket) disconnected(event.code);
    });
  }

  function disconnected(code: number): void {
    socket = undefined;
    if (state === 'closed') return;
    const final = FINAL_CODES[code];
    if (final) {
      end(
        new MeshError(complaint?.code ?? final, complaint?.message ?? FINAL_MESSAGES[final] ?? 'The server hung up.'),
      );
      return;
    }
    setState(complaint?.code === 'no-room' ? 'waiting' : 'connecting');
    const delay = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** retries++);
    // Not all at once after the server was away.
    retryTimer = setTimeout(connect, delay * (0.75 + Math.random() / 2));
  }

  function end(reason: MeshError): void {
    const open = socket;
    socket = undefined;
    setState('closed', reason);
    open?.close();
    clearTimeout(retryTimer);
    clearInterval(heartbeat);
    releaseKey();
    if (typeof document !== 'undefined') removeEventListener('pagehide', goodbye);
    if (typeof document !== 'undefined') removeEventListener('online', hurry);
  }

  function take(message: Down): void {
    switch (message.type) {
      case 'welcome':
        welcomed(message);
        break;
      case 'pending':
        setState('pending');
        break;
      case 'member':
        setMember(message.member);
        break;
      case 'left':
        dropMember(message.index, message.reason);
        break;
      case 'signal':
        takeSignal(message);
        break;
      case 'knock':
        knocks.set(message.id, { id: message.id, name: message.name, browser: message.browser });
        events.emit('knocks', [...knocks.values()]);
        break;
      case 'knock-gone':
        knocks.delete(message.id);
        events.emit('knocks', [...knocks.values()]);
        break;
      case 'ask':
        ask = message.ask;
        events.emit('ask', ask);
        break;
      case 'plan':
        if (role === 'host') events.emit('plan', { id: message.id, request: message.request });
        break;
      case 'error':
        complaint = message;
        break;
      case 'pong':
        break;
    }
  }

  function welcomed(message: DownOf<'welcome'>): void {
    const host = message.members.find((member) => member.index === 0)?.id;
    if (host && memory.host && host !== memory.host) {
      end(new MeshError('impostor', 'Another device has taken over this room. Ask the host for a new link.', 0));
      return;
    }
    retries = 0;
    self = message.index;
    iceServers = message.iceServers;
    ticket = message.ticket;
    ask = message.ask;
    memory.host = host ?? memory.host;
    knocks.clear();
    const present = new Set(message.members.map((member) => member.index));
    for (const index of [...members.keys()]) if (!present.has(index)) dropMember(index, 'lost');
    for (const member of message.members) setMember(member);
    keepRoom(keys.id, memory, storage);
    setState('joined');
  }

  function setMember(member: RoomMember): void {
    const before = members.get(member.index);
    if (before && sameMember(before, member)) return;
    members.set(member.index, member);
    if (member.index === self) profile = { ...profile, name: member.name };
    if (role === 'host' && !memory.seats.some((seat) => seat.id === member.id)) {
      memory.seats.push({ id: member.id, index: member.index });
      keepRoom(keys.id, memory, storage);
    }
    events.emit('member', member);
  }

  function dropMember(index: number, reason: 'left' | 'removed' | 'lost'): void {
    const member = members.get(index);
    if (!member) return;
    members.delete(index);
    events.emit('left', { member, reason });
  }

  function takeSignal(message: DownOf<'signal'>): void {
    const member = members.get(message.peer);
    // Only who knows the room's secret can seal; the server cannot.
    if (!member || message.seal !== sealSignal(keys.seal, member.id, device, message.data)) return;
    events.emit('signal', { member, data: message.data });
  }

  const heartbeat = setInterval(() => {
    const now = performance.now();
    // A hidden page's timers may rest for a minute: silence in that time says nothing.
    const late = now - lookedAt > SILENCE_MS;
    lookedAt = now;
    if (!late && socket?.readyState === WebSocket.OPEN && now - heardAt > SILENCE_MS) {
      const broken = socket;
      disconnected(1006);
      broken.close();
      return;
    }
    send({ type: 'ping' });
  }, PING_INTERVAL_MS);

  const goodbye = () => send({ type: 'leave' });
  const hurry = () => {
    if (!socket && state !== 'closed') connect();
  };
  if (typeof document !== 'undefined') {
    addEventListener('pagehide', goodbye);
    addEventListener('online', hurry);
  }
  connect();

  return {
    id: keys.id,
    device,
    get state() {
      return state;
    },
    get failure() {
      return failure;
    },
    get self() {
      return self;
    },
    members,
    get knocks() {
      return [...knocks.values()];
    },
    get iceServers() {
      return iceServers;
    },
    get ticket() {
      return ticket;
    },
    on: events.on,
    signal(index, data) {
      const member = members.get(index);
      if (member) send({ type: 'signal', peer: index, data, seal: sealSignal(keys.seal, device, member.id, data) });
    },
    setName(name) {
      profile = { ...profile, name };
      send({ type: 'profile', profile });
    },
    admit: (id) => send({ type: 'admit', id }),
    refuse: (id) => send({ type: 'refuse', id }),
    remove(index) {
      const id = members.get(index)?.id;
      if (!id) return;
      memory.banned.push(id);
      memory.seats = memory.seats.filter((seat) => seat.id !== id);
      keepRoom(keys.id, memory, storage);
      send({ type: 'remove', index });
    },
    rename: (index, name) => send({ type: 'rename', index, name }),
    setAsk(next) {
      ask = next;
      send({ type: 'ask', ask });
    },
    replyPlan(id, text) {
      for (let at = 0; at === 0 || at < text.length; at += MAX_PLAN_PART_LENGTH) {
        const last = at + MAX_PLAN_PART_LENGTH >= text.length;
        send({ type: 'plan-reply', id, text: text.slice(at, at + MAX_PLAN_PART_LENGTH), last });
      }
    },
    leave() {
      goodbye();
      end(new MeshError('closed', 'This device has left the room.'));
    },
  };
}

const FINAL_MESSAGES: Record<string, string> = {
  replaced: 'This device goes on in another tab.',
};

function sameMember(a: RoomMember, b: RoomMember): boolean {
  return (
    a.id === b.id &&
    a.name === b.name &&
    a.browser === b.browser &&
    a.rtc === b.rtc &&
    a.session === b.session &&
    a.online === b.online
  );
}
