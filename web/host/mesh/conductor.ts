/**
 * Conducts the devices of one model: brings a plan into being, replaces it by the next while text is generated, and
 * starts again with the devices that are left when one is lost. The generation loop sees one Runner all the while.
 */
import { DeviceError } from '../../device/backend.ts';
import { createTurns } from '../../device/turns.ts';
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
  /** The devices time every operation. */
  profile?: boolean;
  /** A plan holds from now on. */
  onPlan(plan: Plan): void;
  /** A forward pass over `count` tokens from `position` on is over. */
  onForward?(position: number, count: number): void;
}

/** Positions whose KV may follow while tokens wait for the switch. */
const FEW_POSITIONS = 2;
/** Copies of what was added during the copy before, while tokens go on; a link slower than the tokens would never catch up. */
const MOST_CATCH_UPS = 4;

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

/** A layer of the token at a position. */
export interface SwitchPoint {
  position: number;
  layer: number;
}

export interface ApplyOptions {
  signal?: AbortSignal | undefined;
  /**
   * Where the plan takes over: before this layer of the token at this position. Without it, between two forward
   * passes, as soon as everything is there; so also when the position has passed by then.
   */
  exact?: SwitchPoint | undefined;
  onPhase?(phase: TransitionPhase): void;
}

export interface Conductor {
  readonly plan: Plan | undefined;
  /** The plan cannot go on, or a switch to the next one failed halfway: only `restart` helps. */
  readonly broken: boolean;
  /** The same object under all plans. */
  readonly runner: Runner;
  /**
   * Makes a plan hold, whose epoch must be above the present one's. The present plan goes on until the switch; a
   * failure before it leaves everything as it was. Rejects with MeshError, DeviceError or the signal's reason.
   */
  apply(plan: Plan, options?: ApplyOptions): Promise<TransitionReport>;
  /**
   * Makes a plan hold from an empty KV cache, after the present one has broken. A plan whose epoch was tried before gets
   * another one. Rejects as `apply`.
   */
  restart(plan: Plan, signal?: AbortSignal): Promise<void>;
  /** Fails what runs: a device is lost or said that it cannot go on. */
  fail(error: DeviceError): void;
  /** The devices forget the model. */
  close(): void;
}

