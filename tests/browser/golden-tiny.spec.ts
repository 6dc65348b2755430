/** Small models of every tensor type, on both backends: exact to a third of llama.cpp's error, and alike everywhere. */
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { rms, tinyModels } from '../support/golden.ts';
import {
  BACKENDS,
  type Backend,
  expectAgreement,
  freeRunning,
  type Judged,
  loadOn,
  nodeReference,
  OF_LLAMACPP,
  OVER_A_TEXT,
  rmsOfText,
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
 * A GPU played by the processor compiles shaders for seconds, and they are the same for all tensor types of a layout of the
 * device: one model of each must do on WebGPU, and in Firefox, which is slower, on WASM too, since that computes
 * alike everywhere. ALL_MODELS=1 judges all of them on both.
 */
const ONE_A_LAYOUT = ['tiny-llama.F16', 'tiny-llama.Q4_0', 'tiny-llama.Q6_K', 'tiny-qwen2.Q8_0', 'tiny-qwen3.Q4_0'];
const MIXED = ['tiny-llama.Q5_K_M', 'tiny-llama-wide.Q4_K_M'];
const onWebGpu = ({ name }: TinyModel, browserName: string): boolean =>
  Boolean(process.env.ALL_MODELS) || ONE_A_LAYOUT.includes(name) || (browserName !== 'firefox' && MIXED.includes(name));

for (const kind of new Set(all.map(kindOf))) {
  const models = all.filter((model) => kindOf(model) === kind);
  test(`${kind}: ${models.map(({ name }) => name.slice(kind.length + 1)).join(', ')}`, async ({
    page,
    server,
    browserName,
  }) => {
    const judged = models.filter((model) => browserName !== 'firefox' || onWebGpu(model, browserName));
    test.skip(judged.length === 0, 'another kind has its layouts');
    await openHost(page, server);
    for (const model of judged) {
      await test.step(model.name, async () => {
        const served = join(server.models, `${model.name}.gguf`);
        if (!existsSync(served)) copyFileSync(model.gguf, served);
        await judgeModel(page, model, onWebGpu(model, browserName) ? BACKENDS : ['wasm']);
      });
    }
  });
}

async function judgeModel(page: Page, { name, gguf, golden }: TinyModel, backends: readonly Backend[]): Promise<void> {
  const reference = await nodeReference(gguf);
  const onWasm: Judged[] = [];
  for (const backend of backends) {
    await loadOn(page, backend, name);
    for (const [i, item] of golden.cases.entries()) {
      const judged = await teacherForced(page, item);
      const { topError } = judged;
      const first = judged.steps[0]!;
      const where = `${name} on ${backend}, ${item.name}`;
      const error = rms(first, item.exactLogits!);
      expect(error, `${where}: rms error`).toBeLessThanOrEqual(OF_LLAMACPP * item.llamacppRmsError!);
      expectAgreement(first, await reference(item.ids), where);
      // Step by step a software GPU takes its time: one prompt of some length must do.
      if (backend === 'wasm' || item.name === 'ids33') await freeRunning(page, item, topError);
      if (backend === 'wasm') onWasm.push(judged);
      else expect(rmsOfText(judged, onWasm[i]!), `${where}: against WASM`).toBeLessThanOrEqual(OVER_A_TEXT);
    }
  }
}
