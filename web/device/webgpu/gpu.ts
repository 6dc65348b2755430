import { DeviceError } from '../backend.ts';
import { words } from './adapter.ts';

/** Bytes to the next multiple of 16: every storage array of the shaders is made of vec4 at most. */
export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

export const STORAGE = () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;

/**
 * A device whose creations are checked: WebGPU reports their faults later, and never to the call that made them.
 * `settled` waits until every creation so far is known to be good, and rejects with DeviceError `memory` or `unsupported`.
 */
export interface CheckedDevice {
  readonly device: GPUDevice;
  /** Runs synchronous creations under error scopes; `settled` tells of their faults. */
  create<T>(what: string, make: () => T): T;
  /** Like `create`, and waits for the verdict on these creations alone. */
  createNow<T>(what: string, make: () => T): Promise<T>;
  /** Undefined when nothing waits, so that the usual step pays nothing. */
  settled(): Promise<void> | undefined;
}

export function checkedDevice(device: GPUDevice): CheckedDevice {
  let waiting: Promise<DeviceError | undefined>[] = [];
  const scoped = <T>(what: string, make: () => T): { made: T; fault: Promise<DeviceError | undefined> } => {
    device.pushErrorScope('validation');
    device.pushErrorScope('out-of-memory');
    let made: T;
    let memory: Promise<GPUError | null>;
    let validation: Promise<GPUError | null>;
    try {
      made = make();
    } finally {
      memory = device.popErrorScope();
      validation = device.popErrorScope();
    }
    const fault = Promise.all([memory, validation]).then(
      ([outOfMemory, invalid]) => {
        if (outOfMemory) {
          return new DeviceError('memory', `The GPU has too little memory for ${what}: ${outOfMemory.message}`);
        }
        return invalid ? new DeviceError('unsupported', `The GPU refused ${what}: ${invalid.message}`) : undefined;
      },
      (cause) => new DeviceError('lost', `The GPU went away: ${words(cause)}`, { cause }),
    );
    return { made, fault };
  };
  return {
    device,
    create(what, make) {
      const { made, fault } = scoped(what, make);
      waiting.push(fault);
      return made;
    },
    async createNow(what, make) {
      const { made, fault } = scoped(what, make);
      const error = await fault;
      if (error) throw error;
      return made;
    },
    settled() {
      if (waiting.length === 0) return undefined;
      const all = waiting;
      waiting = [];
      return Promise.all(all).then((faults) => {
        const error = faults.find((fault) => fault !== undefined);
        if (error) throw error;
      });
    },
  };
}

/** Fills a new buffer with data. */
export function bufferWith(
  device: GPUDevice,
  label: string,
  data: Uint32Array | Float32Array,
  usage = STORAGE(),
): GPUBuffer {
  const size = roundUp(Math.max(data.byteLength, 16), 16);
  const buffer = device.createBuffer({ label, size, usage, mappedAtCreation: true });
  new Uint8Array(buffer.getMappedRange()).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  buffer.unmap();
  return buffer;
}
