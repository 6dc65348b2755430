/** The default model: nine prompts on WASM, those that one can wait for on a software GPU on WebGPU. */
import { readGolden } from '../support/golden.ts';
import { DEFAULT_MODEL as DEFAULT_MODEL_PATH, repoPath } from '../support/node-model.ts';
import {
  expectAgreement,
  freeRunning,
  fullLogits,
  type Judged,
  loadOn,
  nodeReference,
  OF_LLAMACPP,
  OVER_A_TEXT,
  rmsOfText,
  teacherForced,
} from './golden-judge.ts';
import { DEFAULT_MODEL, expect, hasDefaultModel, openHost, test } from './support/test.ts';

/** Software GPUs on busy machines are slow. */
test.describe.configure({ timeout: 600_000 });

const { cases } = readGolden(repoPath('tests/fixtures/smollm2-135m-instruct.q4_1.json'));
/** Short ones; a single one where the GPU is played at a tenth of Chromium's speed. */
const onWebGpu = (browserName: string) =>
  cases.filter(({ name }) => name === 'arith' || (name === 'pirate' && browserName !== 'firefox'));

test.skip(!hasDefaultModel(), 'models/ lacks the default model: run npm start once');

test('WASM: tokens as llama.cpp and the exact computation have them, at a third of the error', async ({
  page,
  server,
}) => {
  await openHost(page, server);
  await loadOn(page, 'wasm', DEFAULT_MODEL);
  const wrong: string[] = [];
  for (const item of cases) {
    const { topError } = await teacherForced(page, item);
    if (topError > OF_LLAMACPP * item.llamacppMaxTopError!) wrong.push(`${item.name}: ${topError}`);
    await freeRunning(page, item, topError);
  }
  expect(wrong).toEqual([]);
});

test('the tokenizer and the template give the ids of llama.cpp', async ({ page, server }) => {
  await openHost(page, server);
  await loadOn(page, 'wasm', DEFAULT_MODEL, 256);
  const ids = await page.evaluate(
    (texts) => Promise.all(texts.map((text) => window.edgevisor.tokenize(text, { special: true }))),
    cases.map(({ text }) => text!),
  );
  expect(ids).toEqual(cases.map((item) => item.ids));
  const rendered = await page.evaluate(() =>
    window.edgevisor.render([{ role: 'user', content: 'What is the capital of France?' }]),
  );
  expect(rendered).toBe(cases.find(({ name }) => name === 'france')!.text);
});

test('WebGPU: the same tokens, and the same logits as WASM', async ({ page, server, browserName }) => {
  const items = onWebGpu(browserName);
  const reference = await nodeReference(DEFAULT_MODEL_PATH);
  await openHost(page, server);
  const judged = { wasm: [] as Judged[], webgpu: [] as Judged[] };
  for (const backend of ['wasm', 'webgpu'] as const) {
    await loadOn(page, backend, DEFAULT_MODEL, 256);
    for (const item of items) {
      const one = await teacherForced(page, item);
      const { topError } = one;
      judged[backend].push(one);
      expect(topError, `${backend}, ${item.name}`).toBeLessThanOrEqual(OF_LLAMACPP * item.llamacppMaxTopError!);
      if (backend === 'webgpu') await freeRunning(page, item, topError);
      const full = await fullLogits(page, item.ids);
      expectAgreement(full, await reference(item.ids), `${backend}, ${item.name}`);
    }
  }
  for (const [i, item] of items.entries()) {
    expect(rmsOfText(judged.wasm[i]!, judged.webgpu[i]!), item.name).toBeLessThanOrEqual(OVER_A_TEXT);
  }
});
