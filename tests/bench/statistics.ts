/** What many rounds of one measurement say together. */
export interface Summary {
  median: number;
  low: number;
  high: number;
  rounds: number;
}

/** Median, lowest and highest. Throws without values: there is nothing to report then. */
export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new RangeError('No values to summarize.');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, low: sorted[0]!, high: sorted.at(-1)!, rounds: sorted.length };
}

/**
 * How many times faster `a` was than `b`, round by round: engines of one round ran within seconds of each other, so that
 * what slows the machine for a while falls out.
 */
export function ratios(a: readonly number[], b: readonly number[]): Summary | undefined {
  const rounds = Math.min(a.length, b.length);
  if (rounds === 0) return undefined;
  return summarize(Array.from({ length: rounds }, (_, i) => a[i]! / b[i]!));
}
