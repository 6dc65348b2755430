/** Where every device's time goes, as scripts are told of it (`?profile=1`). */
import type { DeviceProfile, PhaseProfile } from '../../api.ts';
import type { PhaseTimes } from '../../mesh/control.ts';
import type { Operation } from '../../mesh/operations.ts';
import type { Devices } from './devices.ts';

type Ask = Devices['profile'];

/** Asks each device for its sums; one that does not say is left out. */
export async function profilesOf(devices: readonly number[], ask: Ask): Promise<DeviceProfile[]> {
  const all = await Promise.all(
    devices.map(async (device): Promise<DeviceProfile[]> => {
      const times = (await ask(device, { operations: true }))?.operations;
      if (!times) return [];
      const { timesOperations, prefill, decode } = times;
      return [{ device, timesOperations, prefill: phaseOf(prefill), decode: phaseOf(decode) }];
    }),
  );
  return all.flat();
}

/** New sums on every device; resolves when all have begun them. */
export async function clearProfiles(devices: readonly number[], ask: Ask): Promise<void> {
  await Promise.all(devices.map((device) => ask(device, { clear: true })));
}

const US_PER_MS = 1000;

function phaseOf({ batches, tokens, us, layers, rest }: PhaseTimes): PhaseProfile {
  return {
    ...{ batches, tokens, totalMs: us / US_PER_MS },
    layers: layers.map(([layer, times]) => ({ layer, ms: inMs(times) })),
    rest: inMs(rest),
  };
}

function inMs(times: readonly (readonly [Operation, number])[]): Partial<Record<Operation, number>> {
  return Object.fromEntries(times.map(([operation, us]) => [operation, us / US_PER_MS]));
}
