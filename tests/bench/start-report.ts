/** What `bench -- start` found, as Markdown. */
import { describeMachine, type Machine } from './machine.ts';
import { ratios, summarize } from './statistics.ts';
import { table } from './table.ts';

/** Times of every round, in ms, at one rate. */
export interface StartRow {
  /** MB/s. */
  rate: number;
  /** The model's file and nothing else. */
  downloadMs: number[];
  /** From opening the page to the first token of an answer. */
  openToTextMs: number[];
}

export interface StartResult {
  benchmark: 'start';
  date: string;
  machine: Machine;
  loadBefore: number;
  model: string;
  /** As asked for. */
  backend: string;
  bytes: number;
  rounds: number;
  rows: StartRow[];
}

export function renderStart({ date, machine, loadBefore, model, backend, bytes, rounds, rows }: StartResult): string {
  const seconds = (times: number[]) => (summarize(times).median / 1000).toFixed(2);
  const over = ({ downloadMs, openToTextMs }: StartRow) => {
    const ratio = ratios(openToTextMs, downloadMs)!;
    return `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)} to ${ratio.high.toFixed(2)})`;
  };
  return [
    `Measured ${date.slice(0, 10)} on ${describeMachine(machine, loadBefore)}`,
    `${model}, ${(bytes / 1e6).toFixed(0)} MB, backend ${backend}, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}; medians (lowest to highest).`,
    table(
      ['MB/s', 'download alone, s', 'page open to first text, s', '÷ download'],
      rows.map((row) => [String(row.rate), seconds(row.downloadMs), seconds(row.openToTextMs), over(row)]),
    ),
  ].join('\n\n');
}
