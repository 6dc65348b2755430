/** Devices that find the best logits themselves: answers are the same, and few logits are read. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, expect, test } from 'vitest';
import type { Backend, BackendOptions } from '../../../web/device/backend.ts';
import { wordsOfBest } from '../../../web/device/best.ts';
import { selectCandidates } from '../../../web/device/candidates.ts';
import { type OpenedModel, readModel } from '../../../web/host/open-model.ts';
import type { GenerateRequest } from '../../../web/host/requests.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { readGolden } from '../../support/golden.ts';
import { type PlayedMesh, playMesh, wasmBackend } from '../../support/mesh-in-process.ts';
import { repoPath } from '../../support/node-model.ts';

const NAME = 'tiny-llama.Q4_0';
const { ids } = readGolden(repoPath(`tests/fixtures/${NAME}.json`)).cases.find(({ name }) => name === 'ids33')!;
const MOST = 64;

let model: OpenedModel;
let mesh: PlayedMesh;
beforeAll(async () => {
  model = await readModel(bytesSource(readFileSync(repoPath(`tests/fixtures/${NAME}.gguf`)), `${NAME}.gguf`));
});
afterEach(() => mesh.close());

interface Count {
  best: number;
  logits: number;
  readLogits: number;
}

/** WASM that answers steps with output `best` as select.wgsl does. */
async function selecting(options: BackendOptions, count: Count): Promise<Backend> {
  const backend = await wasmBackend(options);
  let last = new Float32Array(0);
  return {
    ...backend,
    selection: {
      most: MOST,
      async readLogits() {
        count.readLogits++;
        return last;
      },
    },
    async run(step) {
      if (step.output === 'logits') count.logits++;
      if (step.output !== 'best' || !step.best) return backend.run(step);
      count.best++;
      const { top, temperature } = step.best;
      last = (await backend.run({ ...step, output: 'logits' })).slice();
      const found = selectCandidates([{ row: 0, logits: last }], { positions: 'last', top, temperature });
      const words = new Uint32Array(wordsOfBest(top));
      const values = new Float32Array(words.buffer);
      const peak = last.reduce((a, b) => Math.max(a, b), -Infinity);
      values[0] = peak;
      values[1] = Math.exp(found.logSumExp - peak / (temperature || 1));
      words[3] = found.ids.length;
      found.ids.forEach((row, i) => {
        words[4 + 2 * i] = row;
        values[5 + 2 * i] = found.logits[i]!;
      });
      return values;
    },
  };
}

async function answer(ratios: string, request: GenerateRequest, count?: Count): Promise<number[]> {
  const makeBackend = count && ((options: BackendOptions) => selecting(options, count));
  mesh = playMesh({ model, ...(makeBackend && { own: { makeBackend } }) });
  for (const device of [1, 2]) await mesh.join(device, makeBackend && { makeBackend });
  const session = await mesh.load({ ratios });
  const { ids: text } = await session.loop.generate({ ids, maxTokens: 8, ignoreEos: true, ...request });
  mesh.close();
  return text;
}

test.each<[name: string, request: GenerateRequest, expected: Count]>([
  ['greedy', { temperature: 0 }, { best: 8, logits: 0, readLogits: 0 }],
  ['the best 12', { temperature: 0.8, topK: 12, seed: 3 }, { best: 8, logits: 0, readLogits: 0 }],
  ['more than a device finds', { temperature: 0.8, topK: 80, seed: 3 }, { best: 0, logits: 8, readLogits: 0 }],
  ['a penalty', { temperature: 0, repetitionPenalty: 1.3 }, { best: 0, logits: 8, readLogits: 0 }],
])('%s', async (_, request, expected) => {
  for (const [ratios, lastStage] of [
    ['1', 1],
    ['2:3:3', 3],
    ['1@2*1:1@2', 2],
  ] as const) {
    const count = { best: 0, logits: 0, readLogits: 0 };
    expect(await answer(ratios, request, count)).toEqual(await answer(ratios, request));
    expect(count).toEqual({ best: expected.best * lastStage, logits: expected.logits * lastStage, readLogits: 0 });
  }
});

test('a device is asked for all its logits when the best were too few', async () => {
  const count = { best: 0, logits: 0, readLogits: 0 };
  const request = { temperature: 20, topP: 0.95, seed: 1 };
  expect(await answer('2:3:3', request, count)).toEqual(await answer('2:3:3', request));
  expect(count).toMatchObject({ best: 24, logits: 0 });
  expect(count.readLogits).toBeGreaterThan(0);
});
