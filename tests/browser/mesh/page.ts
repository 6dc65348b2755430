/** A page of the mesh without a model: enters a room and gives the tests its links. */
import { wrap } from 'comlink';
import { createMesh, type Mesh } from '../../../web/mesh/mesh.ts';
import { hasWebRtc } from '../../../web/mesh/peer-link.ts';
import { enterRoom, type Room } from '../../../web/mesh/room.ts';
import type { TestEngine } from './engine.ts';

declare global {
  interface Window {
    meshPage: {
      enter(options: { secret: string; role: 'host' | 'device'; name: string; relay?: boolean }): Promise<void>;
      room: Room;
      mesh: Mesh;
      engine: ReturnType<typeof wrap<TestEngine>>;
      /** What happened, in order, with the time in ms. */
      log: { at: number; what: string }[];
    };
  }
}

const worker = new Worker(new URL('./engine.ts', import.meta.url), { type: 'module' });
const engine = wrap<TestEngine>(worker);
const log: { at: number; what: string }[] = [];
const note = (what: string) => log.push({ at: performance.now(), what });

window.meshPage = {
  engine,
  log,
  async enter({ secret, role, name, relay }) {
    const rtc = hasWebRtc() && !relay;
    const server = location.origin;
    const room = await enterRoom({
      server,
      secret,
      role,
      profile: { name, browser: navigator.userAgent.slice(0, 60), rtc },
      storage: sessionStorage,
    });
    const { port1, port2 } = new MessageChannel();
    worker.postMessage({ mesh: port2 }, [port2]);
    const mesh = createMesh({ room, server, engine: port1, rtc });
    room.on('state', ({ state, failure }) => note(`room ${state} ${failure?.code ?? ''}`));
    mesh.on('link', ({ peer, state, kind, reason }) => note(`link ${peer} ${state} ${kind} ${reason ?? ''}`));
    Object.assign(window.meshPage, { room, mesh });
  },
} as typeof window.meshPage;
