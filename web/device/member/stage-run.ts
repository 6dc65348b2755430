/**
 * One member's life under one plan: takes batches as they come, computes its part of them, hands on what it has made.
 * Batches go one after another; several may wait, which is how a prefill keeps all stages busy.
 */
import { type AllReduce, createAllReduce } from '../../mesh/all-reduce.ts';
import type { Assignment } from '../../mesh/control.ts';
import { MeshError } from '../../mesh/errors.ts';
import { createFrameBuffer, type Frame, type FrameBuffer, FrameError, Kind } from '../../mesh/frames.ts';
import type { Link } from '../../mesh/link.ts';
import { allFinite, decode, encode, type NumberType, wireBytes } from '../../mesh/wire.ts';
import type { Range } from '../../plan/types.ts';
import type { Step } from '../backend.ts';
import { decodeBest, type Selection } from '../best.ts';
import { selectCandidates } from '../candidates.ts';
import type { Executor } from '../executor.ts';
import { ALONE, type Exchange, type LayerWatch, runStage, type Watcher } from '../member.ts';
import { asTokens } from '../pace.ts';
import { runTimed } from '../run-timed.ts';
import type { Forwarded, Want } from '../want.ts';
import { createLayerTimes, type LayerTime } from './layer-times.ts';
import type { OperationProfile, TimedBatch } from './operation-profile.ts';
import { decodeWant, encodeForwarded, LogitSlot, TokenSlot } from './wanted-logits.ts';

/** The residual stream goes to the next stage as plain floats: it happens once, and rounding it would cost every layer. */
const HAND_OVER = 'f32';

/**
 * How the embedding's rows go to the other members of the first stage: they are small and of one size, so that 15 bits
 * of each block's largest are as good as sums get. What wants exact sums gets them exactly.
 */
const embeddedType = (wire: NumberType): NumberType => (wire === 'f32' ? 'f32' : 'q15');

/** Batches that may wait, more than any host has in flight. */
const MAX_QUEUE = 256;

export interface StageRunOptions {
  assignment: Assignment;
  executor: Executor;
  self: number;
  /** Link to the host, for tokens and candidates. */
  host: Link;
  /** Links to the other devices of the mesh, by index. */
  peers: ReadonlyMap<number, Link>;
  /** What the run before held, to go on from. */
  held?: Held | undefined;
  /** Looks over the other members' shoulders. */
  watcher?: Watcher | undefined;
  /** Where the time of operations is summed, if that is wanted. */
  operations?: OperationProfile | undefined;
  /** A residual is held, as `hold` asked. */
  onHeld(held: Held): void;
  /** A pass is over: `stats` are of it. */
  onPass(stats: Readonly<RunStats>): void;
  /** Called once when this plan cannot go on. */
  onBroken(error: unknown): void;
}

/** The residual stream of one position in the middle of a stage. */
export interface Held {
  position: number;
  /** The first layer that has not been computed. */
  layer: number;
  residual: Float32Array;
}

/** Times of the last batch, and sums. */
export interface RunStats {
  position: number;
  batchSize: number;
  execUs: number;
  syncUs: number;
  /** Tokens that this member has taken part in. */
  tokens: number;
}

export interface StageRun {
  readonly stats: Readonly<RunStats>;
  /** Computes one position only up to a layer, when it comes. */
  hold(position: number, layer: number): void;
  /** Times of the layers in the last pass; see `createLayerTimes`. */
  layerTimes(): Promise<LayerTime[]>;
  /** Takes no more batches. Resolves when the present one is through. */
  stop(): Promise<void>;
}

interface Incoming {
  position: number;
  rows: number;
  logits: number;
  ids?: Uint32Array;
  residual?: Float32Array;
  /** The first layer to compute, where it is not the stage's. */
  from?: number;
}

