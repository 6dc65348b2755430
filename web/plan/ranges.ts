/**
 * Range lists: sets of whole numbers as half-open ranges. All functions give the normal form: ascending, disjoint, no
 * empty range, no two that touch. Arguments other than `normalize`'s are expected ascending and disjoint.
 */
import type { Range } from './types.ts';

/** Any ranges, in any order, overlapping or empty, in normal form. */
export function normalize(ranges: readonly Range[]): Range[] {
  const sorted = ranges.filter(([from, to]) => from < to).sort((a, b) => a[0] - b[0]);
  const result: Range[] = [];
  for (const [from, to] of sorted) {
    const last = result.at(-1);
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else result.push([from, to]);
  }
  return result;
}

/** Numbers in either list. */
export function union(a: readonly Range[], b: readonly Range[]): Range[] {
  return normalize([...a, ...b]);
}

/** Numbers in both lists. */
export function intersect(a: readonly Range[], b: readonly Range[]): Range[] {
  const result: Range[] = [];
  let j = 0;
  for (const [from, to] of a) {
    while (j < b.length && b[j][1] <= from) j++;
    for (let k = j; k < b.length && b[k][0] < to; k++) result.push([Math.max(from, b[k][0]), Math.min(to, b[k][1])]);
  }
  return normalize(result);
}

/** Numbers in `a` that are not in `b`. */
export function subtract(a: readonly Range[], b: readonly Range[]): Range[] {
  const result: Range[] = [];
  for (const [from, to] of a) {
    let start = from;
    for (const [cutFrom, cutTo] of b) {
      if (cutTo <= start) continue;
      if (cutFrom >= to) break;
      result.push([start, cutFrom]);
      start = cutTo;
    }
    result.push([start, to]);
  }
  return normalize(result);
}

/** How many numbers a list holds. */
export function count(ranges: readonly Range[]): number {
  return ranges.reduce((sum, [from, to]) => sum + to - from, 0);
}

/** Every number n becomes the numbers [n · factor, (n + 1) · factor): heads to rows. */
export function scale(ranges: readonly Range[], factor: number): Range[] {
  return ranges.map(([from, to]): Range => [from * factor, to * factor]);
}

/** Of the list's numbers in ascending order, those from the `from`-th to before the `to`-th. */
export function pick(ranges: readonly Range[], from: number, to: number): Range[] {
  const result: Range[] = [];
  let before = 0;
  for (const [start, end] of ranges) {
    result.push([start + Math.max(0, from - before), Math.min(end, start + to - before)]);
    before += end - start;
  }
  return normalize(result);
}

/** Smallest number of steps between a number of `a` and one of `b`; 1 where they touch, Infinity where one is empty. */
export function distance(a: readonly Range[], b: readonly Range[]): number {
  let least = Number.POSITIVE_INFINITY;
  for (const [aFrom, aTo] of a) {
    for (const [bFrom, bTo] of b) least = Math.min(least, Math.max(0, bFrom - aTo + 1, aFrom - bTo + 1));
  }
  return least;
}

/** Whether every border falls on a multiple of `unit`, or on `total`, where the last unit may be short. */
export function aligned(ranges: readonly Range[], unit: number, total: number): boolean {
  return ranges.every(([from, to]) => from % unit === 0 && (to % unit === 0 || to === total));
}

/** The numbers of the list, one by one. */
export function* each(ranges: readonly Range[]): Generator<number> {
  for (const [from, to] of ranges) for (let n = from; n < to; n++) yield n;
}

/** For people: `0-2, 6-8`, ends included; `none` for an empty list. */
export function words(ranges: readonly Range[]): string {
  if (ranges.length === 0) return 'none';
  return ranges.map(([from, to]) => (to - from === 1 ? `${from}` : `${from}-${to - 1}`)).join(', ');
}
