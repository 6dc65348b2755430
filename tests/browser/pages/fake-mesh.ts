/**
 * The fake handle of the host page with a mesh of devices that are not there: plans and previews are real, computed by
 * `web/plan`; moves go through their phases as the test says. `window.fakeMeshOptions` is set before the page starts;
 * `window.fakeMesh` is what a test reads and pulls.
 */
import type {
  DeviceStatus,
  EdgeVisor,
  EventDetails,
  EventName,
  Knock,
  LoadInfo,
  MeshHandle,
  Migration,
  MoveReport,
  Plan,
  PlanPreview,
  RoomInfo,
} from '../../../web/api.ts';
import { planFor } from '../../../web/host/mesh/layout.ts';
import type { HyperParameters } from '../../../web/model/types.ts';
import { diffPlans } from '../../../web/plan/diff.ts';
import { planBytes } from '../../../web/plan/holdings.ts';
import { applyMove } from '../../../web/plan/moves.ts';
import type { ModelShape } from '../../../web/plan/shape.ts';
import { matrixSize } from '../../../web/plan/shape.ts';
import { installHandle as installFake } from './fake-handle.ts';

export interface FakeMeshOptions {
  /** Devices besides the host; two by default. */
  others?: Partial<DeviceStatus>[];
  ratios?: string;
  link?: string;
  roomState?: string;
  ask?: boolean;
  failRoom?: string;
  failRatios?: string;
  failRename?: string;
  /** Moves wait in this state until the option is changed. */
  holdMoveAt?: MoveReport['state'];
  failMove?: string;
}

export interface FakeMesh {
  /** What the page asked for: names of methods and their arguments. */
  calls: [method: string, ...args: unknown[]][];
  options: FakeMeshOptions;
  knock(knock: Knock): void;
  /** Changes a device, and says so. */
  device(index: number, change: Partial<DeviceStatus>): void;
  roomState(state: string): void;
}

declare global {
  interface Window {
    fakeMeshOptions?: FakeMeshOptions;
    fakeMesh: FakeMesh;
  }
}

/** SmolLM2-135M. */
const SHAPE: ModelShape = { layers: 30, dim: 576, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536, vocab: 49152 };
/** Q4_1: 20 bytes for 32 weights. */
const BYTES_PER_WEIGHT = 20 / 32;
const POSITIONS = 2048;
const SIZES = {
  matrixBytes: (role: Parameters<typeof matrixSize>[0]) => {
    const { rows, cols } = matrixSize(role, SHAPE);
    return rows * cols * BYTES_PER_WEIGHT;
  },
  positions: POSITIONS,
  embedding: { device: 0, tied: true },
};

const HOST: DeviceStatus = {
  ...{ index: 0, id: 'self', name: 'Desk', self: true, state: 'ready', browser: 'Chrome 140', backend: 'webgpu' },
  ...{
    threads: 2,
    gmacs: 9.1,
    readbackMs: 1.2,
    memoryLimit: 4e9,
    memoryUsed: 0,
    memoryWarm: 0,
    weightBytes: 0,
    kvBytes: 0,
  },
  ...{ link: 'self', rttMs: 0, bytesSent: 0, bytesReceived: 0, tokens: 412 },
};

const OTHERS: Partial<DeviceStatus>[] = [
  {
    ...{ name: 'Laptop', browser: 'Chrome 140', backend: 'webgpu', threads: 8, gmacs: 13.4, rttMs: 3.2, tokens: 402 },
    memoryWarm: 12e6,
  },
  { name: 'Anna’s phone', browser: 'Firefox 141', backend: 'wasm', threads: 4, gmacs: 13.9, rttMs: 18, link: 'relay' },
];

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10));

