/** Starts the Worker that lends, or says why it cannot. */
import { type Endpoint, type Remote, wrap } from 'comlink';
import type { DeviceWorker } from '../device/device.worker.ts';
import { within } from '../device/within.ts';
import type { About } from '../mesh/control.ts';

/** Longest until the Worker answers for the first time, in milliseconds: its script may come over a slow line. */
const START_PATIENCE_MS = 60_000;

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
    // Any answer will do, but not its notes, which are told once: a script that never comes gives neither answer nor error.
    const answered = worker.status().then(
      () => undefined,
      () => undefined,
    );
    within(START_PATIENCE_MS, answered).catch(() => fail(`has not started in ${START_PATIENCE_MS / 1000} s`));
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
