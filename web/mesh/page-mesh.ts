/** A page in a room, linked to all others: what both pages do alike. The engine's Worker gets the links' other ends. */
import { createEmitter, type Emitter } from './emitter.ts';
import { createMesh, type Mesh } from './mesh.ts';
import { hasWebRtc } from './peer-link.ts';
import { enterRoom, type Room } from './room.ts';

export interface PageMeshOptions {
  secret: string;
  role: 'host' | 'device';
  name: string;
  browser: string;
  /** As if the browser had no WebRTC. */
  noRtc: boolean;
  ask?: boolean;
  /** Hands the engine its end; called once, as soon as this page's index is known. */
  connect(port: MessagePort, self: number): void;
}

/** A member of the room as this page sees it. */
export interface Neighbour {
  index: number;
  id: string;
  name: string;
  browser: string;
  online: boolean;
  link: 'webrtc' | 'relay' | 'none';
  rttMs: number;
}

export interface PageMesh {
  readonly room: Room;
  /** Undefined until the room is joined for the first time. */
  readonly mesh: Mesh | undefined;
  neighbours(): Neighbour[];
  /** Room, members or links have changed. */
  readonly on: Emitter<{ change: undefined }>['on'];
  leave(): void;
}

/** The room's secret in a link's fragment (`#room=…`), where there is one. */
export const secretIn = (hash: string): string | undefined =>
  new URLSearchParams(hash.slice(1)).get('room') ?? undefined;

export async function openPageMesh(options: PageMeshOptions): Promise<PageMesh> {
  const { secret, role, name, browser, noRtc, ask, connect } = options;
  const rtc = hasWebRtc() && !noRtc;
  const server = location.origin;
  const events = createEmitter<{ change: undefined }>();
  const changed = () => events.emit('change', undefined);
  const room = await enterRoom({
    ...{ server, secret, role, storage: sessionStorage },
    ...(ask !== undefined && { ask }),
    profile: { name, browser, rtc },
  });
  let mesh: Mesh | undefined;

  function join(): void {
    const { self } = room;
    if (mesh || room.state !== 'joined' || self === undefined) return;
    const { port1, port2 } = new MessageChannel();
    connect(port2, self);
    mesh = createMesh({ room, server, engine: port1, rtc });
    mesh.on('link', changed);
  }
  for (const event of ['state', 'member', 'left', 'knocks', 'ask'] as const) {
    room.on(event, () => {
      join();
      changed();
    });
  }
  join();

  return {
    room,
    get mesh() {
      return mesh;
    },
    neighbours() {
      return [...room.members.values()].map(({ index, id, name: called, browser: kind, online }) => {
        const link = mesh?.links.get(index);
        const up = link?.state === 'up';
        return {
          ...{ index, id, name: called, browser: kind, online },
          link: up ? link.kind : 'none',
          rttMs: up && Number.isFinite(link.rttMs) ? link.rttMs : 0,
        };
      });
    },
    on: events.on,
    leave() {
      mesh?.close();
      room.leave();
    },
  };
}
