/** Threads that share the work of the kernels: however many they are, and whoever comes first, the bits are those of one. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Worker as NodeWorker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Backend, Step, StepOp } from '../../web/device/backend.ts';
import { soloLayers } from '../../web/device/executor.ts';
import { createWasmBackend } from '../../web/device/wasm/index.ts';
import { type RandomShape, randomModel, type TileKind } from './random-model.ts';

const module = (name: string) =>
  new WebAssembly.Module(readFileSync(new URL(`../../wasm-cpu/build/${name}.wasm`, import.meta.url)));

/** What web/device/wasm/thread.worker.ts does, which Node cannot start. */
const HELPER = `
const { parentPort } = require('node:worker_threads');
parentPort.once('message', async ({ module, memory, thread }) => {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  parentPort.postMessage('ready');
  for (let ticket = 0; ticket !== -1; ticket = exports.serve(thread, ticket, 100)) await new Promise(setImmediate);
});`;

beforeAll(() => {
  vi.stubGlobal(
    'Worker',
    class extends NodeWorker {
      onmessage?: () => void;
      constructor() {
        super(HELPER, { eval: true });
        this.once('message', () => this.onmessage?.());
        this.unref();
      }
    },
  );
});
afterAll(() => void vi.unstubAllGlobals());

/** Sizes of which most are no multiple of pieces and threads; some operations have less to do than there are threads. */
const SHAPE: RandomShape = { layers: 2, dim: 96, heads: 6, kvHeads: 2, headDim: 16, ffn: 224, vocab: 1101 };
const layers: StepOp[] = [{ op: 'embed' }, ...soloLayers([0, SHAPE.layers])];

/** Of the candidates and logits of prompts and tokens, and of the KV at the end: what they are, and their bits in short. */
async function answersOf(backend: Backend): Promise<string[]> {
  const answers: string[] = [];
  const note = (what: string, { buffer, byteOffset, byteLength }: ArrayBufferView) =>
    answers.push(
      `${what} ${createHash('sha1')
        .update(Buffer.copyBytesFrom(new Uint8Array(buffer, byteOffset, byteLength)))
        .digest('hex')}`,
    );
  let position = 0;
  for (const count of [1, 7, 32, 1, 2, 1]) {
    const ids = Uint32Array.from({ length: count }, (_, t) => (17 * (position + t) + 3) % SHAPE.vocab);
    const step: Omit<Step, 'ops' | 'output'> = { position, count, ids };
    const last: StepOp[] = [...layers, { op: 'head', positions: 'last' }];
    const best = { top: 9, temperature: 0.7 };
    note(`candidates after ${count} from ${position}`, await backend.run({ ...step, ops: last, output: 'best', best }));
    const all: StepOp[] = [...layers, { op: 'head', positions: 'all' }];
    note(`logits of ${count} from ${position}`, await backend.run({ ...step, ops: all, output: 'logits' }));
    position += count;
  }
  for (let head = 0; head < SHAPE.kvHeads; head++) {
    for (const [what, values] of Object.entries(await backend.readKv(1, head, 0, position))) note(what, values);
  }
  return answers;
}

describe.each(['plain', 'relaxed'])('%s kernels', (name) => {
  test.each([
    ['q4', 1],
    ['q4-halves', 1],
    ['q8', 1],
    ['q8-16', 3],
    ['f16', 3],
  ] as const)('of %s tiles, in %i pieces, give the bits of one thread', async (kind: TileKind, pieces) => {
    const model = randomModel(SHAPE, [kind], pieces, 7);
    const make = async (threads: number) => {
      const options = { hyper: model.hyper, context: 96, maxBatch: 32, plain: name === 'plain' };
      const backend = await createWasmBackend({
        ...{ ...options, threads },
        module: module(threads > 1 ? `${name}-threads` : name),
      });
      expect(backend.threads).toBe(threads);
      await model.install(backend);
      return backend;
    };
    const one = await make(1);
    const expected = await answersOf(one);
    one.destroy();
    for (const threads of [2, 3, 5]) {
      const backend = await make(threads);
      expect(await answersOf(backend), `${threads} threads`).toEqual(expected);
      backend.destroy();
    }
  });
});
