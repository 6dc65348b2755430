/**
 * Brings a plan back to life after a device has failed or gone: with the devices that are left, from an empty KV cache.
 * One repair at a time, begun by whoever finds the damage first; the generation loop then replays its tokens.
 */
import { DeviceError } from '../../device/backend.ts';
import { codeOf, messageOf } from '../../device/errors.ts';
import type { OwnBackend } from '../../device/own-backend.ts';
import { MeshError } from '../../mesh/errors.ts';
import type { Link } from '../../mesh/link.ts';
import type { HyperParameters } from '../../model/types.ts';
import type { Plan } from '../../plan/types.ts';
import type { Conductor } from './conductor.ts';
import { type Hub, OWN } from './hub.ts';
import { devicesOf, planFor, planWithout } from './layout.ts';

export interface HealOptions {
  hub: Hub;
  conductor: Conductor;
  hyper: HyperParameters;
  own: OwnBackend;
  /** Puts this page's device into the mesh anew, with the backend that `own` has now. */
  renewOwn(): Promise<void>;
  /** Devices that may compute, ascending. */
  candidates(): number[];
  log(level: 'info' | 'warn', text: string, code?: string): void;
}

export interface Healer {
  /** Resolves when a plan holds again. Rejects with DeviceError when nothing is left to try, or the signal's reason. */
  heal(failure: DeviceError, signal: AbortSignal): Promise<void>;
  /** A link to a device has closed: the reason is what people are told. */
  noteLoss(device: number, reason: MeshError): void;
  /** Whether a device is here and has not failed again and again. */
  isUsable(device: number): boolean;
}

/** Failures of a device, or of the links to it, after which plans do without it until it comes back anew. */
const MOST_FAULTS = 2;
/** Plans that one repair tries. */
const MOST_TRIES = 8;
/** How long a mesh without any device waits for one, in ms. */
const PATIENCE_MS = 30_000;

export function createHealer(options: HealOptions): Healer {
  const { hub, conductor, hyper, own, renewOwn, candidates, log } = options;
  const { devices } = hub;
  const faults = new WeakMap<Link, number>();
  const losses = new Map<number, MeshError>();
  let ownFailed = false;
  let healing: Promise<void> | undefined;

  function isUsable(device: number): boolean {
    const link = devices.get(device)?.link;
    if (!link || hub.distrusted.has(device)) return false;
    return device === OWN ? !ownFailed : (faults.get(link) ?? 0) < MOST_FAULTS;
  }

  /** Counts a failure of another device that is still there. */
  function blame(cause: unknown): void {
    const device = deviceOf(cause);
    const link = device === undefined || device === OWN ? undefined : devices.get(device)?.link;
    if (!link || codeOf(cause) === 'diverged') return;
    const count = (faults.get(link) ?? 0) + 1;
    faults.set(link, count);
    log('warn', `Device ${device} failed: ${messageOf(cause)}`, codeOf(cause));
    if (hub.distrusted.has(device as number)) {
      const advice = 'Remove it from the room if you do not know it.';
      log('warn', `Nothing more is asked of device ${device}. ${advice}`, codeOf(cause));
    } else if (count === MOST_FAULTS) log('warn', `Plans do without device ${device} until it joins anew.`, 'lost');
  }

  /** This page's device failed: another backend, or none. Rejects where it was the last device. */
  async function replaceOwn(cause: unknown, first: boolean): Promise<void> {
    const failure = cause instanceof DeviceError ? cause : new DeviceError(codeOf(cause), messageOf(cause));
    const { description = 'This device' } = own.measurement ?? {};
    const [kind] = own.alternatives(failure);
    if (first) log('warn', `${description} failed: ${failure.message}`, failure.code);
    else log('warn', `${description} could not take over: ${failure.message}`, failure.code);
    if (kind) {
      await own.use(kind);
      await renewOwn();
      return;
    }
    ownFailed = true;
    if (candidates().some(isUsable)) return;
    const text = `This device can compute no more: ${failure.message} Load the model again.`;
    throw new DeviceError(failure.code, text, { cause: failure });
  }

  async function nextPlan(plan: Plan, signal: AbortSignal): Promise<Plan> {
    const epoch = plan.epoch + 1;
    const lost = new Set(devicesOf(plan).filter((device) => !isUsable(device)));
    if (lost.size === 0) return { ...plan, epoch };
    return planWithout(plan, lost, hyper, epoch) ?? planFor('1', hyper, await anyone(signal), epoch);
  }

  /** Devices outside the plan, when all of the plan's are lost. */
  async function anyone(signal: AbortSignal): Promise<number[]> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const here = candidates().filter(isUsable);
      if (here.length > 0) return here;
      const rest = deadline - performance.now();
      if (rest <= 0) {
        const text = 'No device is left that could compute. Open the room’s link on one and load the model again.';
        throw new DeviceError('lost', text);
      }
      await hub
        .change(AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(rest))]))
        .catch(() => signal.throwIfAborted());
    }
  }

  async function repair(failure: DeviceError, signal: AbortSignal): Promise<void> {
    const before = conductor.plan as Plan;
    const told = new Set<number>();
    let cause: unknown = failure;
    for (let tries = 0; ; tries++) {
      if (deviceOf(cause) === OWN) await replaceOwn(cause, tries === 0);
      else blame(cause);
      for (const device of devicesOf(before)) {
        if (devices.get(device) || told.has(device)) continue;
        told.add(device);
        log('warn', losses.get(device)?.message ?? `Device ${device} is gone.`, 'lost');
      }
      const next = await nextPlan(before, signal);
      try {
        await conductor.restart(next, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (tries + 1 >= MOST_TRIES) throw error;
        cause = error;
        continue;
      }
      log('info', outcome(before, next));
      return;
    }
  }

  function outcome(before: Plan, next: Plan): string {
    const [had, has] = [before, next].map((plan) => devicesOf(plan).length);
    if (had === 1 && has === 1 && devicesOf(next)[0] === OWN) {
      return `The conversation goes on with ${own.measurement?.description ?? 'this device'}.`;
    }
    return `The conversation goes on with ${has} of ${had} devices.`;
  }

  return {
    heal(failure, signal) {
      healing ??= repair(failure, signal).finally(() => {
        healing = undefined;
      });
      return healing;
    },
    noteLoss: (device, reason) => losses.set(device, reason),
    isUsable,
  };
}

/** Who is to blame for a failure. Numbers that are none come from this page's device, where nobody else is named. */
function deviceOf(cause: unknown): number | undefined {
  if (cause instanceof MeshError) return cause.device;
  if (cause instanceof DeviceError) {
    if (cause.cause !== undefined) return deviceOf(cause.cause);
    return cause.code === 'wrong-numbers' ? OWN : undefined;
  }
  return undefined;
}
