import { describe, expect, it } from 'vitest';
import { chatTemplate } from '../../../web/model/template.ts';
import type { Message, MetadataValue, ModelFile } from '../../../web/model/types.ts';
import { failure, thrown } from './failure.ts';
import { fixture, openModel } from './golden.ts';

/** A file with that template and with tokens `<s>` and `</s>`, or others, as BOS and EOS. */
function fileWith(
  template: string | undefined,
  tokens = ['<s>', '</s>'],
  more: Record<string, MetadataValue> = {},
): ModelFile {
  const metadata = new Map<string, MetadataValue>(Object.entries(more));
  metadata.set('tokenizer.ggml.tokens', tokens);
  metadata.set('tokenizer.ggml.bos_token_id', 0);
  metadata.set('tokenizer.ggml.eos_token_id', 1);
  if (template !== undefined) metadata.set('tokenizer.chat_template', template);
  return { source: undefined as never, metadata, tensors: new Map(), digest: '' };
}

const system: Message = { role: 'system', content: 'Be brief.' };
const user: Message = { role: 'user', content: ' Hi ' };
const answer: Message = { role: 'assistant', content: 'Hello!' };
const again: Message = { role: 'user', content: 'Bye' };
const turns = [user, answer, again];
const prompt = { generationPrompt: true };

const ROLES_ALTERNATE =
  "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}{% endif %}";

/** In the constructs of the models' own templates. */
const LLAMA3 =
  "{% for m in messages %}{% set text = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' %}" +
  '{% if loop.index0 == 0 %}{% set text = bos_token + text %}{% endif %}{{ text }}{% endfor %}' +
  "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
const LLAMA3_DATED =
  '{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n        {%- set date_string = strftime_now("%Y") %}\n    {%- endif %}\n{%- endif %}\n' +
  "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content']|trim %}\n    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}\n" +
  '{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday: " + date_string + "\\n\\n" }}\n{{- system_message }}\n{{- "<|eot_id|>" }}\n' +
  "{%- for message in messages %}\n    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}\n        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n    {%- endif %}\n{%- endfor %}";
const LLAMA2 =
  "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set system = false %}{% endif %}" +
  `{% for m in rest %}${ROLES_ALTERNATE}` +
  "{% if loop.index0 == 0 and system != false %}{% set text = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m['content'] %}{% else %}{% set text = m['content'] %}{% endif %}" +
  "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";
const MISTRAL =
  `{{ bos_token }}{% for m in messages %}${ROLES_ALTERNATE}` +
  "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";
const QWEN3 = `{%- if tools %}
    {{- tools | tojson }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last_query=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set thought = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query and (loop.last or thought) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}`;

const LLAMA3_TOKENS = [
  '<|begin_of_text|>',
  '<|end_of_text|>',
  '<|start_header_id|>',
  '<|end_header_id|>',
  '<|eot_id|>',
];

describe('chatTemplate', () => {
  it('renders Llama 3', () => {
    expect(chatTemplate(fileWith(LLAMA3, LLAMA3_TOKENS))([system, ...turns], prompt)).toBe(
      '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>' +
        '<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>' +
        '<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>' +
        '<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>' +
        '<|start_header_id|>assistant<|end_header_id|>\n\n',
    );
    expect(chatTemplate(fileWith(LLAMA3_DATED, LLAMA3_TOKENS))([system, user], prompt)).toBe(
      `<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday: ${new Date().getFullYear()}\n\nBe brief.<|eot_id|>` +
        '<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>',
    );
  });

  it('renders Llama 2', () => {
    expect(chatTemplate(fileWith(LLAMA2))([system, ...turns], prompt)).toBe(
      '<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi [/INST] Hello! </s><s>[INST] Bye [/INST]',
    );
  });

  it('renders Mistral', () => {
    expect(chatTemplate(fileWith(MISTRAL))(turns, prompt)).toBe('<s>[INST]  Hi  [/INST]Hello!</s>[INST] Bye [/INST]');
  });

  it('renders Qwen 3, whose earlier thoughts are left out', () => {
    const thought: Message = { role: 'assistant', content: '<think>\nhm\n</think>\n\nHello!' };
    const render = chatTemplate(fileWith(QWEN3));
    expect(render([system, user, thought, again], prompt)).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n' +
        '<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n',
    );
    expect(render([user, thought], { generationPrompt: false })).toBe(
      '<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\nHello!<|im_end|>\n',
    );
  });

  it('renders ChatML from the default model itself, with its system prompt where there is none', async () => {
    const render = chatTemplate(await openModel(fixture('smollm2-vocabulary.gguf')));
    expect(render(turns, prompt)).toBe(
      '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' +
        '<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n',
    );
    expect(render([system, again], { generationPrompt: false })).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n',
    );
  });

  it.each<[string, ModelFile, string]>([
    [
      'ChatML',
      fileWith(undefined, ['<s>', '</s>', '<|im_start|>', '<|im_end|>']),
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n',
    ],
    [
      'Llama 3',
      fileWith(undefined, LLAMA3_TOKENS),
      '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>' +
        '<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
    ],
    [
      'Llama 2',
      fileWith(undefined, ['<s>', '</s>'], { 'tokenizer.ggml.model': 'llama' }),
      '<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]',
    ],
    ['a transcript', fileWith(undefined), 'System: Be brief.\n\nUser: Hi\n\nAssistant:'],
  ])('falls back to %s by the vocabulary', (_, file, expected) => {
    expect(chatTemplate(file)([system, user], prompt)).toBe(expected);
  });

  it("passes on the template's own complaint", () => {
    const render = chatTemplate(fileWith(MISTRAL));
    expect(thrown(() => render([user, again], prompt))).toEqual(
      failure('template', /refuses these messages: .*Roles must alternate/),
    );
    expect(thrown(() => render([user, system], prompt))).toEqual(failure('template', /Only user and assistant roles/));
    expect(thrown(() => chatTemplate(fileWith('{{ nothing.at.all() }}'))([user], prompt))).toEqual(
      failure('template', /./),
    );
  });

  it('refuses a template that cannot be read', () => {
    expect(thrown(() => chatTemplate(fileWith('{% for %}')))).toEqual(failure('template', /cannot be read/));
    expect(thrown(() => chatTemplate(fileWith(undefined, [], { 'tokenizer.chat_template': 5 })))).toEqual(
      failure('template', /no text/),
    );
  });
});