export function startStageRun(options: StageRunOptions): StageRun {
  const { assignment, executor, self, host, peers, held, watcher, operations, onHeld, onPass, onBroken } = options;
  const { epoch, members, next, previous, share } = assignment;
  const { dim } = executor.hyper;
  const leads = members[0] === self;
  const first = previous === undefined;
  const last = next.length === 0;
  const stats: RunStats = { position: 0, batchSize: 0, execUs: 0, syncUs: 0, tokens: 0 };
  const queue: Incoming[] = [];
  const wants = new Map<number, Want | undefined>();
  let wakeUp: (() => void) | undefined;
  let stopped = false;
  let broken = false;
  let waitedMs = 0;
  let holdAt: { position: number; layer: number } | undefined;
  let logits: Float32Array = new Float32Array(0);
  /** The last batch's logits have stayed on the device, because only the best of them were wanted. */
  let logitsOnDevice = false;
  const times = createLayerTimes(executor.weights.share.layers, members.length > 1);

  const linkTo = (device: number): Link => {
    const link = peers.get(device);
    if (!link) throw new Error(`There is no link to device ${device}.`);
    return link;
  };

  const allReduce: AllReduce | undefined =
    members.length > 1
      ? createAllReduce({
          ...{ members, self, links: peers, epoch, dim },
          wire: assignment.wire,
          maxRows: assignment.maxBatch,
        })
      : undefined;
  const sum = new Float32Array(assignment.maxBatch * dim);

  function exchangeAt(position: number, timed: TimedBatch | undefined, watch?: LayerWatch): Exchange {
    if (!allReduce) return ALONE;
    const end = { layer: executor.weights.share.layers[1], slot: 0, position };
    return {
      members: members.length,
      async allReduce(partial, { layer, half }) {
        const started = performance.now();
        const tag = { layer, slot: half === 'attention' ? 0 : 1, position };
        const seen = watch?.layer === layer ? watch : undefined;
        const look = seen && ((parts: readonly Uint8Array[]) => seen.sums(half, parts));
        const result = await allReduce.run(tag, partial, sum.subarray(0, partial.length), look);
        const waited = performance.now() - started;
        timed?.timer('wait', layer, waited);
        waitedMs += waited;
        return result;
      },
      watch,
      ...(assignment.verify && { verify: (residual) => allReduce.verify(end, residual) }),
    };
  }

  function wake(): void {
    wakeUp?.();
    wakeUp = undefined;
  }

  function enqueue(batch: Incoming): void {
    const { position, rows } = batch;
    if (rows < 1 || rows > assignment.maxBatch || position + rows > assignment.context) {
      throw new FrameError(`a batch of ${rows} tokens at position ${position}, which this plan has no room for`);
    }
    if (queue.length >= MAX_QUEUE) throw new FrameError('more batches than can wait');
    queue.push(batch);
    wake();
  }

  function takeTokens(frame: Frame): void {
    if (frame.slot === TokenSlot.ids) {
      if (!(first && leads)) throw new FrameError('tokens for a device that has no embedding');
      if (frame.payload.length !== 4 * frame.rows) throw new FrameError('tokens of the wrong length');
      const ids = new Uint32Array(frame.payload.slice().buffer);
      if (ids.some((id) => id >= executor.hyper.vocab))
        throw new FrameError('a token that the vocabulary does not have');
      enqueue({ position: frame.position, rows: frame.rows, logits: frame.layer, ids });
      return;
    }
    if (frame.slot === TokenSlot.resume) {
      if (held?.position !== frame.position) throw new FrameError('a position to go on from that is not held here');
      const { position, residual, layer: from } = held;
      enqueue({ position, rows: residual.length / dim, logits: frame.layer, residual, from });
      return;
    }
    if (!last) throw new FrameError('a wish for logits to a device that has none');
    const want = wish(frame);
    if (frame.slot === TokenSlot.again) {
      if (want) answerAgain(frame.position, want).catch(fail);
      return;
    }
    wants.set(frame.position, want);
    wake();
  }

  function takeResidual(frame: Frame): void {
    const numbers = frame.rows * dim;
    const type = first ? embeddedType(assignment.wire) : HAND_OVER;
    if (frame.type !== type || frame.payload.length !== wireBytes(type, numbers))
      throw new FrameError('a residual of the wrong size');
    const residual = new Float32Array(numbers);
    decode(type, frame.payload, residual, true);
    if (!allFinite(residual)) {
      fail(new MeshError('wrong-numbers', `Device ${source} computed values that are not numbers.`, source));
      return;
    }
    enqueue({ position: frame.position, rows: frame.rows, logits: frame.slot, residual });
  }

  let handOver: FrameBuffer | undefined;
  /** Afterwards `residual` holds what the others see of it. */
  function sendResidual(to: readonly number[], batch: Incoming, residual: Float32Array, type: NumberType): void {
    handOver ??= createFrameBuffer(4 * assignment.maxBatch * dim);
    const length = encode(type, residual, handOver.payload);
    const { position, rows, logits: slot } = batch;
    const header = { kind: Kind.residual, type, slot, epoch, layer: 0, position, rows } as const;
    for (const device of to) void linkTo(device).send(handOver, header, length);
    if (type !== 'f32') decode(type, handOver.payload.subarray(0, length), residual, true);
  }

  async function answerAgain(position: number, want: Want): Promise<void> {
    if (logitsOnDevice) logits = (await executor.backend.selection?.readLogits()) ?? logits;
    logitsOnDevice = false;
    answer(position, summarize(want));
  }

  /** Sends the best tokens among the owned rows. */
  function answer(position: number, forwarded: Forwarded): void {
    const payload = encodeForwarded(forwarded);
    const buffer = createFrameBuffer(payload.length);
    buffer.payload.set(payload);
    void host.send(
      buffer,
      { kind: Kind.candidates, type: 'f32', slot: 0, epoch, layer: 0, position, rows: 0 },
      payload.length,
    );
  }

  const vocab = share?.vocab ?? [];
  const rows = vocab.reduce((n, [from, to]) => n + to - from, 0);

  const idOf = (row: number): number => {
    let before = 0;
    for (const [from, to] of vocab) {
      if (row < before + to - from) return from + row - before;
      before += to - from;
    }
    throw new RangeError(`row ${row} of ${rows} of the vocabulary`);
  };

  /** What the device can find itself, of a wish that is already here. */
  function selectionFor(want: Want | undefined): Selection | undefined {
    const { selection } = executor.backend;
    if (!selection || !want || rows === 0 || want.positions !== 'last' || want.full || want.penalty) return undefined;
    return want.top <= selection.most ? { top: want.top, temperature: want.temperature } : undefined;
  }

  /** Out of the logits of the last batch. */
  function summarize(want: Want): Forwarded {
    const positions = rows === 0 ? 0 : logits.length / rows;
    const parts = (t: number) => {
      let at = t * rows;
      return vocab.map(([from, to]) => {
        const part = { row: from, logits: logits.subarray(at, at + to - from) };
        at += to - from;
        return part;
      });
    };
    const candidates = Array.from({ length: positions }, (_, t) => selectCandidates(parts(t), want));
    if (!want.full) return { candidates };
    return { candidates, full: logits.slice((positions - 1) * rows, positions * rows) };
  }

  async function work(batch: Incoming): Promise<void> {
    const started = performance.now();
    waitedMs = 0;
    const { position, rows: count } = batch;
    const timed = operations?.begin(count);
    let input = batch.ids ? { ids: batch.ids } : { residual: batch.residual ?? new Float32Array(0) };
    if (batch.ids && members.length > 1) {
      const step: Step = { position, count, ids: batch.ids, ops: [{ op: 'embed' }], output: 'residual' };
      const embedded = await (timed ? runTimed(executor, step, timed.timer) : executor.run(step));
      const residual = embedded.slice();
      sendResidual(
        members.filter((device) => device !== self),
        batch,
        residual,
        embeddedType(assignment.wire),
      );
      input = { residual };
    }
    const { layers } = executor.weights.share;
    const timer = times.timer();
    if (holdAt?.position === position) {
      const { layer } = holdAt;
      holdAt = undefined;
      const residual = await runStage(executor, exchangeAt(position, timed), {
        ...{ position, count, input, output: 'residual', timer, operations: timed?.timer },
        layers: [layers[0], layer],
      });
      onHeld({ position, layer, residual: residual.slice() });
      return;
    }
    const wanted = last && batch.logits !== LogitSlot.none;
    const best = wanted && batch.logits === LogitSlot.last ? selectionFor(wants.get(position)) : undefined;
    const output = wanted
      ? { logits: batch.logits === LogitSlot.all ? ('all' as const) : ('last' as const), best }
      : last || !leads
        ? 'none'
        : 'residual';
    const range: Range = [batch.from ?? layers[0], layers[1]];
    const watch = members.length > 1 ? watcher?.begin({ epoch, position, count, layers: range }) : undefined;
    const result = await runStage(executor, exchangeAt(position, timed, watch), {
      ...{ position, count, input, output, timer, operations: timed?.timer },
      layers: range,
    });
    // Before anyone goes on with what was computed.
    await watch?.done();
    if (!last) {
      if (leads) sendResidual(next, batch, result, HAND_OVER);
    } else if (best) {
      logitsOnDevice = true;
      const found = decodeBest(result, best.temperature, idOf);
      wants.delete(position);
      answer(position, { candidates: [found] });
    } else {
      logitsOnDevice = false;
      if (wanted) {
        if (logits.length !== result.length) logits = new Float32Array(result.length);
        logits.set(result);
      }
      const want = wanted ? await wantAt(position) : undefined;
      answer(position, want ? summarize(want) : { candidates: [] });
    }
    stats.position = position;
    stats.batchSize = count;
    stats.syncUs = Math.round(1000 * waitedMs);
    const spentMs = performance.now() - started;
    timed?.end(spentMs);
    stats.execUs = Math.round(1000 * (spentMs - waitedMs));
    stats.tokens += count;
    onPass(stats);
    times.passed();
  }

  /** The host's wish for this position: it may come before or after the residual. */
  async function wantAt(position: number): Promise<Want | undefined> {
    while (!wants.has(position) && !stopped) await sleep();
    const want = wants.get(position);
    wants.delete(position);
    return want;
  }

  const sleep = () =>
    new Promise<void>((resolve) => {
      wakeUp = resolve;
    });

  async function loop(): Promise<void> {
    while (!stopped) {
      const batch = queue.shift();
      if (batch) await asTokens(() => work(batch));
      else await sleep();
    }
  }

  function fail(error: unknown): void {
    if (stopped || broken) return;
    broken = true;
    end();
    onBroken(error);
  }

  const routes: (() => void)[] = [];
  function end(): void {
    stopped = true;
    for (const undo of routes) undo();
    allReduce?.close();
    times.end();
    wake();
  }

  const running = loop().catch(fail);
  routes.push(host.route(Kind.tokens, epoch, takeTokens));
  const source = first ? (leads ? undefined : members[0]) : previous;
  if (source !== undefined) routes.push(linkTo(source).route(Kind.residual, epoch, takeResidual));
  for (const device of [...next, ...(source === undefined ? [] : [source])]) routes.push(linkTo(device).onClosed(fail));

  return {
    stats,
    hold(position, layer) {
      holdAt = { position, layer };
    },
    layerTimes: times.ask,
    async stop() {
      end();
      await running;
    },
  };
}

function wish(frame: Frame): Want | undefined {
  try {
    return decodeWant(frame.payload);
  } catch (error) {
    throw new FrameError((error as Error).message);
  }
}
