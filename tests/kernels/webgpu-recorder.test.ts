import { expect, test } from 'vitest';
import type { PassTimes } from '../../web/device/webgpu/pass-times.ts';
import { createRecorder } from '../../web/device/webgpu/recorder.ts';

/** A device that only writes down what it is told. */
function fakeDevice() {
  const calls: string[] = [];
  const pass = {
    setPipeline: () => undefined,
    setBindGroup: () => undefined,
    dispatchWorkgroups: (x: number, y: number) => calls.push(`dispatch ${x} ${y}`),
    end: () => calls.push('end'),
  };
  const encoder = {
    beginComputePass: (descriptor: GPUComputePassDescriptor) => {
      const first = descriptor.timestampWrites?.beginningOfPassWriteIndex;
      if (first !== undefined) calls.push(`pass ${first}`);
      return pass;
    },
    clearBuffer: () => calls.push('clear'),
    finish: () => ({}),
  };
  const device = { createCommandEncoder: () => encoder, queue: { submit: () => calls.push('submit') } };
  return { calls, device: device as unknown as GPUDevice };
}

const pipeline = {} as GPUComputePipeline;
const group = {} as GPUBindGroup;

test('a long step is cut into submits of limited work, never inside an operation', () => {
  const { calls, device } = fakeDevice();
  const recorder = createRecorder(device, 100);
  for (const work of [60, 30, 20, 500, 1]) recorder.dispatch(pipeline, group, work, 1, work);
  recorder.end();
  expect(calls).toEqual([
    ...['dispatch 60 1', 'dispatch 30 1', 'end', 'submit'],
    ...['dispatch 20 1', 'end', 'submit'],
    ...['dispatch 500 1', 'end', 'submit'],
    ...['dispatch 1 1', 'end'],
  ]);
  expect(recorder.work).toBe(611);
});

test('one pass holds all dispatches, but for buffers that are cleared between them', () => {
  const { calls, device } = fakeDevice();
  const recorder = createRecorder(device, Number.POSITIVE_INFINITY);
  recorder.dispatch(pipeline, group, 1);
  recorder.dispatch(pipeline, group, 2, 3);
  recorder.clear({} as GPUBuffer, 16);
  recorder.dispatch(pipeline, group, 4);
  recorder.end();
  expect(calls).toEqual(['dispatch 1 1', 'dispatch 2 3', 'end', 'clear', 'dispatch 4 1', 'end']);
  expect(recorder.dispatches).toBe(3);
});

test('where times are wanted, each operation has passes of its own, named with its layer', () => {
  const { calls, device } = fakeDevice();
  const named: string[] = [];
  const times: PassTimes = {
    reset: () => undefined,
    begin(operation, layer) {
      named.push(`${operation} ${layer ?? ''}`.trim());
      return { querySet: {} as GPUQuerySet, beginningOfPassWriteIndex: 2 * (named.length - 1) };
    },
    resolve: () => 0,
    buffer: {} as GPUBuffer,
    report: () => undefined,
  };
  const recorder = createRecorder(device, Number.POSITIVE_INFINITY, times);
  recorder.mark('embed');
  recorder.dispatch(pipeline, group, 1);
  recorder.layer = 3;
  recorder.mark('qkv');
  recorder.dispatch(pipeline, group, 2);
  recorder.dispatch(pipeline, group, 3);
  recorder.mark('join');
  recorder.mark('o');
  recorder.dispatch(pipeline, group, 4);
  recorder.end();
  expect(named).toEqual(['embed', 'qkv 3', 'o 3']);
  expect(calls).toEqual([
    ...['pass 0', 'dispatch 1 1', 'end'],
    ...['pass 2', 'dispatch 2 1', 'dispatch 3 1', 'end'],
    ...['pass 4', 'dispatch 4 1', 'end'],
  ]);
});
