/** Starts the Worker that lends, or says why it cannot. */
import { type Endpoint, type Remote, wrap } from 'comlink';
import type { DeviceWorker } from '../device/device.worker.ts';
import { messageOf } from '../device/errors.ts';
import { started } from '../device/within.ts';
import type { About } from '../mesh/control.ts';

/** The part of a Worker that is used here. */
export type DeviceEndpoint = Endpoint & Pick<Worker, 'terminate'>;

/**
 * What the device offers, once it has measured itself. Rejects with an Error for a person when the Worker fails or never
 * starts, and ends it then.
 */
export async function startDevice(
  endpoint: DeviceEndpoint,
  options: Parameters<DeviceWorker['start']>[0],
): Promise<{ worker: Remote<DeviceWorker>; about: About }> {
  const worker = wrap<DeviceWorker>(endpoint);
  const failed = new Promise<never>((_, reject) => {
    const fail = (what: string) => reject(new Error(`The Worker that computes ${what}. Reload the page.`));
    endpoint.addEventListener('error', ((event: ErrorEvent) =>
      fail(`stopped${event.message ? `: ${event.message}` : ''}`)) as EventListener);
    // Not its notes, which it tells once.
    started(worker.status()).catch((error) => fail(messageOf(error)));
  });
  // Nobody listens any more once it has started.
  failed.catch(() => undefined);
  try {
    return { worker, about: await Promise.race([worker.start(options), failed]) };
  } catch (error) {
    endpoint.terminate();
    throw error;
  }
}
