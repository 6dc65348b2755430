/**
 * Deals `total` equal things by weight, largest remainder first: everyone gets the whole part of their exact share, and
 * what is left goes, one each, to the largest remainders, equal ones to the earlier. So nobody is a whole thing or
 * more away from their exact share. Weight 0 gets nothing.
 *
 * `least: 1` then gives one thing to everyone of positive weight who has none, each taken from whoever has most (the
 * earliest of equals); it needs `total` to be at least their number.
 *
 * Weights are finite and not negative, and at least one is positive.
 */
export function apportion(total: number, weights: readonly number[], least: 0 | 1 = 0): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  const exact = weights.map((weight) => (total * weight) / sum);
  const counts = exact.map(Math.floor);
  const left = total - counts.reduce((a, b) => a + b, 0);
  const byRemainder = [...weights.keys()]
    .filter((i) => weights[i] > 0)
    .sort((a, b) => exact[b] - counts[b] - (exact[a] - counts[a]) || a - b);
  for (const i of byRemainder.slice(0, left)) counts[i]++;

  for (const [i, weight] of weights.entries()) {
    if (weight === 0 || counts[i] >= least) continue;
    counts[counts.indexOf(Math.max(...counts))]--;
    counts[i]++;
  }
  return counts;
}
