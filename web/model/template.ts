/** Chat templates: from messages to the text that a model was trained to answer. */
import { type BoundedTemplate, boundedTemplate, TemplateLimitError } from './template/bounded.ts';
import { type ChatTemplate, type Metadata, ModelError, type ModelFile } from './types.ts';

/**
 * The chat template of a file. Where a file has none: the format that its vocabulary has the markers of (ChatML, Llama 3,
 * Llama 2 or Mistral for SentencePiece vocabularies), else a plain transcript for models that never saw a chat format.
 * Throws ModelError `template` where the template cannot be read; the function it gives throws it where the template
 * refuses the messages, with the template's own complaint, or does more work than any honest one.
 */
export function chatTemplate(file: Pick<ModelFile, 'metadata'>): ChatTemplate {
  const { metadata } = file;
  const source = ownTemplate(metadata) ?? fallbackTemplate(metadata);
  const tokens = {
    bos_token: tokenText(metadata, 'bos'),
    eos_token: tokenText(metadata, 'eos'),
    unk_token: tokenText(metadata, 'unknown'),
    pad_token: tokenText(metadata, 'padding'),
  };
  let template: BoundedTemplate;
  try {
    template = boundedTemplate(source);
  } catch (cause) {
    throw new ModelError('template', `The model's chat template cannot be read: ${complaint(cause)}`, { cause });
  }
  return (messages, { generationPrompt }) => {
    try {
      return template.render({
        ...tokens,
        messages: messages.map(({ role, content }) => ({ role, content })),
        add_generation_prompt: generationPrompt,
      });
    } catch (cause) {
      if (cause instanceof TemplateLimitError) throw new ModelError('template', stopped(cause), { cause });
      throw new ModelError('template', `The model's chat template refuses these messages: ${complaint(cause)}`, {
        cause,
      });
    }
  };
}

function ownTemplate(metadata: Metadata): string | undefined {
  const template = metadata.get('tokenizer.chat_template') ?? metadata.get('tokenizer.chat_template.default');
  if (template === undefined) return undefined;
  if (typeof template !== 'string') throw new ModelError('template', "The model's chat template is no text.");
  return template;
}

/** The format of models with `<|im_start|>`. */
export const CHATML =
  "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const LLAMA3 =
  "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

const LLAMA2 =
  "{% if messages[0].role == 'system' %}{% set system = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}{% set rest = messages[1:] %}" +
  "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}{% for message in rest %}" +
  "{% if message.role == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + message.content | trim + ' [/INST]' }}" +
  "{% else %}{{ ' ' + message.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}";

const TRANSCRIPT =
  "{% for message in messages %}{{ message.role | capitalize + ': ' + message.content | trim + '\\n\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";

function fallbackTemplate(metadata: Metadata): string {
  const tokens = metadata.get('tokenizer.ggml.tokens');
  const has = (text: string) => Array.isArray(tokens) && tokens.includes(text);
  if (has('<|im_start|>') && has('<|im_end|>')) return CHATML;
  if (has('<|start_header_id|>') && has('<|eot_id|>')) return LLAMA3;
  if (metadata.get('tokenizer.ggml.model') === 'llama') return LLAMA2;
  return TRANSCRIPT;
}

/** Text of a special token, empty where the file names none. */
function tokenText(metadata: Metadata, name: string): string {
  const id = metadata.get(`tokenizer.ggml.${name}_token_id`);
  const tokens = metadata.get('tokenizer.ggml.tokens');
  const text = Array.isArray(tokens) && typeof id === 'number' ? tokens[id] : undefined;
  return typeof text === 'string' ? text : '';
}

const stopped = (cause: TemplateLimitError): string =>
  `The model's chat template was stopped: ${cause.message}. It is broken, or made to do harm. Use another file of this ` +
  'model, or do without the template: edgevisor.generate({ prompt }) takes plain text.';

const MAX_COMPLAINT = 300;

function complaint(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause);
  return text.length > MAX_COMPLAINT ? `${text.slice(0, MAX_COMPLAINT)}…` : text;
}
