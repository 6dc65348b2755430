/** From GPU buffers to JavaScript, with the nudge that some browsers need to notice that the GPU is done. */
import { DeviceError } from '../backend.ts';
import { words } from './adapter.ts';

/** A round trip that takes longer than this, in ms, with an idle GPU is waiting for a polling timer. */
const SLOW_ROUND_TRIP_MS = 20;
/** Pace of the empty submits, in ms. On every task they would keep the browser from noticing anything. */
const NUDGE_MS = 1;

export interface Source {
  buffer: GPUBuffer;
  offset: number;
  /** Bytes; a multiple of 4. */
  size: number;
}

export interface Readback {
  /**
   * Adds the copy to the encoder, submits it behind `before`, and resolves with the bytes one behind the other. One call at
   * a time a kind of use. `submitted` is called while the GPU computes. Rejects with DeviceError `lost`.
   */
  finish(
    encoder: GPUCommandEncoder,
    sources: Source[],
    before?: GPUCommandBuffer[],
    submitted?: () => void,
  ): Promise<ArrayBuffer>;
  /** The same with an encoder of its own. */
  copy(sources: Source[]): Promise<ArrayBuffer>;
  /** Milliseconds of an empty round trip. */
  readonly roundTripMs: number;
  bytes(): number;
}

/** Measures a round trip first, to know whether this browser needs nudging. */
export async function createReadback(device: GPUDevice): Promise<Readback> {
  let staging: GPUBuffer | undefined;
  let nudging = false;
  let roundTripMs = 0;
  /** Copies share the staging buffer, so they go one after another. */
  let last: Promise<unknown> = Promise.resolve();

  const stagingOf = (size: number): GPUBuffer => {
    if (staging && staging.size >= size) return staging;
    staging?.destroy();
    staging = device.createBuffer({
      label: 'readback',
      size: Math.max(size, 256),
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    return staging;
  };

  const finish: Readback['finish'] = async (encoder, sources, before = [], submitted) => {
    const size = sources.reduce((sum, source) => sum + source.size, 0);
    const target = stagingOf(size);
    let at = 0;
    for (const source of sources) {
      encoder.copyBufferToBuffer(source.buffer, source.offset, target, at, source.size);
      at += source.size;
    }
    device.queue.submit([...before, encoder.finish()]);
    try {
      const mapped = target.mapAsync(GPUMapMode.READ, 0, size);
      submitted?.();
      await (nudging ? nudged(device.queue, mapped) : mapped);
      const bytes = target.getMappedRange(0, size).slice(0);
      target.unmap();
      return bytes;
    } catch (cause) {
      throw new DeviceError('lost', `The GPU stopped computing: ${words(cause)}`, { cause });
    }
  };

  const inTurn: Readback['finish'] = (...all) => {
    const turn = last.then(() => finish(...all));
    last = turn.catch(() => undefined);
    return turn;
  };

  const probe = device.createBuffer({ label: 'probe', size: 4, usage: GPUBufferUsage.COPY_SRC });
  const roundTrip = async (): Promise<number> => {
    const start = performance.now();
    await inTurn(device.createCommandEncoder(), [{ buffer: probe, offset: 0, size: 4 }]);
    return performance.now() - start;
  };
  // The first one pays for the start of the GPU process.
  await roundTrip();
  roundTripMs = await roundTrip();
  if (roundTripMs > SLOW_ROUND_TRIP_MS) {
    nudging = true;
    roundTripMs = await roundTrip();
  }
  probe.destroy();

  return {
    finish: inTurn,
    copy: (sources) => inTurn(device.createCommandEncoder({ label: 'read' }), sources),
    roundTripMs,
    bytes: () => staging?.size ?? 0,
  };
}

/** Waits for a mapping while submitting nothing about once a millisecond (Bugzilla 1870699). */
async function nudged(queue: GPUQueue, mapped: Promise<undefined>): Promise<void> {
  let waiting = true;
  const done = mapped.finally(() => {
    waiting = false;
  });
  // A rejection is reported by the await below; this loop must only end.
  done.catch(() => undefined);
  while (waiting) {
    await pause();
    if (waiting) queue.submit([]);
  }
  await done;
}

/** A millisecond without work. Nested timers would make it 4, spinning would take the time of a GPU that is a processor. */
function pause(): Promise<void> {
  if (typeof scheduler === 'undefined') return new Promise((resolve) => setTimeout(resolve, NUDGE_MS));
  return scheduler.postTask(() => undefined, { delay: NUDGE_MS });
}
