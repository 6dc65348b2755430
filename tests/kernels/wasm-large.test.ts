/** Addresses of 2 GiB and more, which are negative as signed 32-bit integers. */
import { expect, test } from 'vitest';
import type { StepOp } from '../../web/device/backend.ts';
import { createWasmBackend } from '../../web/device/wasm/index.ts';
import { kernelModule } from '../support/node-model.ts';
import { type RandomShape, randomModel } from './random-model.ts';

test('what lies beyond 2 GiB of memory is found there', async () => {
  const shape: RandomShape = { layers: 3, dim: 64, heads: 2, kvHeads: 1, headDim: 32, ffn: 32, vocab: 33 };
  const model = randomModel(shape, ['q4-halves', 'q8', 'f16', 'f32', 'q8-halves'], 1, 5);
  const [near, far] = await Promise.all(
    // Nobody touches the memory of positions that nobody writes.
    [64, 8 << 20].map(async (context) => {
      const options = { hyper: model.hyper, context, maxBatch: 8, threads: 1 };
      const backend = await createWasmBackend({ ...options, module: kernelModule('relaxed') });
      await model.install(backend);
      return backend;
    }),
  );
  expect(far!.memory().kv).toBeGreaterThan(2 ** 31);
  const layer = (i: number): StepOp[] => [
    { op: 'attention', layer: i },
    { op: 'merge' },
    { op: 'ffn', layer: i },
    { op: 'merge' },
  ];
  const ops: StepOp[] = [{ op: 'embed' }, ...[0, 1, 2].flatMap(layer), { op: 'head', positions: 'all' }];
  const ids = Uint32Array.of(3, 1, 4, 1, 5);
  for (const [position, count] of [
    [0, 5],
    [5, 1],
  ] as const) {
    const step = { position, count, ids, ops, output: 'logits' } as const;
    expect((await far!.run(step)).slice()).toEqual((await near!.run(step)).slice());
  }
  for (const i of [0, 1, 2]) {
    const slice = await near!.readKv(i, 0, 0, 6);
    expect(await far!.readKv(i, 0, 0, 6)).toEqual(slice);
    await far!.writeKv(i, 0, 3, slice);
    expect(await far!.readKv(i, 0, 3, 9)).toEqual(slice);
  }
  for (const backend of [near!, far!]) backend.destroy();
});
