/** What `bench -- migrate` found, as Markdown. */
import type { MoveReport } from '../../web/api.ts';
import { describeMachine, type Machine } from './machine.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

/** Of a gap between two tokens: how many moves had been made, and whether one was under way. */
export interface GapMark {
  plan: number;
  disturbed: boolean;
}

/** One answer without moves and the same with moves, under the plan of `ratios` to begin with. */
export interface MigrateRun {
  ratios: string;
  /** Pages that compute. */
  tabs: number;
  tokens: number;
  sameText: boolean;
  /** Of every token but the first. */
  stillGapsMs: number[];
  movedGapsMs: number[];
  /** Of each of those. */
  marks: GapMark[];
  moves: MoveReport[];
}

export interface MigrateResult {
  benchmark: 'migrate';
  date: string;
  machine: Machine;
  loadBefore: number;
  model: string;
  backend: string;
  seed: number;
  runs: MigrateRun[];
}

/** A table with a column for each kind of plan. Throws RangeError for a run without moves. */
export function renderMigrate({ runs, ...result }: MigrateResult): string {
  const columns = runs.map(columnOf);
  const rows = (columns[0] ?? []).map(([name], i) => [name, ...columns.map((column) => column[i]?.[1] ?? '')]);
  return [
    `Measured ${result.date.slice(0, 10)} on ${describeMachine(result.machine, result.loadBefore)}`,
    `${result.model}, ${result.backend}, one thread a tab, moves drawn with seed ${result.seed}; a gap is the time from one token to the next.`,
    table(['', ...runs.map(({ ratios, tabs }) => `\`${ratios}\`, ${tabs} tabs`)], rows),
  ].join('\n\n');
}

/**
 * Time that the answer would have taken under the same plans had nothing been under way: for each token the median of
 * its plan's undisturbed ones, or of the plan before where all of them were disturbed.
 */
function undisturbedMs({ movedGapsMs, marks, stillGapsMs }: MigrateRun): number {
  let median = summarize(stillGapsMs).median;
  let plan = 0;
  return marks.reduce((sum, mark, i) => {
    if (i === 0 || mark.plan !== plan) {
      plan = mark.plan;
      const quiet = movedGapsMs.filter((_, j) => marks[j]?.plan === plan && !marks[j].disturbed);
      if (quiet.length > 0) median = summarize(quiet).median;
    }
    return sum + median;
  }, 0);
}

function columnOf(run: MigrateRun): [name: string, value: string][] {
  const { tokens, sameText, stillGapsMs, movedGapsMs, moves } = run;
  const token = summarize(stillGapsMs).median;
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const of = (pick: (report: MoveReport) => number, digits = 0) => {
    const { median, high } = summarize(moves.map(pick));
    return `${median.toFixed(digits)} (${high.toFixed(digits)})`;
  };
  return [
    ['moves in tokens', `${moves.length} in ${tokens}`],
    ['text equal to the unmoved run', sameText ? 'yes' : '**no**'],
    ['median gap of the unmoved run, ms', token.toFixed(1)],
    ['its longest ÷ its median', (summarize(stillGapsMs).high / token).toFixed(2)],
    ['longest gap around a move ÷ median token: median (highest)', of(({ longestGapMs }) => longestGapMs / token, 2)],
    ['tokens/s ÷ unmoved run', (sum(stillGapsMs) / sum(movedGapsMs)).toFixed(2)],
    ['tokens/s ÷ the same plans undisturbed', (undisturbedMs(run) / sum(movedGapsMs)).toFixed(2)],
    ['prepare, ms: median (highest)', of(({ prepareMs }) => prepareMs)],
    ['copy, ms', of(({ copyMs }) => copyMs)],
    ['commit, ms, with the wait for a token to end', of(({ commitMs }) => commitMs)],
    ['weights, kB', of(({ weightBytes }) => weightBytes / 1000)],
    ['KV copied, kB', of(({ kvBytes }) => kvBytes / 1000)],
  ];
}
