/**
 * Conducts the devices of one model: brings a plan into being, replaces it by the next while text is generated, and
 * starts again with the devices that are left when one is lost. The generation loop sees one Runner all the while.
 */
import { DeviceError } from '../../device/backend.ts';
import type { Assignment, WireModel } from '../../mesh/control.ts';
import { MeshError } from '../../mesh/errors.ts';
import type { Link } from '../../mesh/link.ts';
import type { NumberType } from '../../mesh/wire.ts';
import type { HyperParameters } from '../../model/types.ts';
import { type DeviceChange, diffPlans } from '../../plan/diff.ts';
import { checkPlan } from '../../plan/inspect.ts';
import { nodesOf } from '../../plan/nodes.ts';
import type { Plan } from '../../plan/types.ts';
import type { Forwarded, Runner, Want } from '../runner.ts';
import { createTurns } from '../turns.ts';
import type { Devices } from './devices.ts';
import { createMeshRunner, type MeshRunner } from './mesh-runner.ts';

export interface ConductorOptions {
  model: WireModel;
  hyper: HyperParameters;
  devices: Devices;
  context: number;
  /** Positions in one batch of the members. */
  batch: number;
  wire: NumberType;
  verify: boolean;
  /** A plan holds from now on. */
  onPlan(plan: Plan): void;
  /** A forward pass is over. */
  onForward?(): void;
}

/** What a change of plan cost. */
export interface TransitionReport {
  epoch: number;
  weightMs: number;
  copyMs: number;
  commitMs: number;
  kvBytes: number;
  /** Position at which the new plan took over. */
  position: number;
}

export type TransitionPhase = 'preparing' | 'copying' | 'committed';

export interface Conductor {
  readonly plan: Plan | undefined;
  /** The same object under all plans. */
  readonly runner: Runner;
  /**
   * Makes a plan hold, whose epoch must be above the present one's. The present plan goes on until the switch; a
   * failure before it leaves everything as it was. Rejects with MeshError, DeviceError or the signal's reason.
   */
  apply(
    plan: Plan,
    options?: { signal?: AbortSignal; onPhase?(phase: TransitionPhase): void },
  ): Promise<TransitionReport>;
  /** Makes a plan hold from an empty KV cache, after the present one has broken. */
  restart(plan: Plan, signal?: AbortSignal): Promise<void>;
  /** Fails what runs: a device is lost or said that it cannot go on. */
  fail(error: DeviceError): void;
  /** The devices forget the model. */
  close(): void;
}

