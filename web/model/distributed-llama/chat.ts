/**
 * Chat templates of `.t` files. distributed-llama looks for a few marks in the template's text and then writes one of four
 * formats of its own; here the text itself is rendered, as Jinja, and those formats stand in where it cannot be.
 */
import { CHATML, chatTemplate } from '../template.ts';
import { toText } from '../tokenizer/text.ts';
import { type Metadata, ModelError } from '../types.ts';
import type { TokenizerFile } from './tokenizer-file.ts';

/** A format of distributed-llama: the mark it is known by, and what it writes, as Jinja, where `eos` is set. */
interface Kind {
  name: string;
  mark: string;
  /** The end of text that it prefers. */
  eos?: string;
  jinja: string;
}

/** In the order in which distributed-llama looks for them. */
const KINDS: readonly Kind[] = [
  {
    name: 'llama2',
    mark: '[INST]',
    jinja:
      "{% set rest = messages %}{% if messages | length > 1 and messages[0].role == 'system' and messages[1].role == 'user' %}" +
      "{{ '[INST] <<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' + messages[1].content + ' [/INST]' + eos }}{% set rest = messages[2:] %}{% endif %}" +
      "{% for message in rest %}{% if message.role == 'assistant' %}{{ message.content + eos }}" +
      "{% elif message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' + eos }}{% endif %}{% endfor %}",
  },
  {
    name: 'llama3',
    mark: '<|start_header_id|>',
    eos: '<|eot_id|>',
    jinja:
      "{% for message in messages %}{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content + eos }}{% endfor %}" +
      "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
  },
  {
    name: 'deepSeek3',
    mark: '<｜Assistant｜>',
    jinja:
      "{% for message in messages %}{% if message.role == 'user' %}{{ '<｜User｜>' + message.content }}" +
      "{% elif message.role == 'assistant' %}{{ '<｜Assistant｜>' + message.content }}{% elif loop.first %}{{ message.content }}{% endif %}{% endfor %}" +
      "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}",
  },
  {
    name: 'chatml',
    mark: '<|im_start|>',
    jinja: CHATML,
  },
];

/** Whether distributed-llama itself can chat with this template. */
export function isKnownTemplate(template: string): boolean {
  return kindOf(template) !== undefined;
}

/**
 * The Jinja text to chat with: the file's own, or that of its kind where its own does not render a first question, and
 * then a note that says so. `metadata` name BOS and EOS as GGUF does. A template of no kind stays as it is.
 */
export function templateOf(file: TokenizerFile, metadata: Metadata): { template: string | undefined; note?: string } {
  const { template } = file;
  if (template === undefined) return { template };
  const complaint = refusal(template, metadata);
  const kind = kindOf(template);
  if (complaint === undefined || !kind) return { template };
  return {
    template: `{% set eos = ${JSON.stringify(endText(file, kind))} %}${kind.jinja}`,
    note: `The tokenizer's chat template does not render (${complaint}), so distributed-llama's own form of it (${kind.name}) is used.`,
  };
}

const kindOf = (template: string): Kind | undefined => KINDS.find(({ mark }) => template.includes(mark));

function endText({ tokens, eos }: TokenizerFile, kind: Kind): string {
  const texts = eos.map((id) => toText(tokens[id]!));
  return texts.find((text) => text === kind.eos) ?? texts[0] ?? '';
}

/** What the template has against a first question; undefined where it renders one. */
function refusal(template: string, metadata: Metadata): string | undefined {
  try {
    const render = chatTemplate({ metadata: new Map([...metadata, ['tokenizer.chat_template', template]]) });
    render([{ role: 'user', content: 'Question?' }], { generationPrompt: true });
    return undefined;
  } catch (error) {
    if (error instanceof ModelError && error.code === 'template') return error.message;
    throw error;
  }
}
