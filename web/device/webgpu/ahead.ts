/**
 * Commands recorded before their step is there. The tokens of an answer repeat one run of operations and differ only in what is
 * written to buffers, so the commands of the next one are recorded while the GPU computes this one.
 */
import type { Step, StepOp } from '../backend.ts';
import type { Recorder } from './recorder.ts';

export interface Ahead {
  /** What was recorded ahead for a step like this one, or else what `record` records now. */
  take(step: Step, record: () => Recorder): Recorder;
  /** When the step is submitted: records for the next one, if this one was like the last one. */
  prepare(record: () => Recorder): void;
  /** Forgets what was recorded, because the next step is of another kind, or buffers go. */
  drop(): void;
}

type Kind = Pick<Step, 'ops' | 'output'> & { adds: boolean };

export function createAhead(): Ahead {
  let last: Kind | undefined;
  let repeats = false;
  let recorded: Recorder | undefined;
  return {
    take({ ops, output, add }, record) {
      const kind = { ops, output, adds: add !== undefined };
      repeats = last !== undefined && alike(last, kind);
      const ready = repeats ? recorded : undefined;
      last = kind;
      recorded = undefined;
      return ready ?? record();
    },
    prepare(record) {
      if (repeats) recorded = record();
    },
    drop() {
      last = undefined;
      recorded = undefined;
      repeats = false;
    },
  };
}

function alike(a: Kind, b: Kind): boolean {
  return (
    a.output === b.output &&
    a.adds === b.adds &&
    a.ops.length === b.ops.length &&
    a.ops.every((op, i) => sameOperation(op, b.ops[i]!))
  );
}

function sameOperation(a: StepOp, b: StepOp): boolean {
  if (a.op === 'head') return b.op === 'head' && a.positions === b.positions;
  if (a.op === 'attention' || a.op === 'ffn') return b.op === a.op && a.layer === b.layer;
  return a.op === b.op;
}
