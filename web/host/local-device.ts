/** One backend with a model's weights in it, and the Runner over it. */
import { type Backend, DeviceError } from '../device/backend.ts';
import { createExecutor } from '../device/executor.ts';
import { loadShare } from '../device/loader/load.ts';
import type { LoadProgress, Share } from '../device/loader/types.ts';
import type { MakeBackend } from '../device/probe.ts';
import type { StreamingPartReader } from '../device/store/types.ts';
import type { Catalogue } from '../model/types.ts';
import { createLocalRunner } from './local-runner.ts';
import type { Runner } from './runner.ts';

export interface LocalDevice {
  backend: Backend;
  runner: Runner;
}

export interface LocalDeviceOptions {
  make: MakeBackend;
  catalogue: Catalogue;
  reader: StreamingPartReader;
  share: Share;
  context: number;
  signal?: AbortSignal;
  onProgress?: LoadProgress;
}

/**
 * Positions that go through the model together. More reads the weights fewer times, but takes longer to stop, and
 * memory for the activations and, when evaluating, for as many rows of logits.
 */
const MAX_BATCH = 64;

/** Rejects with ModelError, DeviceError or the signal's reason; nothing is left on the device then. */
export async function startLocalDevice(options: LocalDeviceOptions): Promise<LocalDevice> {
  const { make, catalogue, reader, share, context, signal, onProgress } = options;
  const { hyper } = catalogue;
  const backend = await make({ hyper, context, maxBatch: MAX_BATCH });
  // Losing the device while it loads must not leave the load waiting for answers that never come.
  const lost = backend.lost.then((reason) => Promise.reject(new DeviceError('lost', reason)));
  lost.catch(() => undefined);
  try {
    const weights = await Promise.race([loadShare({ catalogue, reader, backend, share, signal, onProgress }), lost]);
    const runner = createLocalRunner(createExecutor(hyper, backend, weights), { context, maxBatch: MAX_BATCH });
    return { backend, runner };
  } catch (error) {
    backend.destroy();
    throw error;
  }
}
