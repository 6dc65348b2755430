/** The Worker of a contributing page: the member's service, with the browser's backends around it. */
import { expose } from 'comlink';
import type { About } from '../mesh/control.ts';
import { receiveLinks } from '../mesh/links.ts';
import { urlSource } from '../model/http.ts';
import type { HyperParameters } from '../model/types.ts';
import type { BackendChoice } from './backend.ts';
import { createChooser } from './choose-backend.ts';
import { browserBackends, browserMemory } from './environment.ts';
import { messageOf } from './errors.ts';
import { createMemberService, type MemberService, type MemberStatus } from './member/service.ts';
import { createOwnBackend } from './own-backend.ts';
import type { Emulation } from './page-options.ts';
import { openShardStore } from './store/store.ts';
import { carryErrorCodes } from './transfer.ts';

export interface DeviceOptions {
  backend: BackendChoice;
  threads?: number;
  emulation: Emulation;
  /** Bytes to lend at most. */
  memory?: number;
}

export interface DeviceWorker {
  /** Measures this device. Rejects with DeviceError where it cannot compute. */
  start(options: DeviceOptions): Promise<About>;
  /** Takes the links of the page's mesh, as the device of this index. */
  connect(port: MessagePort, self: number): void;
  setMemory(bytes: number): void;
  setPaused(paused: boolean): void;
  status(): MemberStatus | undefined;
  /** What went wrong without ending anything, in words, since the last call. */
  notes(): string[];
}

/** As far as the choice goes a model is only its size; which one will run is not known yet. */
const TYPICAL = { layers: 28, dim: 1024, heads: 16, kvHeads: 8, headDim: 64, ffn: 3072, vocab: 128_000 };

let about: About | undefined;
let service: MemberService | undefined;
let own: ReturnType<typeof createOwnBackend> | undefined;
let emulation: Emulation | undefined;
let paused = false;
let notes: string[] = [];
const store = openShardStore({ onNote: (text) => notes.push(text) });

const worker: DeviceWorker = {
  async start({ backend, threads, emulation: played, memory }) {
    emulation = played;
    const make = browserBackends({ threads, emulation: played });
    own = createOwnBackend({ wanted: backend, chooser: createChooser(make), make, note: (text) => notes.push(text) });
    const choice = await own.choose(TYPICAL as HyperParameters);
    notes.push(...(choice.measurement.note === undefined ? [] : [choice.measurement.note]));
    const { kind, description, threads: used, gmacs, readbackMs } = choice.measurement;
    const limit = browserMemory(played).bytes;
    const memoryLimit = Math.round(Math.min(memory ?? limit, played.memoryBytes ?? Number.POSITIVE_INFINITY));
    about = { backend: kind, description, threads: used, gmacs, readbackMs, memoryLimit };
    return about;
  },
  connect(port, self) {
    const device = createMemberService({
      self,
      async about() {
        if (!about) throw new Error('This device has not been measured.');
        return about;
      },
      makeBackend: (options) => {
        if (!own) throw new Error('This device has not been measured.');
        return own.make(options);
      },
      openStore: () => store,
      openUrl: urlSource,
      openServerFiles: ([name]) => urlSource(new URL(`/models/${encodeURIComponent(name)}`, location.href)),
    });
    service = device;
    device.setPaused(paused);
    receiveLinks(port, {
      delayMs: emulation?.delayMs ?? 0,
      onLink(link) {
        if (link.peer === 0) device.setHost(link);
        device.addPeer(link);
      },
    });
  },
  setMemory(bytes) {
    if (!about) return;
    about = { ...about, memoryLimit: Math.round(bytes) };
    service?.announce();
  },
  setPaused(next) {
    paused = next;
    service?.setPaused(next);
  },
  status: () => service?.status(),
  notes() {
    const told = notes;
    notes = [];
    return told;
  },
};

carryErrorCodes();
self.addEventListener('unhandledrejection', (event) => {
  event.preventDefault();
  notes.push(`Something went wrong in the engine: ${messageOf(event.reason)}`);
});
expose(worker);
