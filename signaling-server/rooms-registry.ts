/**
 * Who is in which room: the whole state of the signaling server, and the rules about it. Knows no sockets. Addresses,
 * proofs and keys stay in here: nothing of them is logged or sent on.
 */
import { timingSafeEqual } from 'node:crypto';
import {
  CloseCode,
  type Down,
  type DownOf,
  type IceServer,
  type Profile,
  type RoomMember,
  SIGNALING_VERSION,
  type Up,
  type UpOf,
} from '../web/mesh/messages.ts';
import { deviceId } from '../web/mesh/secret.ts';
import type { RoomLimits } from './rooms-limits.ts';

/** One connection of a page, wherever its socket is. */
export interface Caller {
  send(message: Down): void;
  close(code: number, reason: string): void;
}

/** What the owner of the socket tells the rooms. */
export interface Session {
  receive(message: Up): void;
  closed(): void;
}

export interface RegistryOptions {
  limits: RoomLimits;
  iceServers: IceServer[];
  /** Makes what a member shows to the relay. */
  ticket: (room: string, index: number) => string;
  onOpened?: (room: string) => void;
  onVanished?: (room: string) => void;
  /** A member was removed: what it has at the relay must end. */
  onRemoved?: (room: string, index: number) => void;
  /** The host has answered the plan socket. */
  onPlanReply?: (room: string, message: UpOf<'plan-reply'>) => void;
}

export interface Registry {
  connect(caller: Caller): Session;
  has(room: string): boolean;
  /** Rooms whose host is connected. */
  hosted(): string[];
  /** False where the room or its host is gone. */
  toHost(room: string, message: DownOf<'plan'>): boolean;
  stats(): { rooms: number; members: number; waiting: number };
  close(): void;
}

interface Member {
  index: number;
  id: string;
  profile: Profile;
  /** Undefined while the member's socket is gone. */
  caller: Caller | undefined;
  absence: NodeJS.Timeout | undefined;
}

interface Room {
  id: string;
  proof: string;
  /** Device id of the host, which owns the room. */
  host: string;
  ask: boolean;
  members: Map<number, Member>;
  /** Index of every device that was ever here: none is given twice. */
  seats: Map<string, number>;
  nextIndex: number;
  waiting: Map<string, { caller: Caller; profile: Profile }>;
  banned: Set<string>;
}

type MembersMessage = Exclude<Up, UpOf<'open' | 'join' | 'ping'>>;
type HostsMessage = Exclude<MembersMessage, UpOf<'signal' | 'profile' | 'leave'>>;

const HOST_INDEX = 0;