export function installHandle(): EdgeVisor {
  const base = installFake();
  const options: FakeMeshOptions = window.fakeMeshOptions ?? {};
  const calls: FakeMesh['calls'] = [];
  const listeners = new Map<EventName, Set<(detail: never) => void>>();
  const emit = <E extends EventName>(event: E, detail: EventDetails[E]): void => {
    for (const listener of listeners.get(event) ?? []) {
      (listener as (detail: EventDetails[E]) => void)(structuredClone(detail));
    }
  };

  let devices = [{}, ...(options.others ?? OTHERS)].map(
    (given, index): DeviceStatus => ({
      ...HOST,
      ...(index > 0 && { index, id: `id${index}`, self: false, link: 'webrtc', tokens: 0, memoryLimit: 1e9 }),
      ...given,
    }),
  );
  let room: RoomInfo | undefined;
  let info: LoadInfo | undefined;
  let plan: Plan | undefined;
  const moves: MoveReport[] = [];

  const changeRoom = (change: Partial<RoomInfo>): void => {
    if (!room) return;
    room = { ...room, ...change };
    emit('room', room);
  };
  const present = (): Plan => {
    if (!plan) throw Object.assign(new Error('No model is loaded.'), { code: 'no-model' });
    return plan;
  };
  const planOf = (ratios: string): Plan => {
    const computing = devices.filter(({ state }) => state !== 'gone').map(({ index }) => index);
    return planFor(ratios, SHAPE as HyperParameters, computing, (plan?.epoch ?? 0) + 1);
  };
  const previewOf = (next: Plan): PlanPreview => ({ plan: next, devices: planBytes(next, SHAPE, SIZES) });
  const adopt = (next: Plan): void => {
    plan = next;
    const bytes = new Map(planBytes(next, SHAPE, SIZES).map((one) => [one.device, one]));
    devices = devices.map((device) => {
      const { weightBytes = 0, kvBytes = 0 } = bytes.get(device.index) ?? {};
      const { memoryWarm } = device;
      return { ...device, weightBytes, kvBytes, memoryUsed: weightBytes + kvBytes + memoryWarm };
    });
    emit('plan', next);
  };
  const knockAnswered = (id: string): void =>
    changeRoom({ knocks: room?.knocks.filter((knock) => knock.id !== id) ?? [] });
  const afterMove = (move: Migration): Plan => {
    const result = applyMove(present(), move as Parameters<typeof applyMove>[1], SHAPE);
    if ('refused' in result) throw Object.assign(new Error(result.refused), { code: 'refused' });
    return result.plan;
  };

  const mesh: MeshHandle = {
    async room() {
      calls.push(['room']);
      if (options.failRoom !== undefined) throw new Error(options.failRoom);
      const { link = `${location.origin}/#room=abcdefghijklmnopqrstuv`, roomState = 'joined', ask = false } = options;
      room ??= { id: 'r1', link, state: roomState, ask, knocks: [] };
      return room;
    },
    async setAsk(ask) {
      calls.push(['setAsk', ask]);
      changeRoom({ ask });
    },
    async admit(id) {
      calls.push(['admit', id]);
      knockAnswered(id);
    },
    async refuse(id) {
      calls.push(['refuse', id]);
      knockAnswered(id);
    },
    async renameDevice(index, name) {
      calls.push(['renameDevice', index, name]);
      if (options.failRename !== undefined) throw new Error(options.failRename);
      window.fakeMesh.device(index, { name });
    },
    async removeDevice(index) {
      calls.push(['removeDevice', index]);
      window.fakeMesh.device(index, { state: 'gone' });
    },
    async pauseDevice(index, paused) {
      calls.push(['pauseDevice', index, paused]);
      window.fakeMesh.device(index, { state: paused ? 'paused' : 'ready' });
    },
    async previewRatios(ratios) {
      return previewOf(planOf(ratios));
    },
    async setRatios(ratios) {
      calls.push(['setRatios', ratios]);
      if (options.failRatios !== undefined) throw new Error(options.failRatios);
      const next = planOf(ratios);
      adopt(next);
      return { epoch: next.epoch, plan: next };
    },
    async previewMove(move) {
      return previewOf(afterMove(move));
    },
    async migrate(move, given) {
      calls.push(['migrate', move]);
      const { signal } = given ?? {};
      const report: MoveReport = {
        ...{ id: moves.length + 1, state: 'queued', epoch: 0, weightBytes: 0, kvBytes: 0, move },
        ...{ prepareMs: 0, copyMs: 0, commitMs: 0, position: 0, longestGapMs: 0 },
      };
      moves.push(report);
      const tell = (change: Partial<MoveReport>): void => {
        Object.assign(report, change);
        emit('move', report);
      };
      const phase = async (change: Partial<MoveReport>): Promise<void> => {
        tell(change);
        do await pause();
        while (options.holdMoveAt === report.state && !signal?.aborted);
        signal?.throwIfAborted();
      };
      try {
        await phase({});
        const next = afterMove(move);
        const lacks = diffPlans(present(), next, SHAPE, SIZES.embedding);
        const after = new Map(planBytes(next, SHAPE, SIZES).map((one) => [one.device, one]));
        const gained = devices.map(({ index, weightBytes }) =>
          Math.max(0, (after.get(index)?.weightBytes ?? 0) - weightBytes),
        );
        await phase({ state: 'preparing', weightBytes: gained.reduce((sum, bytes) => sum + bytes, 0) });
        const kvHeads = lacks.reduce((sum, { kvNeeds }) => sum + kvNeeds.length, 0);
        await phase({ state: 'copying', kvBytes: kvHeads * 400 * 264, prepareMs: 132 });
        if (options.failMove !== undefined) throw Object.assign(new Error(options.failMove), { code: 'lost' });
        adopt(next);
        tell({ state: 'committed', epoch: next.epoch, copyMs: 41, commitMs: 3.4, position: 400, longestGapMs: 38 });
        return structuredClone(report);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        const refused = error instanceof Error && 'code' in error && error.code === 'refused';
        tell({ state: signal?.aborted ? 'cancelled' : refused ? 'refused' : 'failed', error: message });
        throw error;
      }
    },
  };

  window.fakeMesh = {
    calls,
    options,
    knock: (knock) => changeRoom({ knocks: [...(room?.knocks ?? []), knock] }),
    device(index, change) {
      devices = devices.map((device) => (device.index === index ? { ...device, ...change } : device));
      const changed = devices[index];
      if (changed) emit('device', changed);
    },
    roomState: (state) => changeRoom({ state }),
  };

  const handle: EdgeVisor = {
    ...base,
    ...mesh,
    async load(given) {
      const loaded = await base.load(given);
      adopt(planOf(options.ratios ?? devices.map(() => 1).join(':')));
      info = { ...loaded, plan: present(), shape: SHAPE };
      return info;
    },
    async unload() {
      await base.unload();
      info = undefined;
      plan = undefined;
    },
    async status() {
      const { state } = await base.status();
      return structuredClone({ state, devices, moves, ...(info && { model: info }), ...(plan && { plan }) });
    },
    on(event, listener) {
      const own = listeners.get(event) ?? new Set();
      listeners.set(event, own);
      own.add(listener as (detail: never) => void);
      const off = base.on(event, listener);
      return () => {
        own.delete(listener as (detail: never) => void);
        off();
      };
    },
  };
  window.edgevisor = handle;
  return handle;
}
