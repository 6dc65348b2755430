import { expect, test } from 'vitest';
import type { Step, StepOp } from '../../web/device/backend.ts';
import { createAhead } from '../../web/device/webgpu/ahead.ts';
import type { Recorder } from '../../web/device/webgpu/recorder.ts';

const OPS: StepOp[] = [
  { op: 'embed' },
  { op: 'attention', layer: 0 },
  { op: 'merge' },
  { op: 'head', positions: 'last' },
];
const step = (change: Partial<Step> = {}): Step => ({ position: 0, count: 1, ops: OPS, output: 'best', ...change });

/** Runs steps; tells of each whether its commands were recorded ahead. */
function play(steps: (Step | 'drop')[]): boolean[] {
  const ahead = createAhead();
  const found: boolean[] = [];
  for (const one of steps) {
    if (one === 'drop') {
      ahead.drop();
      continue;
    }
    const now = {} as Recorder;
    found.push(ahead.take(one, () => now) !== now);
    ahead.prepare(() => ({}) as Recorder);
  }
  return found;
}

test('from the third of equal steps on, commands are there', () => {
  const steps = [0, 1, 2, 3].map((position) => step({ position, ops: OPS.map((op) => ({ ...op })) }));
  expect(play(steps)).toEqual([false, false, true, true]);
});

test.each<[string, Partial<Step>]>([
  ['output', { output: 'logits' }],
  ['partial sums to add', { add: new Float32Array(4) }],
  ['layer', { ops: OPS.with(1, { op: 'attention', layer: 1 }) }],
  ['half of the layer', { ops: OPS.with(1, { op: 'ffn', layer: 0 }) }],
  ['positions of the head', { ops: OPS.with(3, { op: 'head', positions: 'all' }) }],
  ['number of operations', { ops: OPS.slice(0, 3) }],
])('not for a step with another %s', (_, change) => {
  expect(play([step(), step(), step(change), step(), step(), step()])).toEqual([
    false,
    false,
    false,
    false,
    false,
    true,
  ]);
});

test('nor once they are dropped', () => {
  expect(play([step(), step(), 'drop', step(), step(), step()])).toEqual([false, false, false, false, true]);
});
