import type { Range } from '../../plan/types.ts';

/** How a wanted run of units is put together. */
export interface Cover {
  /** Held runs to read, each with at least one wanted unit; they may reach beyond what is wanted. */
  use: Range[];
  /** Wanted runs that are nowhere, ascending. */
  gaps: Range[];
}

/** Covers `want` with held runs (sorted by start; they may overlap), as few as possible. */
export function cover(held: readonly Range[], want: Range): Cover {
  const use: Range[] = [];
  const gaps: Range[] = [];
  const [, end] = want;
  let position = want[0];
  let next = 0;
  while (position < end) {
    let best: Range | undefined;
    while (next < held.length && held[next]![0] <= position) {
      const candidate = held[next++]!;
      if (candidate[1] > position && (!best || candidate[1] > best[1])) best = candidate;
    }
    if (best) {
      use.push(best);
      position = best[1];
      continue;
    }
    const gapEnd = Math.min(end, held[next]?.[0] ?? end);
    gaps.push([position, gapEnd]);
    position = gapEnd;
  }
  return { use, gaps };
}

/** Adds a run to a list that stays sorted by start; a run that is there already is not added twice. */
export function insertRange(ranges: Range[], added: Range): void {
  let index = ranges.length;
  while (index > 0 && ranges[index - 1]![0] >= added[0]) {
    const [from, to] = ranges[index - 1]!;
    if (from === added[0] && to === added[1]) return;
    index--;
  }
  ranges.splice(index, 0, added);
}

/** Takes exactly this run out of a list, if it is there. */
export function removeRange(ranges: Range[], [from, to]: Range): void {
  const index = ranges.findIndex((range) => range[0] === from && range[1] === to);
  if (index >= 0) ranges.splice(index, 1);
}

export const intersect = (a: Range, b: Range): Range => [Math.max(a[0], b[0]), Math.min(a[1], b[1])];
