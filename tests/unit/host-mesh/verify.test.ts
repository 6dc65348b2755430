/** `?verify=1`: members compare their replicas of the residual stream in every batch. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Backend, BackendOptions } from '../../../web/device/backend.ts';
import { type OpenedModel, readModel } from '../../../web/host/open-model.ts';
import { NUMBER_TYPES } from '../../../web/mesh/wire.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { readGolden } from '../../support/golden.ts';
import { type PlayedMesh, playMesh, wasmBackend } from '../../support/mesh-in-process.ts';
import { repoPath } from '../../support/node-model.ts';

const NAME = 'tiny-llama.Q4_0';
const { ids } = readGolden(repoPath(`tests/fixtures/${NAME}.json`)).cases.find(({ name }) => name === 'ids33')!;

let model: OpenedModel;
let mesh: PlayedMesh;
beforeAll(async () => {
  model = await readModel(bytesSource(readFileSync(repoPath(`tests/fixtures/${NAME}.gguf`)), `${NAME}.gguf`));
});
afterEach(() => mesh.close());

/** A backend that adds one number of every sum wrongly while `faulty` says so: by an eighth, too little to be seen in the text. */
async function addingWrongly(options: BackendOptions, faulty: () => boolean): Promise<Backend> {
  const backend = await wasmBackend(options);
  return {
    ...backend,
    run(step) {
      if (!step.add || !faulty()) return backend.run(step);
      const add = step.add.slice();
      add[7] *= 1.125;
      return backend.run({ ...step, add });
    },
  };
}

describe('comparing replicas', () => {
  test.each(NUMBER_TYPES)('finds no difference with %s on the wire', async (wire) => {
    mesh = playMesh({ model });
    for (const device of [1, 2]) await mesh.join(device);
    const session = await mesh.load({ ratios: '1@1*2:3@3', wire, verify: true });
    const { ids: text } = await session.loop.generate({ ids, maxTokens: 6, temperature: 0, ignoreEos: true });
    expect(text).toHaveLength(6);
    await session.moves.setRatios('2:3:3');
    await session.loop.generate({ ids, maxTokens: 6, temperature: 0, ignoreEos: true });
    expect(mesh.logs).toEqual([]);
  });

  test('finds a member that adds wrongly: the answer fails with `diverged`, and another may be asked for', async () => {
    let wrong = false;
    mesh = playMesh({ model });
    await mesh.join(1);
    await mesh.join(2, { makeBackend: (options) => addingWrongly(options, () => wrong) });
    const session = await mesh.load({ ratios: '2:3:3', wire: 'q16', verify: true });
    const generate = (each: (t: number) => void = () => undefined) => {
      let t = 0;
      const request = { ids, maxTokens: 8, temperature: 0, ignoreEos: true, reuse: false };
      return session.loop.generate(request, { onToken: () => each(++t) });
    };
    const right = await generate();
    const spoil = generate((t) => {
      wrong = t === 3;
    });
    await expect(spoil).rejects.toMatchObject({
      code: 'diverged',
      message: expect.stringMatching(/replicas of devices . and . differ at position/),
    });
    wrong = false;
    expect((await generate()).ids).toEqual(right.ids);
  });

  test('is not done, nor paid for, unless asked for', async () => {
    mesh = playMesh({ model });
    await mesh.join(1);
    await mesh.join(2, { makeBackend: (options) => addingWrongly(options, () => true) });
    const session = await mesh.load({ ratios: '2:3:3', wire: 'q16' });
    const { ids: text } = await session.loop.generate({ ids, maxTokens: 4, temperature: 0, ignoreEos: true });
    expect(text).toHaveLength(4);
  });
});
