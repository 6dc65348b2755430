/**
 * The page's side of the mesh: keeps a link to every other member of the room, makes its channels, and hands them to the
 * engine's Worker, where `receiveLinks` takes them. No tensor passes through here.
 */
import { type Connection, createConnection, type LinkStatus } from './connection.ts';
import { createEmitter, type Emitter } from './emitter.ts';
import type { FromEngine, ToEngine } from './engine-messages.ts';
import type { RoomMember } from './messages.ts';
import type { ChannelBytes } from './peer-link.ts';
import type { FromPulse, ToPulse } from './pulse.worker.ts';
import { relayEndpoints } from './relay-link.ts';
import type { Room } from './room.ts';
import { parseSignal } from './signals.ts';

export interface MeshOptions {
  room: Room;
  /** Origin of the server, for the relay. */
  server: string;
  /** To the engine's Worker, where `receiveLinks` has the other end. */
  engine: MessagePort;
  /** Whether WebRTC may be used: what `room`'s profile says of this page. */
  rtc: boolean;
}

export interface Mesh {
  /** Of every other member, by index. */
  readonly links: ReadonlyMap<number, LinkStatus>;
  readonly on: Emitter<{ link: LinkStatus }>['on'];
  /** The browser's own count of a WebRTC link's channels; empty for a relayed one. */
  channelBytes(peer: number): Promise<ChannelBytes[]>;
  close(): void;
}

/** Links this page to all members of the room, for as long as they are in it. */
export function createMesh(options: MeshOptions): Mesh {
  const { room, server, engine, rtc } = options;
  const events = createEmitter<{ link: LinkStatus }>();
  const connections = new Map<number, Connection>();
  const pulse = new Worker(new URL('./pulse.worker.ts', import.meta.url), { type: 'module', name: 'heartbeats' });
  const toPulse = (message: ToPulse, transfer: Transferable[]) => pulse.postMessage(message, transfer);
  const toEngine = (message: ToEngine, transfer: Transferable[]) => engine.postMessage(message, transfer);

  const losses = new MessageChannel();
  toPulse({ type: 'engine', port: losses.port1 }, [losses.port1]);
  toEngine({ type: 'pulse', port: losses.port2 }, [losses.port2]);

  pulse.onmessage = ({ data }: MessageEvent<FromPulse>) => {
    const connection = connections.get(data.peer);
    if (data.type === 'beat') connection?.beat(data.attempt, data.rttMs);
    else connection?.down(data.attempt, 'lost', `Device ${data.peer} is gone: ${data.reason}.`);
  };
  engine.onmessage = ({ data }: MessageEvent<FromEngine>) => {
    const connection = connections.get(data.peer);
    if (data.type === 'up') connection?.engineUp(data.attempt);
    else connection?.down(data.attempt, data.code, data.message);
  };

  function meet(member: RoomMember): void {
    const { self } = room;
    if (self === undefined || member.index === self) return;
    const known = connections.get(member.index);
    if (known) {
      known.update(member);
      return;
    }
    const peer = member.index;
    connections.set(
      peer,
      createConnection({
        self,
        member,
        rtc,
        iceServers: () => room.iceServers,
        relayEndpoints: (attempt) =>
          relayEndpoints({ server, room: room.id, ticket: room.ticket, self, peer, attempt }),
        signal: (signal) => room.signal(peer, JSON.stringify(signal)),
        toEngine,
        toPulse,
        changed: (status) => events.emit('link', status),
      }),
    );
  }

  function part(index: number, code: string, message: string): void {
    connections.get(index)?.close(code, message);
    connections.delete(index);
  }

  const undo = [
    room.on('member', meet),
    room.on('left', ({ member: { index, name }, reason }) => {
      // The server has lost the device, but as long as the link lives, the device does.
      if (reason === 'lost' && connections.get(index)?.status.state === 'up') return;
      part(index, 'left', reason === 'removed' ? `${name} was removed from the room.` : `${name} has left the room.`);
    }),
    room.on('signal', ({ member, data }) => {
      const signal = parseSignal(data);
      if (signal) connections.get(member.index)?.takeSignal(signal);
    }),
    room.on('state', ({ state }) => {
      if (state === 'closed') close();
    }),
  ];
  for (const member of room.members.values()) meet(member);

  const sayGoodbye = () => {
    for (const connection of connections.values()) connection.sayGoodbye();
  };
  // A page that comes back from the browser's memory has dead links and a dead engine's timing: start over.
  const comeBack = (event: PageTransitionEvent) => event.persisted && location.reload();
  addEventListener('pagehide', sayGoodbye);
  addEventListener('pageshow', comeBack);

  function close(): void {
    sayGoodbye();
    for (const index of [...connections.keys()]) part(index, 'closed', 'This device has left the mesh.');
    for (const end of undo) end();
    removeEventListener('pagehide', sayGoodbye);
    removeEventListener('pageshow', comeBack);
    pulse.terminate();
  }

  return {
    get links() {
      return new Map([...connections].map(([index, connection]) => [index, connection.status]));
    },
    on: events.on,
    channelBytes: (peer) => connections.get(peer)?.channelBytes() ?? Promise.resolve([]),
    close,
  };
}
