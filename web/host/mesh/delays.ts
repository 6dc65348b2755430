/** How long a message takes over the links of a mesh, for whoever wants to know what the network alone would allow. */
import type { LinkDelay } from '../../api.ts';
import type { Devices } from './devices.ts';

/** Echoes of each device, after one that warms the way up. */
const ECHOES = 15;

/**
 * Half the round trip of a message of so many bytes to each device and back, where tensors go: the median of several, one after
 * another. A device that does not answer is left out.
 */
export async function linkDelays(
  devices: readonly number[],
  bytes: number,
  echo: Devices['echo'],
): Promise<LinkDelay[]> {
  const text = 'x'.repeat(bytes);
  const delays: LinkDelay[] = [];
  for (const device of devices) {
    const times: number[] = [];
    for (let i = 0; i <= ECHOES; i++) {
      const started = performance.now();
      if (!(await echo(device, text))) break;
      if (i > 0) times.push(performance.now() - started);
    }
    const middle = times.sort((a, b) => a - b)[ECHOES >> 1];
    if (middle !== undefined) delays.push({ device, bytes, oneWayMs: middle / 2 });
  }
  return delays;
}
