/** Changes of the plan that somebody asked for: one after another, each with a report of how far it is. */
import type { Migration, MoveReport, Plan } from '../../api.ts';
import type { MemoryLimit } from '../../device/environment.ts';
import { codeOf, HostError, messageOf } from '../../device/errors.ts';
import { createTurns } from '../../device/turns.ts';
import type { Catalogue } from '../../model/types.ts';
import { changeBytes, diffPlans } from '../../plan/diff.ts';
import { applyMove, type Move } from '../../plan/moves.ts';
import type { Emit } from '../engine-types.ts';
import type { ApplyOptions, Conductor } from './conductor.ts';
import { planFor, sizesOf } from './layout.ts';

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
  /** Whatever plan `next` makes of the present one, when the turn comes; undefined: nothing to do. */
  replace(next: (plan: Plan) => Plan | undefined): Promise<void>;
  /** The ratios that were asked for last, which a device that comes back completes again. */
  readonly wanted: string | undefined;
  /** A forward pass is over: the gap between tokens ends. */
  tick(): void;
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
  ): Promise<MoveReport> {
    const report: MoveReport = {
      id: nextId++,
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
    return turns.take(async () => {
      try {
        signal?.throwIfAborted();
        const plan = present();
        const wanted = next(plan);
        if ('refused' in wanted) throw new HostError('refused', wanted.refused);
        const bytes = { weightBytes: 0, kvBytes: 0 };
        for (const one of diffPlans(plan, wanted, hyper, sizesOf(catalogue, plan, 0).embedding)) {
          bytes.weightBytes += Math.round(changeBytes(one, hyper, sizesOf(catalogue, plan, 0)).weightBytes);
        }
        tell({ epoch: wanted.epoch, ...bytes });
        measured = report;
        const { epoch, weightMs, copyMs, commitMs, kvBytes, position } = await conductor.apply(wanted, {
          ...{ signal, exact },
          onPhase: (state) => state !== 'committed' && tell({ state }),
        });
        tell({ state: 'committed', epoch, prepareMs: weightMs, copyMs, commitMs, kvBytes, position });
        return { ...report };
      } catch (error) {
        if (measured === report) measured = undefined;
        const state = signal?.aborted ? 'cancelled' : codeOf(error) === 'refused' ? 'refused' : 'failed';
        tell({ state, error: messageOf(error) });
        throw error;
      }
    });
  }

  return {
    reports,
    async setRatios(ratios, signal) {
      // Faults of the text are told at once, not when the turn comes.
      planFor(ratios, hyper, devices(), 1);
      await change((plan) => planFor(ratios, hyper, devices(), plan.epoch + 1), { signal });
      wanted = ratios;
      const plan = present();
      return { epoch: plan.epoch, plan };
    },
    migrate: (move, signal) =>
      change(
        (plan) => {
          const result = applyMove(plan, asMove(move), hyper, limits(plan));
          return 'plan' in result ? result.plan : result;
        },
        { signal, exact: 'exact' in move ? move.exact : undefined },
      ),
    async replace(next) {
      if (!next(present())) return;
      await change((plan) => next(plan) ?? plan);
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
  };
}

function asMove(move: Migration): Move {
  if ('moves' in move)
    return { moves: move.moves.map((one) => ({ ...one, ...(move.stage !== undefined && { stage: move.stage }) })) };
  if ('layers' in move) return move;
  const { exact: _, ...share } = move;
  return share;
}