/** A request that is refused: the page gets `code` and `message`, and the socket is closed with `close`. */
class Refusal extends Error {
  constructor(
    readonly close: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export function createRegistry(options: RegistryOptions): Registry {
  const { limits, iceServers, ticket } = options;
  const rooms = new Map<string, Room>();

  function connect(caller: Caller): Session {
    let room: Room | undefined;
    let id = '';

    const self = (): Member | undefined => {
      const index = room?.seats.get(id);
      const member = index === undefined ? undefined : room?.members.get(index);
      return member?.caller === caller ? member : undefined;
    };

    function enter(message: UpOf<'open'> | UpOf<'join'>): void {
      if (room) throw new Refusal(CloseCode.protocol, 'protocol', 'This page has entered a room already.');
      if (message.version !== SIGNALING_VERSION)
        throw new Refusal(
          CloseCode.protocol,
          'version',
          `This page speaks version ${message.version} of signaling, the server ${SIGNALING_VERSION}. Reload the page.`,
        );
      const device = deviceId(message.key);
      const entered = message.type === 'open' ? openRoom(message, device) : findRoom(message);
      if (entered.banned.has(device)) throw removed();
      if (message.type === 'join' && device === entered.host)
        throw new Refusal(CloseCode.protocol, 'protocol', 'The host opens its room; it does not join.');
      room = entered;
      id = device;
      if (message.type === 'join' && entered.ask && !entered.seats.has(device)) wait(entered, message.profile);
      else seat(entered, device, message.profile, caller);
    }

    function wait(entered: Room, profile: Profile): void {
      const earlier = entered.waiting.get(id);
      if (!earlier && entered.waiting.size >= limits.members)
        throw new Refusal(CloseCode.unavailable, 'full', 'Too many devices wait to be let in. Try again later.');
      earlier?.caller.close(CloseCode.replaced, 'connected again');
      entered.waiting.set(id, { caller, profile });
      caller.send({ type: 'pending' });
      hostOf(entered)?.caller?.send({ type: 'knock', id, name: profile.name, browser: profile.browser });
    }

    function receive(message: Up): void {
      if (message.type === 'open' || message.type === 'join') enter(message);
      else if (message.type === 'ping') caller.send({ type: 'pong' });
      else {
        const member = self();
        if (room && member) act(room, member, message);
        else if (message.type === 'leave') caller.close(1000, 'left');
        else throw new Refusal(CloseCode.protocol, 'protocol', 'This page is in no room.');
      }
    }

    function act(entered: Room, member: Member, message: MembersMessage): void {
      switch (message.type) {
        case 'signal':
          // To a member that has just left there is nothing to say, and nothing wrong.
          entered.members.get(message.peer)?.caller?.send({ ...message, peer: member.index });
          break;
        case 'profile':
          member.profile = message.profile;
          tell(entered, member);
          break;
        case 'leave':
          depart(entered, member, 'left');
          caller.close(1000, 'left');
          break;
        default:
          if (member.index !== HOST_INDEX)
            throw new Refusal(CloseCode.protocol, 'protocol', 'Only the host of the room can do that.');
          command(entered, message);
      }
    }

    return {
      receive(message) {
        try {
          receive(message);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          caller.send({ type: 'error', code: error.code, message: error.message });
          caller.close(error.close, error.code);
        }
      },
      closed() {
        if (!room) return;
        const member = self();
        if (member) absent(room, member);
        else if (room.waiting.get(id)?.caller === caller) stopWaiting(room, id);
      },
    };
  }

  function openRoom(message: UpOf<'open'>, host: string): Room {
    const known = rooms.get(message.room);
    if (known) {
      if (!sameProof(known, message.proof) || known.host !== host)
        throw new Refusal(CloseCode.refused, 'taken', 'Another page is the host of this room. Open a new one.');
      known.ask = message.ask;
      return known;
    }
    if (rooms.size >= limits.rooms)
      throw new Refusal(CloseCode.unavailable, 'full', 'This server has no place for another room. Try again later.');
    const seats = new Map(message.seats.slice(0, limits.seats).map((seat) => [seat.id, seat.index]));
    seats.set(host, HOST_INDEX);
    if (new Set(seats.values()).size !== seats.size)
      throw new Refusal(CloseCode.protocol, 'protocol', 'Two devices on one seat.');
    const room: Room = {
      id: message.room,
      proof: message.proof,
      host,
      ask: message.ask,
      members: new Map(),
      seats,
      nextIndex: 1 + Math.max(...seats.values()),
      waiting: new Map(),
      banned: new Set(message.banned),
    };
    rooms.set(room.id, room);
    options.onOpened?.(room.id);
    return room;
  }

  /** A wrong proof gets the same answer as a room that does not exist: a stranger learns nothing. */
  function findRoom(message: UpOf<'join'>): Room {
    const room = rooms.get(message.room);
    if (!room || !sameProof(room, message.proof))
      throw new Refusal(CloseCode.unavailable, 'no-room', 'The host of this room is not there. Open its page first.');
    return room;
  }

  function seat(room: Room, id: string, profile: Profile, caller: Caller): void {
    let index = room.seats.get(id);
    if (index === undefined) {
      if (room.seats.size >= limits.seats)
        throw new Refusal(CloseCode.limit, 'full', 'This room has seen too many devices.');
      index = room.nextIndex;
    }
    const before = room.members.get(index);
    if (!before && room.members.size >= limits.members)
      throw new Refusal(CloseCode.unavailable, 'full', `This room is full: it takes ${limits.members} devices.`);
    room.seats.set(id, index);
    room.nextIndex = Math.max(room.nextIndex, index + 1);
    clearTimeout(before?.absence);
    const replaced = before?.caller;
    const member: Member = { index, id, profile, caller, absence: undefined };
    room.members.set(index, member);
    replaced?.close(CloseCode.replaced, 'connected again');
    caller.send({
      type: 'welcome',
      index,
      members: [...room.members.values()].map(described),
      ask: room.ask,
      iceServers,
      ticket: ticket(room.id, index),
    });
    tell(room, member, member);
    if (index !== HOST_INDEX) return;
    for (const [waiting, { profile: theirs }] of room.waiting)
      caller.send({ type: 'knock', id: waiting, name: theirs.name, browser: theirs.browser });
  }

  /** The host's own messages. */
  function command(room: Room, message: HostsMessage): void {
    switch (message.type) {
      case 'admit': {
        const device = room.waiting.get(message.id);
        if (!device) return;
        stopWaiting(room, message.id);
        try {
          seat(room, message.id, device.profile, device.caller);
        } catch (error) {
          // What is wrong is wrong with the device, not with the host that let it in.
          if (!(error instanceof Refusal)) throw error;
          device.caller.send({ type: 'error', code: error.code, message: error.message });
          device.caller.close(error.close, error.code);
        }
        return;
      }
      case 'refuse': {
        const device = room.waiting.get(message.id);
        if (!device) return;
        stopWaiting(room, message.id);
        device.caller.send({ type: 'error', code: 'refused', message: 'The host did not let this device in.' });
        device.caller.close(CloseCode.refused, 'refused');
        return;
      }
      case 'remove': {
        const member = room.members.get(message.index);
        if (!member || member.index === HOST_INDEX) return;
        const { caller } = member;
        ban(room, member.id);
        depart(room, member, 'removed');
        options.onRemoved?.(room.id, member.index);
        const reason = removed();
        caller?.send({ type: 'error', code: reason.code, message: reason.message });
        caller?.close(reason.close, reason.code);
        return;
      }
      case 'rename': {
        const member = room.members.get(message.index);
        if (!member) return;
        member.profile = { ...member.profile, name: message.name };
        tell(room, member);
        return;
      }
      case 'ask':
        setAsk(room, message.ask);
        return;
      case 'plan-reply':
        options.onPlanReply?.(room.id, message);
    }
  }

  /** Keeps a device out. It could come back under another id, so from now on the host is asked about strangers. */
  function ban(room: Room, id: string): void {
    if (room.banned.size >= limits.seats) room.banned.delete(room.banned.values().next().value as string);
    room.banned.add(id);
    room.seats.delete(id);
    setAsk(room, true);
  }

  function setAsk(room: Room, ask: boolean): void {
    room.ask = ask;
    hostOf(room)?.caller?.send({ type: 'ask', ask });
  }

  function stopWaiting(room: Room, id: string): void {
    room.waiting.delete(id);
    hostOf(room)?.caller?.send({ type: 'knock-gone', id });
  }

  /** The socket broke: the device may only be reloading, so it keeps its place for a while. */
  function absent(room: Room, member: Member): void {
    member.caller = undefined;
    member.absence = setTimeout(() => depart(room, member, 'lost'), limits.absenceMs).unref();
    tell(room, member);
    vanishIfEmpty(room);
  }

  function depart(room: Room, member: Member, reason: 'left' | 'removed' | 'lost'): void {
    clearTimeout(member.absence);
    member.caller = undefined;
    room.members.delete(member.index);
    for (const other of room.members.values()) other.caller?.send({ type: 'left', index: member.index, reason });
    vanishIfEmpty(room);
  }

  function vanishIfEmpty(room: Room): void {
    for (const member of room.members.values()) if (member.caller) return;
    for (const member of room.members.values()) clearTimeout(member.absence);
    rooms.delete(room.id);
    for (const { caller } of room.waiting.values()) caller.close(CloseCode.unavailable, 'room closed');
    room.waiting.clear();
    options.onVanished?.(room.id);
  }

  function tell(room: Room, member: Member, except?: Member): void {
    for (const other of room.members.values())
      if (other !== except) other.caller?.send({ type: 'member', member: described(member) });
  }

  return {
    connect,
    has: (room) => rooms.has(room),
    hosted: () => [...rooms.values()].filter((room) => hostOf(room)?.caller).map(({ id }) => id),
    toHost(id, message) {
      const room = rooms.get(id);
      const caller = room && hostOf(room)?.caller;
      caller?.send(message);
      return caller !== undefined;
    },
    stats() {
      let members = 0;
      let waiting = 0;
      for (const room of rooms.values()) {
        for (const member of room.members.values()) if (member.caller) members++;
        waiting += room.waiting.size;
      }
      return { rooms: rooms.size, members, waiting };
    },
    close() {
      for (const room of rooms.values()) for (const member of room.members.values()) clearTimeout(member.absence);
      rooms.clear();
    },
  };
}

/** In constant time; the schema has seen to equal lengths. */
const sameProof = (room: Room, proof: string) => timingSafeEqual(Buffer.from(room.proof), Buffer.from(proof));

const hostOf = (room: Room): Member | undefined => room.members.get(HOST_INDEX);

const removed = () => new Refusal(CloseCode.removed, 'removed', 'The host has removed this device from the room.');

function described(member: Member): RoomMember {
  return { ...member.profile, index: member.index, id: member.id, online: member.caller !== undefined };
}