export function createConductor(options: ConductorOptions): Conductor {
  const { model, hyper, devices, context, batch, wire, verify, profile = false, onPlan, onForward } = options;
  /** Who knows the model: a device that comes back, over another link, does not. */
  const told = new Map<number, Link>();
  const turns = createTurns();
  let plan: Plan | undefined;
  let current: MeshRunner | undefined;
  /** Why the plan cannot go on. */
  let broken: DeviceError | undefined;
  let closed = false;
  /** Positions whose KV the members hold. */
  let filled = 0;
  /** Lowest position written since a copy began. */
  let writtenFrom = Number.POSITIVE_INFINITY;
  /** The last pass that had candidates, and who holds its logits. */
  let answered: { ids: Uint32Array; position: number; by: MeshRunner } | undefined;

  const running = (): MeshRunner => {
    if (broken) throw broken;
    if (!current) throw new DeviceError('lost', 'No plan holds.');
    return current;
  };

  /** Waits for its position to come. */
  let appointment: Appointment | undefined;
  /** Ends a switch that is under way within a token. */
  let interrupt: ((error: DeviceError) => void) | undefined;

  /** One forward pass under the present plan. */
  async function pass(ids: Uint32Array, position: number, want?: Want): Promise<Forwarded> {
    if (ids.length === 0) return { candidates: [] };
    // After a restart nobody holds what came before: the loop replays it.
    if (position > filled) throw new DeviceError('lost', 'The devices started again, from an empty KV cache.');
    writtenFrom = Math.min(writtenFrom, position);
    const result = await running().forward(ids, position, want);
    filled = position + ids.length;
    if (want) answered = { ids: ids.slice(), position, by: running() };
    onForward?.(position, ids.length);
    return result;
  }

  /** After a change of plan the logits are gone: the last tokens are computed again, which leaves the KV as it is. */
  async function again(want: Want): Promise<Forwarded> {
    const current = running();
    if (!answered || answered.by === current) return current.again(want);
    const { ids, position } = answered;
    const skipped = want.positions === 'last' ? ids.length - 1 : 0;
    writtenFrom = Math.min(writtenFrom, position + skipped);
    const result = await current.forward(ids.subarray(skipped), position + skipped, want);
    answered.by = current;
    return result;
  }

  /** A forward pass in which the plan changes at a layer of one of its tokens. */
  async function passWithSwitch(
    { point, within }: Appointment,
    ids: Uint32Array,
    position: number,
    want?: Want,
  ): Promise<Forwarded> {
    const at = point.position - position;
    const wantIf = (last: boolean) => (want?.positions === 'all' || last ? want : undefined);
    const before = await pass(ids.subarray(0, at), position, wantIf(false));
    writtenFrom = Math.min(writtenFrom, point.position);
    const switched = await within(ids.subarray(at, at + 1), wantIf(at === ids.length - 1));
    filled = point.position + 1;
    if (want) answered = { ids: ids.slice(at, at + 1), position: point.position, by: running() };
    onForward?.(point.position, 1);
    const after = await pass(ids.subarray(at + 1), point.position + 1, want);
    const { full } = after.full ? after : switched;
    return {
      candidates: [...before.candidates, ...switched.candidates, ...after.candidates],
      ...(full && { full }),
    };
  }

  const runner: Runner = {
    context,
    get maxBatch() {
      return current?.maxBatch ?? batch;
    },
    vocab: hyper.vocab,
    forward: (ids: Uint32Array, position: number, want?: Want): Promise<Forwarded> =>
      turns.take(async () => {
        const due = appointment;
        if (!due || due.point.position >= position + ids.length) return pass(ids, position, want);
        appointment = undefined;
        if (due.point.position >= position) return passWithSwitch(due, ids, position, want);
        await due.now();
        return pass(ids, position, want);
      }),
    again: (want) => turns.take(() => again(want)),
  };

  function assignmentOf(device: number, next: Plan): Assignment {
    const { epoch, stages } = next;
    const index = stages.findIndex(({ members }) => members.some((member) => member.device === device));
    const settings = { epoch, wire, verify, profile, context, maxBatch: batch };
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

  /**
   * Everyone switches; the members of the old plan first stop, since its epoch's frames end here. When one does not come
   * along, some have switched and some have not: then nothing runs any more.
   */
  async function commitAll(next: Plan): Promise<void> {
    current?.close();
    current = undefined;
    broken = undefined;
    try {
      await Promise.all(
        concerned(next)
          .filter((device) => devices.get(device))
          .map((device) =>
            devices.request(device, { type: 'commit', epoch: next.epoch }, { type: 'committed', epoch: next.epoch }),
          ),
      );
      const gone = nodesOf(next).find(({ member: { device } }) => !devices.get(device))?.member.device;
      if (gone !== undefined) throw new MeshError('lost', `Device ${gone} is gone.`, gone);
      // Said by a device that had switched before the others.
      throwIfBroken();
      current = createMeshRunner({ plan: next, hyper, context, batch, link: (device) => devices.get(device)?.link });
    } catch (error) {
      broken ??=
        error instanceof DeviceError ? error : new DeviceError('lost', (error as Error).message, { cause: error });
      throw error;
    }
    plan = next;
    onPlan(next);
  }

  function throwIfBroken(): void {
    if (broken) throw broken;
  }

  /** The plan as it may be tried: its epoch is one that no device has heard of before. */
  function checked(next: Plan): Plan {
    if (closed) throw new MeshError('closed', 'The model was unloaded.');
    const [fault] = checkPlan(next, hyper);
    if (fault) throw new MeshError('refused', `This plan cannot hold: ${fault}`);
    if (plan && next.epoch <= plan.epoch)
      throw new MeshError('refused', `Epoch ${next.epoch} is not above ${plan.epoch}.`);
    return { ...next, epoch: devices.claimEpoch(next.epoch) };
  }

  async function apply(wanted: Plan, { signal, exact, onPhase }: ApplyOptions = {}): Promise<TransitionReport> {
    if (exact) checkExact(plan, wanted, exact);
    const next = checked(wanted);
    const before = plan;
    const clock = createClock();
    let kvBytes = 0;
    try {
      onPhase?.('preparing');
      await prepareAll(next, signal);
      const weightMs = clock();
      onPhase?.('copying');
      const changes = plan ? diffPlans(plan, next, hyper) : [];
      let copied = 0;
      writtenFrom = Number.POSITIVE_INFINITY;
      /** First position whose KV the receivers lack. */
      const lacking = () => Math.min(copied, writtenFrom);
      /** The positions to copy next. Between two passes: one that runs may be writing over earlier positions. */
      const takeRange = (end: number): [from: number, end: number] => {
        const from = lacking();
        writtenFrom = Number.POSITIVE_INFINITY;
        copied = end;
        return [from, end];
      };
      for (let copies = 0; copies === 0 || (copies <= MOST_CATCH_UPS && filled - lacking() > FEW_POSITIONS); copies++) {
        const range = await turns.take(async () => takeRange(filled));
        kvBytes += await copyKv(changes, next, ...range, signal);
      }
      const copyMs = clock();
      /** What has been added since, up to `end`, and the switch. */
      const finish = async (end: number) => {
        signal?.throwIfAborted();
        throwIfBroken();
        if (plan !== before) throw new MeshError('lost', 'A device was lost, and the plan changed meanwhile.');
        kvBytes += await copyKv(changes, next, ...takeRange(end), signal);
        await commitAll(next);
      };
      if (exact) await keepAppointment(next, exact, finish, signal);
      else await turns.take(() => finish(filled));
      onPhase?.('committed');
      return { epoch: next.epoch, weightMs, copyMs, commitMs: clock(), kvBytes, position: exact?.position ?? filled };
    } catch (error) {
      if (plan !== next) cancelAll(next);
      throw error;
    }
  }

  /** Leaves the switch to the forward pass that comes to the point; resolves when it is done. */
  function keepAppointment(
    next: Plan,
    point: SwitchPoint,
    finish: (end: number) => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const settled = async <T>(work: () => Promise<T>): Promise<T> => {
        signal?.removeEventListener('abort', abort);
        try {
          const result = await work();
          resolve();
          return result;
        } catch (error) {
          reject(error);
          throw error instanceof DeviceError
            ? error
            : new DeviceError('lost', (error as Error).message, { cause: error });
        }
      };
      const mine: Appointment = {
        point,
        now: () => settled(() => finish(filled)),
        within: (id, want) =>
          settled(() =>
            point.layer === 0 ? switchBefore(point, finish, id, want) : switchWithin(next, point, finish, id, want),
          ),
      };
      const abort = () => {
        if (appointment !== mine) return;
        appointment = undefined;
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort);
      appointment = mine;
    });
  }

  /** Nothing of the token has been computed yet, so that layers and whole devices can change too. */
  async function switchBefore(
    { position }: SwitchPoint,
    finish: (end: number) => Promise<void>,
    id: Uint32Array,
    want: Want | undefined,
  ): Promise<Forwarded> {
    await finish(position);
    return running().forward(id, position, want);
  }

  /** The old plan's members stop before the layer and keep the residual; the new plan's go on from there. */
  async function switchWithin(
    next: Plan,
    { position, layer }: SwitchPoint,
    finish: (end: number) => Promise<void>,
    id: Uint32Array,
    want: Want | undefined,
  ): Promise<Forwarded> {
    const { epoch } = plan as Plan;
    const stage = next.stages.find(({ layers }) => layer >= layers[0] && layer < layers[1]) as Plan['stages'][number];
    const members = stage.members.map(({ device }) => device);
    const hold = { type: 'hold', epoch, position, layer } as const;
    await Promise.all(members.map((device) => devices.request(device, hold, { type: 'holding', epoch })));
    const held = members.map((device) => devices.expect(device, { type: 'held', epoch }));
    const broken = new Promise<never>((_, reject) => {
      interrupt = reject;
    });
    running().start(id, position);
    try {
      await Promise.race([Promise.all(held), broken]);
    } finally {
      interrupt = undefined;
      // Those that never come must not count as unhandled.
      for (const one of held) one.catch(() => undefined);
    }
    await finish(position + 1);
    return running().resume(members, position, want);
  }

  return {
    get plan() {
      return plan;
    },
    runner,
    get broken() {
      return broken !== undefined;
    },
    apply,
    restart: (wanted, signal) =>
      // Not while a switch to another plan is under way, which ends now that the plan has broken.
      turns.take(async () => {
        const next = checked(wanted);
        current?.close();
        current = undefined;
        filled = 0;
        try {
          await prepareAll(next, signal);
          signal?.throwIfAborted();
          await commitAll(next);
        } catch (error) {
          cancelAll(next);
          throw error;
        }
      }),
    fail(error) {
      broken ??= error;
      current?.fail(error);
      interrupt?.(error);
    },
    close() {
      closed = true;
      current?.close();
      current = undefined;
      for (const [device, link] of told)
        if (devices.get(device)?.link === link) devices.send(device, { type: 'unload' });
      told.clear();
    },
  };
}

/** A change of plan that waits for a token. */
interface Appointment {
  point: SwitchPoint;
  /** Switches between two passes, since the point has been missed. */
  now(): Promise<void>;
  /** Forwards the point's token and switches within it. */
  within(id: Uint32Array, want: Want | undefined): Promise<Forwarded>;
}

/** In the middle of a token only shares can change: the residual that is held belongs to a stage and its members. */
function checkExact(plan: Plan | undefined, next: Plan, { layer }: SwitchPoint): void {
  const outline = (of: Plan) =>
    JSON.stringify(of.stages.map(({ layers, members }) => [layers, members.map(({ device }) => device)]));
  if (!plan || (layer > 0 && outline(plan) !== outline(next))) {
    const text = 'In the middle of a token only heads and FFN columns can move. Layers and devices change at layer 0.';
    throw new MeshError('refused', text);
  }
  if (!plan.stages.some(({ layers }) => layer >= layers[0] && layer < layers[1])) {
    throw new MeshError('refused', `The model has no layer ${layer}.`);
  }
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
