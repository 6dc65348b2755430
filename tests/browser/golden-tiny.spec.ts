/** Small models of every tensor type, on both backends: exact to a third of llama.cpp's error, and alike everywhere. */
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { rms, tinyModels } from '../support/golden.ts';
import {
  AGREEMENT,
  BACKENDS,
  expectAgreement,
  freeRunning,
  loadOn,
  nodeReference,
  OF_LLAMACPP,
  teacherForced,
} from './golden-judge.ts';
import { expect, openHost, test } from './support/test.ts';

/** Software GPUs on busy machines are slow. */
test.describe.configure({ timeout: 1_200_000 });

type TinyModel = ReturnType<typeof tinyModels>[number];

/** One page for models of a kind: a page measures its backends once, which takes a software GPU longer than the models. */
const kindOf = ({ name }: TinyModel): string => name.slice(0, name.indexOf('.'));
const all = tinyModels();

/**
 * Firefox plays a GPU on the processor at a tenth of Chromium's speed: one model a device layout must do there, since WASM
 * is bit-equal everywhere and the sources of shaders are the same. ALL_MODELS=1 judges all of them.
 */
const ONE_A_LAYOUT = ['tiny-llama.F16', 'tiny-llama.Q4_0', 'tiny-llama.Q6_K', 'tiny-qwen2.Q8_0', 'tiny-qwen3.Q4_0'];
const judgedIn = (browserName: string, models: TinyModel[]): TinyModel[] =>
  browserName !== 'firefox' || process.env.ALL_MODELS
    ? models
    : models.filter(({ name }) => ONE_A_LAYOUT.includes(name));

for (const kind of new Set(all.map(kindOf))) {
  const models = all.filter((model) => kindOf(model) === kind);
  test(`${kind}: ${models.map(({ name }) => name.slice(kind.length + 1)).join(', ')}`, async ({
    page,
    server,
    browserName,
  }) => {
    const judged = judgedIn(browserName, models);
    test.skip(judged.length === 0, 'another kind has its layouts');
    await openHost(page, server);
    for (const model of judged) {
      await test.step(model.name, async () => {
        const served = join(server.models, `${model.name}.gguf`);
        if (!existsSync(served)) copyFileSync(model.gguf, served);
        await judgeModel(page, model);
      });
    }
  });
}

async function judgeModel(page: Page, { name, gguf, golden }: TinyModel): Promise<void> {
  const reference = await nodeReference(gguf);
  const onWasm: number[][] = [];
  for (const backend of BACKENDS) {
    await loadOn(page, backend, name);
    for (const [i, item] of golden.cases.entries()) {
      const { first, topError } = await teacherForced(page, item);
      const where = `${name} on ${backend}, ${item.name}`;
      const error = rms(first, item.exactLogits!);
      expect(error, `${where}: rms error`).toBeLessThanOrEqual(OF_LLAMACPP * item.llamacppRmsError!);
      expectAgreement(backend, first, await reference(item.ids), where);
      // Step by step a software GPU takes its time: one prompt of some length must do.
      if (backend === 'wasm' || item.name === 'ids33') await freeRunning(page, item, topError);
      if (backend === 'wasm') onWasm.push(first);
      else expect(rms(first, onWasm[i]!), `${where}: against WASM`).toBeLessThanOrEqual(AGREEMENT);
    }
  }
}
