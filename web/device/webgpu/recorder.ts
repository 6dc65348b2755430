import type { Operation } from '../../mesh/operations.ts';
import type { PassTimes } from './pass-times.ts';

/** Records the dispatches of a step, and cuts it into several submits where one would keep the GPU for too long. */
export interface Recorder {
  /** `work`: multiply-adds, to know where to cut. */
  dispatch(pipeline: GPUComputePipeline, group: GPUBindGroup, x: number, y?: number, work?: number): void;
  clear(buffer: GPUBuffer, bytes: number): void;
  /** What follows belongs to this operation of the layer in `layer`. Where times are wanted, it gets a pass of its own. */
  mark(operation: Operation): void;
  layer: number | undefined;
  /** The encoder with what is not yet submitted, its compute pass ended. */
  end(): GPUCommandEncoder;
  readonly dispatches: number;
  readonly work: number;
}

/** `workPerSubmit`: most multiply-adds between two submits. `times`: measures the passes. */
export function createRecorder(device: GPUDevice, workPerSubmit: number, times?: PassTimes): Recorder {
  let encoder = device.createCommandEncoder({ label: 'step' });
  let pass: GPUComputePassEncoder | undefined;
  let dispatches = 0;
  let work = 0;
  let operation: Operation = 'step';
  let sinceSubmit = 0;
  const endPass = () => {
    pass?.end();
    pass = undefined;
  };
  const beginPass = () => {
    const timestampWrites = times?.begin(operation, recorder.layer);
    return encoder.beginComputePass({ label: 'step', ...(timestampWrites && { timestampWrites }) });
  };
  const recorder: Recorder = {
    layer: undefined,
    mark(next) {
      if (times) endPass();
      operation = next;
    },
    dispatch(pipeline, group, x, y = 1, more = 0) {
      if (sinceSubmit > 0 && sinceSubmit + more > workPerSubmit) {
        endPass();
        device.queue.submit([encoder.finish()]);
        encoder = device.createCommandEncoder({ label: 'step' });
        sinceSubmit = 0;
      }
      pass ??= beginPass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(x, y);
      dispatches++;
      work += more;
      sinceSubmit += more;
    },
    clear(buffer, bytes) {
      endPass();
      encoder.clearBuffer(buffer, 0, bytes);
    },
    end() {
      endPass();
      return encoder;
    },
    get dispatches() {
      return dispatches;
    },
    get work() {
      return work;
    },
  };
  return recorder;
}
