/** Changes of the plan that somebody asked for: one after another, each with a report of how far it is. */
import type { Migration, MoveReport, Plan } from '../../api.ts';
import type { MemoryLimit } from '../../device/environment.ts';
import { codeOf, HostError, messageOf } from '../../device/errors.ts';
import { createTurns } from '../../device/turns.ts';
import type { Catalogue } from '../../model/types.ts';
import { changeBytes, diffPlans } from '../../plan/diff.ts';
import { shortages } from '../../plan/memory.ts';
import { applyMove, type Move } from '../../plan/moves.ts';
import type { Emit } from '../engine-types.ts';
import type { ApplyOptions, Conductor } from './conductor.ts';
import { layersOf, nameOf, planFor, sizesOf } from './layout.ts';

export interface MovesOptions {
  conductor: Conductor;
  catalogue: Catalogue;
  context: number;
  /** Devices that may compute, ascending. */
  devices(): number[];
  room(device: number): MemoryLimit | undefined;
  emit: Emit;
  /** The ratios of the first plan. */
  wanted: string | undefined;
}

export interface Moves {
  /** Oldest first. */
  readonly reports: readonly MoveReport[];
  setRatios(ratios: string, signal?: AbortSignal): Promise<{ epoch: number; plan: Plan }>;
  migrate(move: Migration, signal?: AbortSignal): Promise<MoveReport>;
  /** The plan that a move would make of the present one; throws HostError (`refused`) where it cannot be. */
  foresee(move: Migration): Plan;
  /** The plan that ratios would make; throws RatiosError, or HostError (`refused`) where a device has no room for it. */
  foreseeRatios(ratios: string): Plan;
  /** As `migrate`, with the report as it changes. */
  begin(move: Migration, signal?: AbortSignal): Begun;
  /** Whatever plan `next` makes of the present one, when the turn comes; undefined: nothing to do. */
  replace(next: (plan: Plan) => Plan | undefined): Promise<void>;
  /** The ratios that were asked for last, which a device that comes back completes again. */
  readonly wanted: string | undefined;
  /** A forward pass is over: the gap between tokens ends. */
  tick(): void;
  /** An answer begins: the time since the last pass was no gap. */
  rest(): void;
}

interface Begun {
  report: Readonly<MoveReport>;
  done: Promise<MoveReport>;
}

/** Reports that are kept. */
const MOST_REPORTS = 200;

