/** `window.edgevisor` of the contribute page: enters the room of its link and lends this device. */
import { type Remote, transfer } from 'comlink';
import type { ContributeHandle, ContributeStatus } from '../api.ts';
import { browserName } from '../device/browser-name.ts';
import type { DeviceWorker } from '../device/device.worker.ts';
import { messageOf } from '../device/errors.ts';
import type { MemberStatus } from '../device/member/service.ts';
import { type PageOptions, pageOptions } from '../device/page-options.ts';
import { VERSION } from '../device/version.ts';
import type { About } from '../mesh/control.ts';
import { openPageMesh, type PageMesh, secretIn } from '../mesh/page-mesh.ts';
import { isSecret } from '../mesh/secret.ts';
import { count } from '../plan/ranges.ts';
import { startDevice } from './start-device.ts';
import { createWakeLock } from './wake-lock.ts';

/** How often the status is looked at while the device lends, in ms. */
const LOOK_MS = 500;
const NAME_KEY = 'edgevisor.device-name';

/**
 * Makes the handle. Opening a room's link is the consent to lend, so a page with one joins at once; but a page on plain
 * http, which could be far more on https, waits for `join()`.
 */
export function createContributeHandle(): ContributeHandle {
  const options = pageOptions(location.search, (text) => console.warn(text));
  const listeners = new Set<(status: ContributeStatus) => void>();
  const wakeLock = createWakeLock();
  const secret = secretIn(location.hash);
  let name = options.name ?? localStorage.getItem(NAME_KEY) ?? browserName(navigator.userAgent);
  let memory = options.memory;
  let lending: Lending | undefined;
  /** The entering that is under way: a second call joins it. */
  let joining: Promise<void> | undefined;
  let left = false;
  let problem: string | undefined;
  let looking: ReturnType<typeof setInterval> | undefined;

  async function status(): Promise<ContributeStatus> {
    const member = await lending?.worker.status();
    for (const note of (await lending?.worker.notes()) ?? []) problem = note;
    return statusOf({
      name,
      secret,
      left,
      problem,
      joining: joining !== undefined,
      lending,
      member,
      awake: wakeLock.held,
    });
  }

  async function tell(): Promise<void> {
    const now = await status();
    for (const listener of listeners) listener(now);
  }

  function join(given: { name?: string; memoryLimit?: number } = {}): Promise<void> {
    joining ??= enter(given).finally(() => {
      joining = undefined;
      void tell();
    });
    return joining;
  }

  async function enter(given: { name?: string; memoryLimit?: number }): Promise<void> {
    if (!secret || !isSecret(secret)) {
      problem = 'This page needs the link of a room: open the one that the host page shows.';
      throw new Error(problem);
    }
    if (lending) return;
    left = false;
    problem = undefined;
    void tell();
    if (given.name?.trim()) name = given.name.trim().slice(0, 64);
    memory = given.memoryLimit ?? memory;
    try {
      localStorage.setItem(NAME_KEY, name);
    } catch {
      // A browser that keeps nothing asks for the name again next time.
    }
    try {
      lending = await lend(secret, name, options, memory, () => void tell());
    } catch (error) {
      problem = messageOf(error);
      throw error;
    }
    wakeLock.hold();
    looking = setInterval(() => void tell(), LOOK_MS);
  }

  async function leave(): Promise<void> {
    const ending = lending;
    lending = undefined;
    left = true;
    clearInterval(looking);
    wakeLock.release();
    ending?.mesh.leave();
    ending?.close();
    await tell();
  }

  async function pause(paused: boolean): Promise<void> {
    if (!lending) return;
    lending.paused = paused;
    await lending.worker.setPaused(paused);
    await tell();
  }

  if (secret && isSecureContext) join().catch((error) => console.warn(error));

  return {
    version: VERSION,
    ready: new Promise((resolve) => {
      if (document.readyState !== 'loading') resolve();
      else document.addEventListener('DOMContentLoaded', () => resolve(), { once: true });
    }),
    status,
    join,
    leave,
    pause: () => pause(true),
    resume: () => pause(false),
    async setMemoryLimit(bytes) {
      memory = bytes;
      if (lending) lending.about = { ...lending.about, memoryLimit: Math.round(bytes) };
      await lending?.worker.setMemory(bytes);
      await tell();
    },
    on(_event, listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** A device that lends, or waits to. */
interface Lending {
  mesh: PageMesh;
  worker: Remote<DeviceWorker>;
  about: About;
  paused: boolean;
  close(): void;
}

async function lend(
  secret: string,
  name: string,
  options: PageOptions,
  memory: number | undefined,
  onChange: () => void,
): Promise<Lending> {
  const { backend = 'auto', threads, emulation } = options;
  const raw = new Worker(new URL('../device/device.worker.ts', import.meta.url), { type: 'module', name: 'device' });
  const { worker, about } = await startDevice(raw, {
    ...{ backend, emulation },
    ...(threads && { threads }),
    ...(memory && { memory }),
  });
  const mesh = await openPageMesh({
    ...{ secret, role: 'device', name, browser: browserName(navigator.userAgent), noRtc: emulation.noRtc },
    connect: (port, self) => void worker.connect(transfer(port, [port]), self),
  });
  mesh.on('change', onChange);
  return { mesh, worker, about, paused: false, close: () => raw.terminate() };
}

function statusOf(parts: {
  name: string;
  secret: string | undefined;
  left: boolean;
  problem: string | undefined;
  joining: boolean;
  lending: Lending | undefined;
  member: MemberStatus | undefined;
  awake: boolean;
}): ContributeStatus {
  const { name, secret, left, lending, member, awake } = parts;
  const room = lending?.mesh.room;
  const problem = room?.failure?.message ?? parts.problem;
  const host = lending?.mesh.neighbours().find(({ index }) => index === 0);
  const { share } = member ?? {};
  const { weights = 0, kv = 0, scratch = 0, warm = 0 } = member?.memory ?? {};
  return {
    state: stateOf(parts),
    ...(problem && { problem }),
    ...(room?.self !== undefined && { index: room.self }),
    name: room?.members.get(room.self ?? -1)?.name ?? name,
    backend: lending?.about.backend ?? '',
    threads: lending?.about.threads ?? 0,
    gmacs: lending?.about.gmacs ?? 0,
    memoryLimit: lending?.about.memoryLimit ?? 0,
    memoryUsed: weights + kv + scratch + warm,
    memoryWarm: warm,
    ...(member?.model && { model: member.model }),
    ...(share && { layers: share.layers }),
    heads: share ? count(share.qHeads) : 0,
    ffn: share ? count(share.ffn) : 0,
    loaded: member?.progress?.loaded ?? 0,
    total: member?.progress?.total ?? 0,
    tokens: member?.tokens ?? 0,
    link: host?.link ?? 'none',
    rttMs: host?.rttMs ?? 0,
    awake,
  };
  function stateOf({ problem: trouble, joining }: typeof parts): string {
    if (left) return 'left';
    if (!secret) return 'no-room';
    if (!room && joining) return 'connecting';
    if (!room) return trouble ? 'failed' : 'ready';
    if (room.state === 'closed')
      return room.failure?.code === 'removed' || room.failure?.code === 'refused' ? room.failure.code : 'failed';
    if (room.state === 'joined') return lending?.paused ? 'paused' : 'joined';
    return room.state;
  }
}
