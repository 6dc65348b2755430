/** The last passes of every device, as scripts are told of them. */
import type { DevicePasses } from '../../api.ts';
import type { Devices } from './devices.ts';

/** Asks each device; one that does not say has none. */
export function passesOf(devices: readonly number[], profile: Devices['profile']): Promise<DevicePasses[]> {
  return Promise.all(
    devices.map(async (device) => {
      const { passes = [] } = (await profile(device, { passes: true })) ?? {};
      return {
        device,
        passes: passes.map(([epoch, position, tokens, execUs, syncUs, bytesSent, bytesReceived]) => ({
          ...{ epoch, position, tokens, execMs: execUs / 1000, syncMs: syncUs / 1000, bytesSent, bytesReceived },
        })),
      };
    }),
  );
}
