/** Small models of every tensor type, on both backends: exact to a third of llama.cpp's error, and alike everywhere. */
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
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
test.describe.configure({ timeout: 600_000 });

for (const { name, gguf, golden } of tinyModels()) {
  test(`${name} answers as the exact computation does, on both backends alike`, async ({ page, server }) => {
    const served = join(server.models, `${name}.gguf`);
    if (!existsSync(served)) copyFileSync(gguf, served);
    const reference = await nodeReference(gguf);
    await openHost(page, server);
    const fulls: number[][][] = [];
    for (const backend of BACKENDS) {
      await loadOn(page, backend, name);
      const full: number[][] = [];
      for (const item of golden.cases) {
        const { first, topError } = await teacherForced(page, item);
        const where = `${backend}, ${item.name}`;
        const error = rms(first, item.exactLogits!);
        expect(error, `${where}: rms error`).toBeLessThanOrEqual(OF_LLAMACPP * item.llamacppRmsError!);
        expectAgreement(backend, first, await reference(item.ids), where);
        // Step by step a software GPU takes its time: one prompt of some length must do.
        if (backend === 'wasm' || item.name === 'ids33') await freeRunning(page, item, topError);
        full.push(first);
      }
      fulls.push(full);
    }
    for (const [i, item] of golden.cases.entries()) {
      expect(rms(fulls[0]![i]!, fulls[1]![i]!), `${item.name}: WASM against WebGPU`).toBeLessThanOrEqual(AGREEMENT);
    }
  });
}
