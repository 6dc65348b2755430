/** Memory and threads of the WASM backend: what one backend leaves to the next, and helpers that never answer. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Backend, Step, StepOp } from '../../web/device/backend.ts';
import { soloLayers } from '../../web/device/executor.ts';
import { randomModel } from './random-model.ts';

const SHAPE = { layers: 2, dim: 64, heads: 4, kvHeads: 2, headDim: 16, ffn: 96, vocab: 70 };
const model = randomModel(SHAPE, ['q4', 'q8', 'f16'], 1, 7);

const kernels = (name: string) =>
  new WebAssembly.Module(readFileSync(new URL(`../../wasm-cpu/build/${name}.wasm`, import.meta.url)));
const relaxed = kernels('relaxed');
const shared = kernels('relaxed-threads');

const ops: StepOp[] = [{ op: 'embed' }, ...soloLayers([0, SHAPE.layers]), { op: 'head', positions: 'all' }];
const step = (): Step => ({ position: 0, count: 3, ids: Uint32Array.of(5, 6, 7), ops, output: 'logits' });

/** A Worker that does what `onPost` says, which may be nothing. */
function workers(onPost: (worker: { onmessage?: () => void }) => void) {
  const made: { ended: boolean }[] = [];
  vi.stubGlobal(
    'Worker',
    class {
      ended = false;
      onmessage?: () => void;
      constructor() {
        made.push(this);
      }
      postMessage() {
        onPost(this);
      }
      terminate() {
        this.ended = true;
      }
    },
  );
  return made;
}

/** Each test has a Worker of its own, so to say: nothing is left from the one before. */
let createWasmBackend: typeof import('../../web/device/wasm/index.ts').createWasmBackend;
let memories: WebAssembly.Memory[];
beforeEach(async () => {
  vi.resetModules();
  ({ createWasmBackend } = await import('../../web/device/wasm/index.ts'));
  memories = [];
  const { Memory } = WebAssembly;
  vi.spyOn(WebAssembly, 'Memory').mockImplementation(function make(descriptor) {
    const memory = new Memory(descriptor);
    memories.push(memory);
    return memory;
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

const alone = (): Promise<Backend> =>
  createWasmBackend({ hyper: model.hyper, context: 32, maxBatch: 8, threads: 1, module: relaxed });
const inPair = (patienceMs?: number): Promise<Backend> =>
  createWasmBackend({
    ...{ hyper: model.hyper, context: 32, maxBatch: 8, threads: 2, module: shared },
    ...(patienceMs !== undefined && { patienceMs }),
  });

async function answerOf(backend: Backend): Promise<Float32Array> {
  await model.install(backend);
  return (await backend.run(step())).slice();
}

describe('what a backend leaves', () => {
  test('is the memory of the next one, which computes as in a new one', async () => {
    const first = await alone();
    const expected = await answerOf(first);
    first.destroy();
    const second = await alone();
    expect(await answerOf(second)).toEqual(expected);
    expect(memories).toHaveLength(1);

    // Two at once share nothing.
    const third = await alone();
    expect(memories).toHaveLength(2);
    expect(await answerOf(third)).toEqual(expected);
    expect((await second.run(step())).slice()).toEqual(expected);
  });

  test('is out of reach of one that has ended', async () => {
    const first = await alone();
    await model.install(first);
    first.destroy();
    first.destroy();
    const second = await alone();
    const expected = await answerOf(second);
    await expect(first.run(step())).rejects.toMatchObject({ code: 'lost' });
    await expect(model.install(first)).rejects.toMatchObject({ code: 'lost' });
    expect((await second.run(step())).slice()).toEqual(expected);
  });

  test('goes when nobody comes for it', async () => {
    vi.useFakeTimers();
    const first = await alone();
    first.destroy();
    await vi.advanceTimersByTimeAsync(60_000);
    await alone();
    expect(memories).toHaveLength(2);
  });
});

describe('a helper thread', () => {
  test('that never starts leaves one thread, which says so, and is not tried again', async () => {
    const expected = await answerOf(await alone());
    vi.useFakeTimers();
    const made = workers(() => {});
    const making = inPair();
    await vi.advanceTimersByTimeAsync(60_000);
    const backend = await making;
    expect(backend.threads).toBe(1);
    expect(backend.note).toMatch(/^One thread computes, since a helper thread did not start: /);
    expect(made.map(({ ended }) => ended)).toEqual([true]);
    expect(await answerOf(backend)).toEqual(expected);

    const next = await inPair();
    expect(next).toMatchObject({ threads: 1, note: backend.note });
    expect(made).toHaveLength(1);
  });

  test('that starts and then never computes ends the step in time, and the next backend has one thread', async () => {
    const expected = await answerOf(await alone());
    const made = workers((worker) => worker.onmessage?.());
    const backend = await inPair(100);
    expect(backend).toMatchObject({ threads: 2, note: undefined });
    await model.install(backend);
    await expect(backend.run(step())).rejects.toMatchObject({
      code: 'lost',
      message: expect.stringContaining('a helper thread does not answer'),
    });
    expect(await backend.lost).toContain('a helper thread does not answer');
    backend.destroy();
    expect(made.map(({ ended }) => ended)).toEqual([true]);

    const next = await inPair(100);
    expect(next.threads).toBe(1);
    expect(next.note).toContain('a helper thread stopped answering');
    expect(await answerOf(next)).toEqual(expected);
  });
});
