/**
 * A host's session and its devices in one process: real members on the WASM backend, links in memory that can be cut. What
 * a page or a network would do to devices, tests do by hand.
 */
import type { DeviceStatus, LogEvent, Plan } from '../../web/api.ts';
import type { Backend, BackendOptions } from '../../web/device/backend.ts';
import type { BackendChooser } from '../../web/device/choose-backend.ts';
import { createMemberService, type MemberService } from '../../web/device/member/service.ts';
import type { ShardStore } from '../../web/device/store/store.ts';
import { createWasmBackend } from '../../web/device/wasm/index.ts';
import type { Emit, LoadRequest } from '../../web/host/engine-types.ts';
import { deviceStatuses } from '../../web/host/mesh/device-status.ts';
import { createHub, type Hub } from '../../web/host/mesh/hub.ts';
import type { OpenedModel } from '../../web/host/open-model.ts';
import { loadSession, type Session } from '../../web/host/session.ts';
import { MeshError } from '../../web/mesh/errors.ts';
import type { Link } from '../../web/mesh/link.ts';
import type { Neighbour } from '../../web/mesh/page-mesh.ts';
import { type Linked, linked } from '../unit/mesh/linked.ts';
import { kernelModule } from './node-model.ts';

const relaxed = kernelModule('relaxed');
export const wasmBackend = (options: BackendOptions): Promise<Backend> =>
  createWasmBackend({ ...options, threads: 1, module: relaxed });

export interface DevicePlay {
  makeBackend?: (options: BackendOptions) => Promise<Backend>;
  memoryLimit?: number;
  openStore?: () => Promise<ShardStore | undefined>;
}

export interface PlayedDevice {
  index: number;
  service: MemberService;
  /** Its links, by the other device's index. */
  links: Map<number, Linked>;
}

export interface PlayedMesh {
  hub: Hub;
  logs: LogEvent[];
  plans: Plan[];
  devices: Map<number, PlayedDevice>;
  /** A device enters the room, linked to everyone there. */
  join(index: number, play?: DevicePlay): Promise<PlayedDevice>;
  /** A device falls silent, and everyone else notices after so many ms. */
  kill(index: number, noticedAfterMs?: (other: number) => number): void;
  /** The link between two devices breaks, and is made anew after some ms. */
  breakLink(a: number, b: number, againAfterMs?: number): void;
  load(request?: Partial<LoadRequest>, signal?: AbortSignal): Promise<Session>;
  statuses(): DeviceStatus[];
  close(): Promise<void>;
}

export interface MeshPlay {
  model: OpenedModel;
  own?: DevicePlay;
  /** Told of every request of the host before it is sent. */
  onRequest?(device: number, type: string): void;
}

const MEASURED = { kind: 'wasm', description: 'played', threads: 1, gmacs: 1, readbackMs: 0 } as const;

