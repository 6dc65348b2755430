/** Ratios that a person may want, for the devices that would compute. */

export interface Suggestion {
  label: string;
  ratios: string;
}

/** Largest number in suggested ratios: beyond it, nobody sees the difference. */
const LARGEST = 12;
/** What one more unit in the largest number must gain in exactness: small numbers read better. */
const PRICE = 0.01;

/** Small whole numbers in about the proportions of the speeds; none is 0. */
export function speedRatios(speeds: readonly number[]): number[] {
  const top = Math.max(...speeds);
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
  let best: { ratios: number[]; cost: number } | undefined;
  for (let largest = 1; largest <= LARGEST; largest += 1) {
    const ratios = speeds.map((speed) => Math.max(1, Math.round((speed / top) * largest)));
    const error = sum(ratios.map((ratio, i) => Math.abs(ratio / sum(ratios) - speeds[i]! / sum(speeds))));
    const cost = error + largest * PRICE;
    if (!best || cost < best.cost) best = { ratios, cost };
  }
  return best?.ratios ?? [];
}

/**
 * @param devices those that would compute, in the order of the ratios; `self` is the host. Speeds of 0 are not known.
 */
export function suggestRatios(devices: readonly { self: boolean; gmacs: number }[]): Suggestion[] {
  if (devices.length < 2) return [];
  const speeds = devices.map(({ gmacs }) => gmacs);
  const measured = speeds.every((speed) => speed > 0);
  const bySpeed = measured ? speedRatios(speeds) : devices.map(() => 1);
  const suggestions: Suggestion[] = [
    { label: 'Equal shares', ratios: devices.map(() => 1).join(':') },
    ...(measured ? [{ label: 'By speed', ratios: bySpeed.join(':') }] : []),
    { label: 'Pipeline', ratios: bySpeed.join('*') },
    // Ratios for fewer devices are for the first ones, and the host is always first.
    ...(devices[0]?.self ? [{ label: 'All on this device', ratios: '1' }] : []),
  ];
  return suggestions.filter(({ ratios }, i) => suggestions.findIndex((other) => other.ratios === ratios) === i);
}
