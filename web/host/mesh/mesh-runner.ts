/** Forward passes through the members of one plan: tokens to the first stage, candidates from the last. */

import { DeviceError } from '../../device/backend.ts';
import { mergeCandidates } from '../../device/candidates.ts';
import { decodeForwarded, encodeWant, LogitSlot, TokenSlot } from '../../device/member/wanted-logits.ts';
import { MeshError } from '../../mesh/errors.ts';
import { createFrameBuffer, type Frame, FrameError, Kind } from '../../mesh/frames.ts';
import type { Link } from '../../mesh/link.ts';
import { allFinite } from '../../mesh/wire.ts';
import type { HyperParameters } from '../../model/types.ts';
import { count as countOf } from '../../plan/ranges.ts';
import type { Plan, Range } from '../../plan/types.ts';
import type { Candidates, Forwarded, Runner, Want } from '../runner.ts';

export interface MeshRunnerOptions {
  plan: Plan;
  hyper: Pick<HyperParameters, 'vocab'>;
  context: number;
  /** Positions in one batch of the members. */
  batch: number;
  /** Links to the devices, the host's own among them. */
  link(device: number): Link | undefined;
}

export interface MeshRunner extends Runner {
  /** Sends a batch on its way whose answer nobody waits for: the members will hold it. */
  start(ids: Uint32Array, position: number): void;
  /** Lets `devices` go on from what they hold of a position. */
  resume(devices: readonly number[], position: number, want: Want | undefined): Promise<Forwarded>;
  /** Fails what is in flight, and every later pass, with this error. */
  fail(error: DeviceError): void;
  close(): void;
}

/** An answer to one batch that members of the last stage owe. */
interface Due {
  /** How many positions each share has. */
  positions: number;
  shares: (Forwarded | undefined)[];
  missing: number;
  resolve(shares: Forwarded[]): void;
  reject(error: unknown): void;
}