export function playMesh({ model, own = {}, onRequest }: MeshPlay): PlayedMesh {
  const logs: LogEvent[] = [];
  const plans: Plan[] = [];
  const devices = new Map<number, PlayedDevice>();
  let session: Session | undefined;
  let recovering = new AbortController();
  const hub = createHub({ onChange: () => undefined, modelBytes: () => model.file.source });
  const request = hub.devices.request.bind(hub.devices);
  hub.devices.request = (index, message, ...rest) => {
    onRequest?.(index, message.type);
    return request(index, message, ...rest);
  };

  const emit: Emit = (event, detail) => {
    if (event === 'log') logs.push(detail as LogEvent);
    if (event === 'plan') plans.push(detail as Plan);
  };

  /** Each end of a link to whoever uses it: device 0 is the host's page. */
  function give(device: number, link: Link): void {
    if (device === 0) {
      hub.addLink(link);
      return;
    }
    const { service } = devices.get(device) as PlayedDevice;
    if (link.peer === 0) service.setHost(link);
    service.addPeer(link);
  }

  async function connect(a: number, b: number): Promise<void> {
    const [low, high] = a < b ? [a, b] : [b, a];
    const link = await linked(low, high);
    const [first, second] = [devices.get(low), devices.get(high)];
    first?.links.set(high, link);
    second?.links.set(low, link);
    give(high, link.b);
    give(low, link.a);
  }

  /** Nothing passes any more; `a` and `b` notice in their own time. */
  function cut(link: Linked, a: number, b: number, notice: { a?: number; b?: number }): void {
    for (const channel of [...link.tensors, ...link.bulk]) {
      channel.held = true;
      channel.onmessage = undefined;
    }
    const close = (end: Link, other: number) =>
      end.close(new MeshError('lost', `Device ${other} is gone: played.`, other));
    if (notice.a !== undefined) setTimeout(() => close(link.a, b), notice.a);
    if (notice.b !== undefined) setTimeout(() => close(link.b, a), notice.b);
  }

  const chooser: BackendChooser = {
    measure: async () => ({ ...MEASURED, answers: [] }),
    choose: async () => ({ kind: 'wasm', measurement: MEASURED, notes: [] }),
  };

  return {
    hub,
    logs,
    plans,
    devices,
    async join(index, { makeBackend = wasmBackend, memoryLimit = 1e9, openStore = async () => undefined } = {}) {
      const service = createMemberService({
        self: index,
        about: async () => {
          const { kind, ...measured } = MEASURED;
          return { ...measured, backend: kind, memoryLimit };
        },
        makeBackend,
        openStore,
        openServerFiles: async () => model.file.source,
      });
      const device: PlayedDevice = { index, service, links: new Map() };
      const others = [0, ...devices.keys()];
      devices.set(index, device);
      for (const other of others) await connect(index, other);
      return device;
    },
    kill(index, noticedAfterMs = () => 0) {
      const device = devices.get(index);
      if (!device) throw new Error(`device ${index} is not here`);
      devices.delete(index);
      for (const [other, link] of device.links) {
        devices.get(other)?.links.delete(index);
        if (other < index) cut(link, other, index, { a: noticedAfterMs(other) });
        else cut(link, index, other, { b: noticedAfterMs(other) });
      }
      void device.service.close();
    },
    breakLink(a, b, againAfterMs = 5) {
      const [low, high] = a < b ? [a, b] : [b, a];
      const link = devices.get(high)?.links.get(low);
      if (!link) throw new Error(`there is no link from ${low} to ${high}`);
      cut(link, low, high, { a: 0, b: 1 });
      setTimeout(() => void connect(low, high), againAfterMs);
    },
    async load(given = {}, signal = new AbortController().signal) {
      session = await loadSession(
        {
          ...{ place: { file: new File([], model.file.source.name) }, backend: 'wasm', context: 256, wire: 'f32' },
          emulation: { defaultLimits: false, noWebGpu: false, slowdown: 1, delayMs: 0, noRtc: false },
          ...given,
        },
        {
          ...{ hub, emit, chooser },
          openModel: async () => model,
          backends: { wasm: own.makeBackend ?? wasmBackend, webgpu: () => Promise.reject(new Error('no WebGPU here')) },
          openStore: own.openStore ?? (async () => undefined),
          memoryLimit: { bytes: own.memoryLimit ?? 1e9, hard: own.memoryLimit !== undefined },
          replaces: false,
          makeRoom: async () => undefined,
          onState: () => undefined,
          onRecovered: () => undefined,
          recoverySignal: () => recovering.signal,
        },
        signal,
      );
      return session;
    },
    statuses() {
      const roster = [...devices.keys()].map(
        (index): Neighbour => ({
          ...{ index, id: String(index), name: `played ${index}`, browser: 'node' },
          ...{ online: true, link: 'webrtc', rttMs: 1 },
        }),
      );
      return deviceStatuses({ hub, roster, session, computing: false, browser: 'node' });
    },
    async close() {
      recovering.abort(new Error('the test is over'));
      recovering = new AbortController();
      await session?.close();
      for (const { service } of devices.values()) await service.close();
    },
  };
}
