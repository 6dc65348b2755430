/** Forward passes through the members of one plan: tokens to the first stage, candidates from the last. */

import { DeviceError } from '../../device/backend.ts';
import { mergeCandidates } from '../../device/candidates.ts';
import { decodeForwarded, encodeWant, LogitSlot, TokenSlot } from '../../device/member/wanted-logits.ts';
import { createFrameBuffer, type Frame, FrameError, Kind } from '../../mesh/frames.ts';
import type { Link } from '../../mesh/link.ts';
import type { HyperParameters } from '../../model/types.ts';
import type { Plan } from '../../plan/types.ts';
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
    const entry = due.get(frame.position);
    if (!entry || entry.shares[member]) throw new FrameError('candidates that nobody asked for');
    try {
      entry.shares[member] = decodeForwarded(frame.payload);
    } catch (error) {
      throw new FrameError(`candidates that cannot be read: ${(error as Error).message}`);
    }
    if (--entry.missing > 0) return;
    due.delete(frame.position);
    entry.resolve(entry.shares as Forwarded[]);
  }
  const undo = lastLinks.map((one, member) => one.route(Kind.candidates, epoch, (frame) => takeAnswer(member, frame)));

  function expect(position: number): Promise<Forwarded[]> {
    return new Promise((resolve, reject) => {
      due.set(position, { shares: last.map(() => undefined), missing: last.length, resolve, reject });
    });
  }

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
  function announce(position: number, want: Want | undefined): Promise<Forwarded[]> {
    const answer = expect(position);
    if (want) for (const one of lastLinks) post(one, TokenSlot.want, position, encodeWant(want), 0, 0);
    return answer;
  }

  /** One batch on its way; resolves with the shares of the last stage's members. */
  function send(ids: Uint32Array, position: number, want: Want | undefined): Promise<Forwarded[]> {
    const answer = announce(position, want);
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
        const answer = expect(lastPosition);
        for (const one of lastLinks) post(one, TokenSlot.again, lastPosition, encodeWant(want), 0, 0);
        return join(await answer, want);
      }),
    start: (ids, position) => sendIds(ids, position, LogitSlot.none),
    resume: (members, position, want) =>
      guarded(async () => {
        const answer = announce(position, want);
        for (const device of members) {
          post(linkTo(device), TokenSlot.resume, position, new Uint8Array(0), 0, logitsOf(want));
        }
        lastPosition = position;
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