export function createConductor(options: ConductorOptions): Conductor {
  const { model, hyper, devices, context, batch, wire, verify, onPlan, onForward } = options;
  /** Who knows the model: a device that comes back, over another link, does not. */
  const told = new Map<number, Link>();
  const turns = createTurns();
  let plan: Plan | undefined;
  let current: MeshRunner | undefined;
  /** Positions whose KV the members hold. */
  let filled = 0;
  /** Lowest position written since a copy began. */
  let writtenFrom = Number.POSITIVE_INFINITY;

  const running = (): MeshRunner => {
    if (!current) throw new DeviceError('lost', 'No plan holds.');
    return current;
  };

  const runner: Runner = {
    context,
    get maxBatch() {
      return current?.maxBatch ?? batch;
    },
    vocab: hyper.vocab,
    forward: (ids: Uint32Array, position: number, want?: Want): Promise<Forwarded> =>
      turns.take(async () => {
        writtenFrom = Math.min(writtenFrom, position);
        const result = await running().forward(ids, position, want);
        filled = position + ids.length;
        onForward?.();
        return result;
      }),
    again: (want) => turns.take(() => running().again(want)),
  };

  function assignmentOf(device: number, next: Plan): Assignment {
    const { epoch, stages } = next;
    const index = stages.findIndex(({ members }) => members.some((member) => member.device === device));
    const settings = { epoch, wire, verify, context, maxBatch: batch };
    if (index < 0) return { ...settings, members: [], next: [] };
    const { layers, members } = stages[index];
    const member = members.find((one) => one.device === device) as (typeof members)[number];
    const names = (stage: Plan['stages'][number] | undefined) => stage?.members.map((one) => one.device) ?? [];
    const last = index === stages.length - 1;
    return {
      ...settings,
      share: {
        ...{ layers, qHeads: member.qHeads, ffn: member.ffn, vocab: member.vocab, head: last },
        embedding: index === 0 && members[0] === member,
      },
      members: names(stages[index]),
      ...(index > 0 && { previous: names(stages[index - 1])[0] }),
      next: names(stages[index + 1]),
    };
  }

  /** Devices of either plan, ascending; those that are gone have no part in what follows. */
  const concerned = (next: Plan): number[] => {
    const all = [...nodesOf(next), ...(plan ? nodesOf(plan) : [])].map(({ member }) => member.device);
    return [...new Set(all)].sort((a, b) => a - b);
  };

  function introduce(device: number): void {
    const link = devices.get(device)?.link;
    if (!link || told.get(device) === link) return;
    devices.send(device, { type: 'model', model });
    told.set(device, link);
  }

  const isMember = (device: number, of: Plan) => nodesOf(of).some(({ member }) => member.device === device);

  async function prepareAll(next: Plan, signal: AbortSignal | undefined): Promise<void> {
    const everyone = concerned(next).filter((device) => devices.get(device) || isMember(device, next));
    await Promise.all(
      everyone.map((device) => {
        introduce(device);
        const message = { type: 'prepare', assignment: assignmentOf(device, next) } as const;
        return devices.request(device, message, { type: 'prepared', epoch: next.epoch }, signal);
      }),
    );
  }

  function cancelAll(next: Plan): void {
    for (const device of concerned(next)) {
      if (devices.get(device)) devices.send(device, { type: 'cancel', epoch: next.epoch });
    }
  }

  /** Copies KV of positions [from, to) to those who will own it; gives the bytes. */
  async function copyKv(
    changes: DeviceChange[],
    next: Plan,
    from: number,
    to: number,
    signal?: AbortSignal,
  ): Promise<number> {
    if (to <= from) return 0;
    const copies: Promise<number>[] = [];
    for (const { device, kvNeeds } of changes) {
      for (const [source, heads] of bySource(kvNeeds)) {
        copies.push(
          devices.request(
            source,
            { type: 'send-kv', epoch: next.epoch, to: device, heads, range: [from, to] },
            { type: 'kv-received', epoch: next.epoch, at: device, from: source },
            signal,
          ),
        );
      }
    }
    return (await Promise.all(copies)).reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Everyone switches; the members of the old plan first stop, since its epoch's frames end here. */
  async function commitAll(next: Plan): Promise<void> {
    current?.close();
    await Promise.all(
      concerned(next)
        .filter((device) => devices.get(device))
        .map((device) =>
          devices.request(device, { type: 'commit', epoch: next.epoch }, { type: 'committed', epoch: next.epoch }),
        ),
    );
    plan = next;
    current = createMeshRunner({ plan: next, hyper, context, batch, link: (device) => devices.get(device)?.link });
    onPlan(next);
  }

  function check(next: Plan): void {
    const [fault] = checkPlan(next, hyper);
    if (fault) throw new MeshError('refused', `This plan cannot hold: ${fault}`);
    if (plan && next.epoch <= plan.epoch)
      throw new MeshError('refused', `Epoch ${next.epoch} is not above ${plan.epoch}.`);
  }

  async function apply(
    next: Plan,
    { signal, onPhase }: Parameters<Conductor['apply']>[1] = {},
  ): Promise<TransitionReport> {
    check(next);
    const clock = createClock();
    let kvBytes = 0;
    try {
      onPhase?.('preparing');
      await prepareAll(next, signal);
      const weightMs = clock();
      onPhase?.('copying');
      const changes = plan ? diffPlans(plan, next, hyper) : [];
      const copied = filled;
      writtenFrom = Number.POSITIVE_INFINITY;
      kvBytes += await copyKv(changes, next, 0, copied, signal);
      const copyMs = clock();
      // The tail and the switch, between two forward passes.
      await turns.take(async () => {
        signal?.throwIfAborted();
        kvBytes += await copyKv(changes, next, Math.min(copied, writtenFrom), filled, signal);
        await commitAll(next);
      });
      onPhase?.('committed');
      return { epoch: next.epoch, weightMs, copyMs, commitMs: clock(), kvBytes, position: filled };
    } catch (error) {
      if (plan !== next) cancelAll(next);
      throw error;
    }
  }

  return {
    get plan() {
      return plan;
    },
    runner,
    apply,
    async restart(next, signal) {
      check(next);
      current?.close();
      current = undefined;
      filled = 0;
      try {
        await prepareAll(next, signal);
        await commitAll(next);
      } catch (error) {
        cancelAll(next);
        throw error;
      }
    },
    fail(error) {
      current?.fail(error);
    },
    close() {
      current?.close();
      current = undefined;
      for (const [device, link] of told)
        if (devices.get(device)?.link === link) devices.send(device, { type: 'unload' });
      told.clear();
    },
  };
}

/** The KV that each source sends: the first of those that hold it. */
function bySource(needs: DeviceChange['kvNeeds']): Map<number, { layer: number; kvHead: number }[]> {
  const heads = new Map<number, { layer: number; kvHead: number }[]>();
  for (const { layer, kvHead, sources } of needs) {
    const [source] = sources;
    if (source === undefined) throw new MeshError('lost', `Nobody holds the KV of head ${kvHead} in layer ${layer}.`);
    const list = heads.get(source) ?? [];
    list.push({ layer, kvHead });
    heads.set(source, list);
  }
  return heads;
}

/** Milliseconds since the last call. */
function createClock(): () => number {
  let last = performance.now();
  return () => {
    const now = performance.now();
    const passed = now - last;
    last = now;
    return passed;
  };
}