/** Throws DeviceError `lost` where a link is missing. */
export function createMeshRunner({ plan, hyper, context, batch, link }: MeshRunnerOptions): MeshRunner {
  const { epoch } = plan;
  const linkTo = (device: number): Link => {
    const found = link(device);
    if (!found) throw new DeviceError('lost', `Device ${device} is gone.`);
    return found;
  };
  const leader = linkTo(plan.stages[0].members[0].device);
  const last = (plan.stages.at(-1) as Plan['stages'][number]).members;
  const lastLinks = last.map(({ device }) => linkTo(device));
  const due = new Map<number, Due>();
  let failure: DeviceError | undefined;

  function takeAnswer(member: number, frame: Frame): void {
    // Of a pass that has failed already, by those that did not know.
    if (failure) return;
    const entry = due.get(frame.position);
    if (!entry || entry.shares[member]) throw new FrameError('candidates that nobody asked for');
    const { device, vocab } = last[member];
    const share = readShare(frame.payload, vocab, entry.positions);
    if (!isSound(share)) {
      const cause = new MeshError('wrong-numbers', `Device ${device} computed values that are not numbers.`, device);
      due.delete(frame.position);
      entry.reject(new DeviceError(cause.code, cause.message, { cause }));
      return;
    }
    entry.shares[member] = share;
    if (--entry.missing > 0) return;
    due.delete(frame.position);
    entry.resolve(entry.shares as Forwarded[]);
  }
  const undo = lastLinks.map((one, member) => one.route(Kind.candidates, epoch, (frame) => takeAnswer(member, frame)));

  function expect(position: number, positions: number): Promise<Forwarded[]> {
    return new Promise((resolve, reject) => {
      due.set(position, { positions, shares: last.map(() => undefined), missing: last.length, resolve, reject });
    });
  }

  const positionsOf = (want: Want | undefined, count: number) => (!want ? 0 : want.positions === 'last' ? 1 : count);

  function post(to: Link, slot: number, position: number, payload: Uint8Array, rows: number, logits: number): void {
    const buffer = createFrameBuffer(payload.length);
    buffer.payload.set(payload);
    void to.send(
      buffer,
      { kind: Kind.tokens, type: 'f32', slot, epoch, layer: logits, position, rows },
      payload.length,
    );
  }

  const logitsOf = (want: Want | undefined) => (want ? LogitSlot[want.positions] : LogitSlot.none);
  const sendIds = (ids: Uint32Array, position: number, logits: number) =>
    post(leader, TokenSlot.ids, position, new Uint8Array(ids.slice().buffer), ids.length, logits);

  /** Tells the last stage what will be asked of a position; resolves with its members' shares of the answer. */
  function announce(position: number, want: Want | undefined, count: number): Promise<Forwarded[]> {
    const answer = expect(position, positionsOf(want, count));
    if (want) for (const one of lastLinks) post(one, TokenSlot.want, position, encodeWant(want), 0, 0);
    return answer;
  }

  /** One batch on its way; resolves with the shares of the last stage's members. */
  function send(ids: Uint32Array, position: number, want: Want | undefined): Promise<Forwarded[]> {
    const answer = announce(position, want, ids.length);
    sendIds(ids, position, logitsOf(want));
    return answer;
  }

  function join(shares: Forwarded[], want: Want): Forwarded {
    const positions = Math.max(...shares.map(({ candidates }) => candidates.length));
    const candidates: Candidates[] = Array.from({ length: positions }, (_, t) =>
      mergeCandidates(
        shares.filter((share) => share.candidates.length > 0).map((share) => share.candidates[t]),
        want.top,
      ),
    );
    if (!want.full) return { candidates };
    const full = new Float32Array(hyper.vocab);
    for (const [i, { vocab }] of last.entries()) {
      let at = 0;
      for (const [from, to] of vocab) {
        full.set((shares[i].full ?? new Float32Array(0)).subarray(at, at + to - from), from);
        at += to - from;
      }
    }
    return { candidates, full };
  }

  let lastPosition = 0;
  let lastCount = 0;

  async function guarded<T>(work: () => Promise<T>): Promise<T> {
    if (failure) throw failure;
    try {
      return await work();
    } catch (error) {
      // A link that closed while sending says so by itself; the generation loop knows how to go on from `lost`.
      if (error instanceof DeviceError) throw error;
      throw new DeviceError('lost', (error as Error).message, { cause: error });
    }
  }

  return {
    context,
    // Enough for every stage to have a batch to work on.
    maxBatch: batch * (plan.stages.length === 1 ? 1 : plan.stages.length + 1),
    vocab: hyper.vocab,
    forward: (ids, position, want) =>
      guarded(async () => {
        const answers: { shares: Promise<Forwarded[]>; wanted: boolean }[] = [];
        for (let from = 0; from < ids.length; from += batch) {
          const part = ids.subarray(from, from + batch);
          const wanted = want !== undefined && (want.positions === 'all' || from + batch >= ids.length);
          lastPosition = position + from;
          lastCount = part.length;
          answers.push({ shares: send(part, lastPosition, wanted ? want : undefined), wanted });
        }
        const forwarded: Forwarded = { candidates: [] };
        const all = await Promise.all(answers.map(({ shares }) => shares));
        for (const [i, { wanted }] of answers.entries()) {
          if (!wanted || !want) continue;
          const joined = join(all[i], want);
          forwarded.candidates.push(...joined.candidates);
          if (joined.full) forwarded.full = joined.full;
        }
        return forwarded;
      }),
    again: (want) =>
      guarded(async () => {
        const answer = expect(lastPosition, positionsOf(want, lastCount));
        for (const one of lastLinks) post(one, TokenSlot.again, lastPosition, encodeWant(want), 0, 0);
        return join(await answer, want);
      }),
    start: (ids, position) => sendIds(ids, position, LogitSlot.none),
    resume: (members, position, want) =>
      guarded(async () => {
        const answer = announce(position, want, 1);
        for (const device of members) {
          post(linkTo(device), TokenSlot.resume, position, new Uint8Array(0), 0, logitsOf(want));
        }
        lastPosition = position;
        lastCount = 1;
        const shares = await answer;
        return want ? join(shares, want) : { candidates: [] };
      }),
    fail(error) {
      failure ??= error;
      for (const entry of due.values()) entry.reject(failure);
      due.clear();
    },
    close() {
      for (const end of undo) end();
    },
  };
}

/**
 * A member's share of the answer: candidates of its own vocabulary rows, at as many positions as were wanted. Throws
 * FrameError for anything else, which closes the link to whoever sent it.
 */
function readShare(payload: Uint8Array, vocab: readonly Range[], positions: number): Forwarded {
  let share: Forwarded;
  try {
    share = decodeForwarded(payload);
  } catch (error) {
    throw new FrameError(`candidates that cannot be read: ${(error as Error).message}`);
  }
  const rows = countOf(vocab);
  const { candidates, full } = share;
  if (candidates.length !== (rows === 0 ? 0 : positions))
    throw new FrameError(`candidates of ${candidates.length} positions, where ${positions} were asked for`);
  const owns = (id: number) => vocab.some(([from, to]) => id >= from && id < to);
  if (candidates.some(({ ids }) => ids.length > rows || !ids.every(owns)))
    throw new FrameError('candidates that are not its own');
  if (full && full.length !== rows) throw new FrameError(`${full.length} logits, where ${rows} were due`);
  return share;
}

const isSound = ({ candidates, full }: Forwarded): boolean =>
  candidates.every(({ logits, logSumExp }) => allFinite(logits) && Number.isFinite(logSumExp)) &&
  (full === undefined || allFinite(full));
