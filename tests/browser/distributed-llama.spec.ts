/** A model of distributed-llama, `.m` and `.t`, in a real page: from the server's folder and from picked files. */
import { join } from 'node:path';
import { convert } from '../../scripts/convert.ts';
import { readGolden } from '../support/golden.ts';
import { repoPath } from '../support/node-model.ts';
import { greedy as answer, openMesh } from './support/mesh-pages.ts';
import { expect, openHost, test } from './support/test.ts';

const TINY = 'tiny-llama.Q4_0';
const NAME = 'dllama_model_tiny_q40.m';
const tiny = readGolden(repoPath(`tests/fixtures/${TINY}.json`)).cases.find(({ name }) => name === 'ids7')!;
/** Up to the first step at which two tokens are as good as equal. */
const greedy = tiny.greedy.slice(0, 20);

test.beforeAll(async ({ server }) => {
  const file = (name: string) => join(server.models, name);
  const made = [file(NAME), file('dllama_tokenizer_tiny_q40.t')];
  await convert([file(`${TINY}.gguf`), ...made, '--force'], () => {});
  await convert([file(`${TINY}.gguf`), file('alone.m'), join(server.models, '..', 'unused.t'), '--force'], () => {});
});

test('is listed, loads by name, answers as the GGUF file does, and chats', async ({ page, server }) => {
  await openHost(page, server, 'backend=wasm');
  const found = await page.evaluate(async (name) => {
    const { edgevisor } = window;
    const models = await edgevisor.models();
    const info = await edgevisor.load({ model: name });
    const alone = await edgevisor.load({ model: 'alone.m' }).catch((error) => `${error.code}: ${error.message}`);
    return { models: models.filter((model) => /\.[mt]$/.test(model.name)), info, alone };
  }, NAME);
  expect(found.models).toEqual([
    { name: 'alone.m', bytes: expect.any(Number), supported: false, why: expect.stringContaining('alone.t beside it') },
    { name: NAME, bytes: expect.any(Number), supported: true },
  ]);
  expect(found.info).toMatchObject({ model: NAME, architecture: 'llama', layers: 4 });
  expect(found.alone).toMatch(/^tokenizer: alone\.m is a model of distributed-llama/);
  const answers = await page.evaluate(async (ids) => {
    const { edgevisor } = window;
    const messages = [{ role: 'user' as const, content: 'two bees' }];
    const chat = await edgevisor.generate({ messages, maxTokens: 8, temperature: 0 });
    return {
      ids: (await edgevisor.generate({ ids, maxTokens: 20 })).ids,
      prompt: await edgevisor.render(messages),
      chat,
    };
  }, tiny.ids);
  expect(answers.ids).toEqual(greedy);
  expect(answers.prompt).toBe('<|im_start|>user\ntwo bees<|im_end|>\n<|im_start|>assistant\n');
  expect(answers.chat.ids.length).toBeGreaterThan(0);
});

test('opens out of two picked files, and one of them alone says what is missing', async ({ page, server }) => {
  await openHost(page, server, 'backend=wasm');
  const pick = async (...names: string[]) => {
    const chooser = page.waitForEvent('filechooser');
    await page.getByRole('button', { name: 'Open a model file' }).click();
    await (await chooser).setFiles(names.map((name) => join(server.models, name)));
  };
  await pick(NAME);
  await expect(page.getByText('pick or drop dllama_model_tiny_q40.m and its .t file')).toBeVisible();
  await pick('dllama_tokenizer_tiny_q40.t', NAME);
  await expect(page.getByRole('textbox', { name: 'Message' })).toBeVisible();
  const ids = await page.evaluate(
    async (prompt) => (await window.edgevisor.generate({ ids: prompt, maxTokens: 20 })).ids,
    tiny.ids,
  );
  expect(ids).toEqual(greedy);
});

test('is split over two devices, which get only their parts of it, and moves', async ({ browser, server }) => {
  const mesh = await openMesh(browser, server, {
    host: 'backend=wasm&threads=1',
    devices: [{ query: 'backend=wasm&threads=1' }],
  });
  await mesh.host.evaluate((model) => window.edgevisor.load({ model, ratios: '2:1' }), NAME);
  const asked = mesh.requests(mesh.devices[0]!);
  expect(asked.every(({ path }) => path.startsWith(`/models/${NAME}`))).toBe(true);
  expect(asked.some(({ path }) => path.endsWith('/strided'))).toBe(true);
  expect((await answer(mesh.host, tiny.ids, 20)).ids).toEqual(greedy);
  await mesh.host.evaluate(() => window.edgevisor.migrate({ moves: [{ from: 0, to: 1, kind: 3, heads: 1, ffn: 32 }] }));
  expect((await answer(mesh.host, tiny.ids, 20)).ids).toEqual(greedy);
  await mesh.close();
});
