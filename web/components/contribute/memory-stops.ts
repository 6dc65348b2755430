/** Places of the memory slider, in bytes. */
const STOPS = [100e6, 200e6, 300e6, 500e6, 750e6, 1e9, 1.5e9, 2e9, 3e9, 4e9, 6e9, 8e9, 12e9, 16e9];

/** Share of a device's memory that is offered at most: the browser and the system need theirs. */
const MOST = 0.75;

/**
 * Stops for a device, ascending, with the present limit among them.
 * @param deviceBytes its memory where the browser tells (rounded, 8 GB at most)
 * @param limit the present limit; 0 where none is known
 */
export function memoryStops(deviceBytes: number | undefined, limit: number): number[] {
  const most = Math.max((deviceBytes ?? 4e9) * MOST, limit, STOPS[0]!);
  const stops = STOPS.filter((stop) => stop <= most);
  if (limit > 0 && !stops.includes(limit)) stops.push(limit);
  return stops.sort((a, b) => a - b);
}

/** What the browser tells of this device's memory, in bytes: Chromium rounds it to a power of two GiB. */
export function deviceMemory(navigator: object): number | undefined {
  const told = 'deviceMemory' in navigator ? navigator.deviceMemory : undefined;
  return typeof told === 'number' && told > 0 ? told * 2 ** 30 : undefined;
}