export function createMoves({
  conductor,
  catalogue,
  context,
  devices,
  room,
  emit,
  wanted: first,
}: MovesOptions): Moves {
  const { hyper } = catalogue;
  const reports: MoveReport[] = [];
  const turns = createTurns();
  let nextId = 1;
  let wanted = first;
  /** The move whose gaps are measured: from its start to the first pass after its commit. */
  let measured: MoveReport | undefined;
  let lastPass: number | undefined;

  const present = (): Plan => {
    if (!conductor.plan) throw new HostError('no-model', 'No plan holds.');
    return conductor.plan;
  };

  const limits = (plan: Plan) => ({
    ...sizesOf(catalogue, plan, context),
    room(device: number) {
      const limit = room(device);
      return limit?.hard ? limit.bytes : undefined;
    },
  });

  /** Runs a change in its turn. `next` is asked then, since the plan may have changed meanwhile. */
  function change(
    next: (plan: Plan) => Plan | { refused: string },
    { signal, exact }: Pick<ApplyOptions, 'signal' | 'exact'> = {},
    move?: Migration,
  ): Begun {
    const report: MoveReport = {
      id: nextId++,
      ...(move && { move }),
      state: 'queued',
      ...{ epoch: 0, weightBytes: 0, kvBytes: 0, prepareMs: 0, copyMs: 0, commitMs: 0, position: 0, longestGapMs: 0 },
    };
    reports.push(report);
    if (reports.length > MOST_REPORTS) reports.shift();
    const tell = (changed: Partial<MoveReport>) => {
      Object.assign(report, changed);
      emit('move', { ...report });
    };
    tell({});
    const run = async () => {
      try {
        signal?.throwIfAborted();
        const plan = present();
        const wanted = allowed(next(plan));
        if (wanted === plan) {
          tell({ state: 'committed', epoch: plan.epoch });
          return { ...report };
        }
        const sizes = sizesOf(catalogue, plan, 0);
        let weightBytes = 0;
        for (const one of diffPlans(plan, wanted, hyper, sizes.embedding)) {
          weightBytes += Math.round(changeBytes(one, hyper, sizes).weightBytes);
        }
        tell({ epoch: wanted.epoch, weightBytes });
        measured = report;
        const { epoch, weightMs, copyMs, commitMs, kvBytes, position } = await conductor.apply(wanted, {
          ...{ signal, exact },
          onPhase: (state) => state !== 'committed' && tell({ state }),
        });
        tell({ state: 'committed', epoch, prepareMs: weightMs, copyMs, commitMs, kvBytes, position });
        return { ...report };
      } catch (error) {
        if (measured === report) measured = undefined;
        if (report.state === 'cancelled') throw error;
        const state = signal?.aborted ? 'cancelled' : codeOf(error) === 'refused' ? 'refused' : 'failed';
        tell({ state, error: messageOf(error) });
        throw error;
      }
    };
    // Whoever waits for its turn need not wait to be cancelled.
    const cancelled = new Promise<never>((_, reject) => {
      signal?.addEventListener('abort', () => {
        if (report.state !== 'queued') return;
        tell({ state: 'cancelled', error: messageOf(signal.reason) });
        reject(signal.reason);
      });
    });
    return { report, done: Promise.race([turns.take(run), cancelled]) };
  }

  /** The next plan, or why a device has no room for it beside what it holds until the switch. */
  function fitting(plan: Plan, next: Plan): Plan | { refused: string } {
    const [short] = shortages(plan, next, hyper, limits(plan));
    if (!short) return next;
    const { device, wanted: needed, room: allowed } = short;
    const [from, to] = layersOf(next, device);
    const mb = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
    const name = nameOf(device);
    const refused = `Layers ${from} to ${to - 1} would need ${mb(needed)} on ${name} for weights and context, with what it holds until the switch, but it may use ${mb(allowed)}: ${mb(needed - allowed)} are missing. Give it a smaller share.`;
    return { refused };
  }

  const after = (plan: Plan, move: Migration): Plan | { refused: string } => {
    const result = applyMove(plan, asMove(move), hyper, limits(plan));
    return 'plan' in result ? result.plan : result;
  };

  const begin: Moves['begin'] = (move, signal) =>
    change((plan) => after(plan, move), { signal, exact: move.exact }, move);

  return {
    reports,
    async setRatios(ratios, signal) {
      // Faults of the text are told at once, not when the turn comes.
      planFor(ratios, hyper, devices(), 1);
      await change((plan) => fitting(plan, planFor(ratios, hyper, devices(), plan.epoch + 1)), { signal }).done;
      wanted = ratios;
      const plan = present();
      return { epoch: plan.epoch, plan };
    },
    begin,
    foresee: (move) => allowed(after(present(), move)),
    foreseeRatios(ratios) {
      const plan = present();
      return allowed(fitting(plan, planFor(ratios, hyper, devices(), plan.epoch + 1)));
    },
    migrate: (move, signal) => begin(move, signal).done,
    async replace(next) {
      if (!next(present())) return;
      await change((plan) => {
        const better = next(plan);
        return better ? fitting(plan, better) : { refused: 'There is nothing to change any more.' };
      }).done;
    },
    get wanted() {
      return wanted;
    },
    tick() {
      const now = performance.now();
      if (measured && lastPass !== undefined) {
        measured.longestGapMs = Math.max(measured.longestGapMs, now - lastPass);
        if (measured.state === 'committed') {
          emit('move', { ...measured });
          measured = undefined;
        }
      }
      lastPass = now;
    },
    rest() {
      lastPass = undefined;
      if (measured?.state === 'committed') measured = undefined;
    },
  };
}

function allowed(next: Plan | { refused: string }): Plan {
  if ('refused' in next) throw new HostError('refused', next.refused);
  return next;
}

function asMove(move: Migration): Move {
  const { exact: _, ...plain } = move;
  if (!('moves' in plain)) return plain;
  const { moves, stage } = plain;
  return { moves: moves.map((one) => ({ ...one, ...(stage !== undefined && { stage }) })) };
}
