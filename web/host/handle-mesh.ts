/** The handle's part for the mesh: the room on the page's side, plans and moves in the engine. */
import { type Remote, transfer } from 'comlink';
import type { MeshHandle, RoomInfo } from '../api.ts';
import { browserName } from '../device/browser-name.ts';
import { HostError, messageOf } from '../device/errors.ts';
import { openPageMesh, type PageMesh, secretIn } from '../mesh/page-mesh.ts';
import { isSecret, newSecret } from '../mesh/secret.ts';
import type { EngineService } from './engine-types.ts';

export interface MeshHandleOptions {
  /** Calls the engine; rejects at once when its Worker dies. */
  call<T>(work: (engine: Remote<EngineService>) => Promise<T>): Promise<T>;
  /** A number that names a call for `abort`. */
  nextCall(): number;
  emitRoom(room: RoomInfo): void;
  noRtc: boolean;
  delayMs: number;
}

/** On the machine that runs the server everyone at the keyboard is trusted; elsewhere the host is asked first. */
const isLocal = () => /^(localhost|127\.|\[::1\])/.test(globalThis.location?.hostname ?? 'localhost');

export function createMeshHandle({ call, nextCall, emitRoom, noRtc, delayMs }: MeshHandleOptions): MeshHandle {
  let opening: Promise<PageMesh> | undefined;
  let opened: PageMesh | undefined;
  let ask = !isLocal();

  function infoOf({ room }: PageMesh, secret: string): RoomInfo {
    const link = new URL('/', location.href);
    link.hash = `room=${secret}`;
    const state = room.state === 'waiting' || room.state === 'pending' ? 'connecting' : room.state;
    return {
      id: room.id,
      link: link.href,
      state,
      ask,
      knocks: room.knocks.map(({ id, name, browser }) => ({ id, name, browser })),
    };
  }

  /** The secret of this page's address, or a new one, which the address then keeps over a reload. */
  function ownSecret(): string {
    const given = secretIn(location.hash);
    if (given && isSecret(given)) return given;
    if (given)
      throw new HostError(
        'bad-request',
        "The room in this page's address is not one: use a link as the host page shows it.",
      );
    const secret = newSecret();
    history.replaceState(history.state, '', `#room=${secret}`);
    return secret;
  }

  async function open(): Promise<PageMesh> {
    const secret = ownSecret();
    const mesh = await openPageMesh({
      ...{ secret, role: 'host', name: 'Host', browser: browserName(navigator.userAgent), noRtc, ask },
      connect: (port) => void call((engine) => engine.connect(transfer(port, [port]), delayMs)),
    });
    opened = mesh;
    const changed = () => {
      void call((engine) => engine.setRoster(mesh.neighbours())).catch(() => undefined);
      emitRoom(infoOf(mesh, secret));
    };
    mesh.on('change', changed);
    mesh.room.on('ask', (next) => {
      ask = next;
    });
    mesh.room.on('plan', ({ id, request }) => {
      void call((engine) => engine.planRequest(request))
        .catch((error) => JSON.stringify({ ok: false, error: messageOf(error) }))
        .then((reply) => mesh.room.replyPlan(id, reply));
    });
    changed();
    return mesh;
  }

  const entered = (): Promise<PageMesh> => {
    opening ??= open();
    // Another try may succeed where this one failed.
    opening.catch(() => {
      opening = undefined;
    });
    return opening;
  };

  function inRoom(): PageMesh['room'] {
    if (!opened) throw new HostError('no-room', 'This page has no room yet: call room() first.');
    return opened.room;
  }

  return {
    async room() {
      const mesh = await entered();
      return infoOf(mesh, ownSecret());
    },
    async setAsk(next) {
      ask = next;
      inRoom().setAsk(next);
    },
    admit: async (id) => inRoom().admit(id),
    refuse: async (id) => inRoom().refuse(id),
    renameDevice: async (index, name) => inRoom().rename(index, name.trim().slice(0, 64)),
    removeDevice: async (index) => inRoom().remove(index),
    pauseDevice: async (index, paused) => call((engine) => Promise.resolve(engine.pauseDevice(index, paused))),
    previewRatios: async (ratios) => call((engine) => engine.previewRatios(String(ratios))),
    previewMove: async (move) => call((engine) => engine.previewMove(move)),
    setRatios: async (ratios) => call((engine) => engine.setRatios(String(ratios))),
    async migrate(move, options) {
      const signal = options?.signal;
      const id = nextCall();
      const abort = (): void => void call((engine) => Promise.resolve(engine.abort(id))).catch(() => undefined);
      try {
        return await call((engine) => {
          const result = engine.migrate(id, move);
          if (signal?.aborted) abort();
          signal?.addEventListener('abort', abort, { once: true });
          return result;
        });
      } finally {
        signal?.removeEventListener('abort', abort);
      }
    },
  };
}
