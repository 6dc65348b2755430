import { describe, expect, it } from 'vitest';
import { isKnownTemplate } from '../../../web/model/distributed-llama/chat.ts';
import { chatTemplate } from '../../../web/model/template.ts';
import { makeTokenizer } from '../../../web/model/tokenizer.ts';
import type { Message } from '../../../web/model/types.ts';
import { byteTokenizer, open, tinyModel, tokenizerBytes } from './files.ts';

const SYSTEM: Message = { role: 'system', content: 'Be brief.' };
const TURNS: Message[] = [
  { role: 'user', content: 'Hi' },
  { role: 'assistant', content: 'Hello!' },
  { role: 'user', content: 'Bye' },
];
const prompt = { generationPrompt: true };

async function opened(template: string | undefined, special = ['<s>', '</s>', '<|eot_id|>'], eos = [257, 258]) {
  const file = await open(
    tinyModel(),
    tokenizerBytes(byteTokenizer([], special, { eos, ...(template !== undefined && { template }) })),
  );
  return { file, render: chatTemplate(file) };
}

/** Marks of the kinds around something that is no Jinja. */
const broken = (mark: string) => `{% oops ${mark}`;

describe("a .t file's chat template", () => {
  it('is rendered as Jinja, with the names of BOS and the first EOS', async () => {
    const { file, render } = await opened(
      '{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}>{% endif %}',
    );
    expect(render([TURNS[0]!], prompt)).toBe('<s>[user] Hi</s>>');
    expect(file.notes).toEqual([]);
  });

  it('that refuses some messages keeps its own word', async () => {
    const { render } = await opened(
      "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}[INST]",
    );
    expect(render(TURNS, prompt)).toBe('[INST]');
    expect(() => render([SYSTEM, ...TURNS], prompt)).toThrow(/no system/);
  });

  it.each([
    ['llama2', '[INST]', '[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]</s>Hello!</s>[INST] Bye [/INST]</s>'],
    [
      'llama3',
      '<|start_header_id|>',
      '<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>' +
        '<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>' +
        '<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
    ],
    ['deepSeek3', '<｜Assistant｜>', 'Be brief.<｜User｜>Hi<｜Assistant｜>Hello!<｜User｜>Bye<｜Assistant｜><think>\n'],
    [
      'chatml',
      '<|im_start|>',
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n' +
        '<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n',
    ],
  ])(
    'of the kind %s that does not render gives what distributed-llama writes, and says so',
    async (kind, mark, expected) => {
      const { file, render } = await opened(broken(mark));
      expect(render([SYSTEM, ...TURNS], prompt)).toBe(expected);
      expect(file.notes?.join()).toMatch(new RegExp(`does not render.*\\(${kind}\\)`));
      expect(isKnownTemplate(mark)).toBe(true);
    },
  );

  it('of the kind llama2 without a system message has only turns', async () => {
    const { render } = await opened(broken('[INST]'));
    expect(render(TURNS, prompt)).toBe('[INST] Hi [/INST]</s>Hello!</s>[INST] Bye [/INST]</s>');
  });

  it('that is not there is the one that the vocabulary has the marks of', async () => {
    const { render } = await opened(undefined, ['<s>', '<|im_end|>', '<|im_start|>']);
    expect(render([TURNS[0]!], prompt)).toBe('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n');
    expect(isKnownTemplate('{{ x }}')).toBe(false);
  });

  it('ends at every EOS, and begins with BOS where the file wants it', async () => {
    const tokenizer = makeTokenizer((await opened(undefined)).file);
    expect([...tokenizer.endOfTurn]).toEqual([257, 258]);
    expect(tokenizer).toMatchObject({ bos: 256, addBos: true, vocabSize: 300 });
  });

  it('warns of a vocabulary whose special tokens come first, as of Llama 2', async () => {
    const file = await open(
      tinyModel(),
      tokenizerBytes({
        tokens: [
          ['<unk>', 0],
          ['<s>', 0],
          ['</s>', 0],
          ['a', 0],
        ],
        bos: 1,
        eos: [2],
      }),
    );
    expect(file.notes?.join()).toMatch(/only 1 of 4 tokens lie below/);
  });
});
