/** A model whose chat template never ends: it loads, a chat says what is wrong, and plain text is completed all the same. */
import { readFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { readModel } from '../../web/host/open-model.ts';
import { bytesSource } from '../../web/model/sources.ts';
import { chatTemplate } from '../../web/model/template.ts';
import { makeTokenizer } from '../../web/model/tokenizer.ts';
import { type PlayedMesh, playMesh } from '../support/mesh-in-process.ts';
import { repoPath } from '../support/node-model.ts';

const ENDLESS =
  '{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}';

let mesh: PlayedMesh;
afterEach(() => mesh.close());

test('a chat template without end is stopped, and the model goes on', async () => {
  const name = 'tiny-llama.Q4_0.gguf';
  const honest = await readModel(bytesSource(readFileSync(repoPath(`tests/fixtures/${name}`)), name));
  const metadata = new Map([...honest.file.metadata, ['tokenizer.chat_template', ENDLESS]] as const);
  const file = { ...honest.file, metadata };
  mesh = playMesh({ model: { ...honest, file, tokenizer: makeTokenizer(file), template: chatTemplate(file) } });
  const { loop } = await mesh.load();
  const messages = [{ role: 'user' as const, content: 'Hi' }];
  await expect(loop.generate({ messages, maxTokens: 4 })).rejects.toMatchObject({
    code: 'template',
    message: expect.stringContaining('was stopped'),
  });
  const { ids } = await loop.generate({ prompt: 'Once upon', maxTokens: 4, ignoreEos: true });
  expect(ids).toHaveLength(4);
});
