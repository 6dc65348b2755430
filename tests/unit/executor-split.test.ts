/** A model cut into unequal parts and stages, all in one process, gives the tokens of the whole one. */
import { describe, expect, test } from 'vitest';
import type { BackendOptions } from '../../web/device/backend.ts';
import type { Executor } from '../../web/device/executor.ts';
import type { Share } from '../../web/device/loader/types.ts';
import { createWasmBackend } from '../../web/device/wasm/index.ts';
import type { Range } from '../../web/plan/types.ts';
import { readGolden, rms, tinyModels } from '../support/golden.ts';
import { greedy, teacherForce } from '../support/in-process.ts';
import {
  DEFAULT_MODEL,
  haveDefaultModel,
  kernelModule,
  type OpenModel,
  openModel,
  repoPath,
  wholeShare,
} from '../support/node-model.ts';

/** Two ways to compute the same part by this much at most, over all positions and at any one (docs/arithmetic.md, "Bounds"). */
const AGREEMENT = 1e-3;
const AGREEMENT_ANYWHERE = 4e-3;

function expectAgreement(logits: Float32Array[], expected: Float32Array[], name: string): void {
  const errors = logits.map((row, i) => rms(row, expected[i]));
  const pooled = Math.sqrt(errors.reduce((sum, error) => sum + error ** 2, 0) / errors.length);
  expect(pooled, `${name}, all positions`).toBeLessThan(AGREEMENT);
  expect(Math.max(...errors), `${name}, the worst position`).toBeLessThan(AGREEMENT_ANYWHERE);
}

/** Cuts [0, total) by weights into runs of whole `unit`s. */
function cut(total: number, weights: number[], unit: number): Range[][] {
  const units = Math.ceil(total / unit);
  const sum = weights.reduce((a, b) => a + b, 0);
  let before = 0;
  return weights.map((weight) => {
    const from = Math.round((units * before) / sum) * unit;
    before += weight;
    const to = Math.min(total, Math.round((units * before) / sum) * unit);
    return to > from ? [[from, to]] : [];
  });
}

interface Split {
  name: string;
  /** Per stage: its part of the layers, and its members' weights for heads and for the rest. */
  stages: { layers: number; heads: number[]; rest: number[] }[];
}

const SPLITS: Split[] = [
  { name: 'two members, heads 1:2, FFN and vocabulary 2:3', stages: [{ layers: 1, heads: [1, 2], rest: [2, 3] }] },
  { name: 'three members, FFN and vocabulary 2:3:3', stages: [{ layers: 1, heads: [1, 1, 1], rest: [2, 3, 3] }] },
  { name: 'a member without heads', stages: [{ layers: 1, heads: [0, 1], rest: [1, 1] }] },
  {
    name: 'two stages, the second of two members',
    stages: [
      { layers: 0.4, heads: [1], rest: [1] },
      { layers: 0.6, heads: [1, 2], rest: [3, 2] },
    ],
  },
];

async function build(model: OpenModel, split: Split): Promise<Executor[][]> {
  const { hyper } = model;
  const group = hyper.heads / hyper.kvHeads;
  let layer = 0;
  const stages: Executor[][] = [];
  for (const [index, { layers, heads, rest }] of split.stages.entries()) {
    const last = index === split.stages.length - 1;
    const to = last ? hyper.layers : layer + Math.round(layers * hyper.layers);
    const qHeads = cut(hyper.heads, heads, group);
    const ffn = cut(hyper.ffn, rest, 32);
    const vocab = cut(hyper.vocab, rest, 32);
    const shares = rest.map(
      (_, i): Share => ({
        layers: [layer, to],
        qHeads: qHeads[i],
        ffn: ffn[i],
        vocab: last ? vocab[i] : [],
        embedding: index === 0 && i === 0,
        head: last,
      }),
    );
    stages.push(await Promise.all(shares.map((share) => model.executor(share, { context: 256 }))));
    layer = to;
  }
  return stages;
}

async function check(path: string, ids: number[], tokens: number, splits: Split[]): Promise<void> {
  const model = await openModel(path);
  const whole = [[await model.executor(wholeShare(model.hyper), { context: 256 })]];
  const expected = await greedy(whole, ids, tokens);
  const forced = await teacherForce(whole, [...ids, ...expected]);
  for (const split of splits) {
    const stages = await build(model, split);
    expect(await greedy(stages, ids, tokens), split.name).toEqual(expected);
    expectAgreement(await teacherForce(stages, [...ids, ...expected]), forced, split.name);
  }
}

describe('small models', () => {
  for (const { name, gguf, golden } of tinyModels().filter(({ name }) => /Q4_0|Q4_K_M/.test(name))) {
    test(name, () => check(gguf, golden.cases[1].ids, 16, SPLITS));
  }
});

test.skipIf(!haveDefaultModel)('SmolLM2-135M-Instruct (skipped where models/ lacks it)', async () => {
  const { cases } = readGolden(repoPath('tests/fixtures/smollm2-135m-instruct.q4_1.json'));
  await check(DEFAULT_MODEL, cases[0].ids, 8, SPLITS);
});

test.skipIf(!haveDefaultModel)('SmolLM2 read in batches, token by token, and with plain SIMD', async () => {
  const { cases } = readGolden(repoPath('tests/fixtures/smollm2-135m-instruct.q4_1.json'));
  const ids = [...cases[0].ids, ...cases[0].greedy];
  const model = await openModel(DEFAULT_MODEL);
  const share = wholeShare(model.hyper);
  const executor = await model.executor(share, { context: 256 });
  const batches = await teacherForce([[executor]], ids);
  expectAgreement(await teacherForce([[executor]], ids, 1), batches, 'token by token');
  const backend = (options: BackendOptions) =>
    createWasmBackend({ ...options, threads: 1, plain: true, module: kernelModule('plain') });
  const plain = await model.executor(share, { context: 256, backend });
  expectAgreement(await teacherForce([[plain]], ids), batches, 'plain SIMD');
});
