/**
 * Text to token ids and back, out of a GGUF file's own vocabulary, the same ids as llama.cpp's (out of a `.t` file, the
 * same as distributed-llama's).
 *
 * Not `@huggingface/tokenizers`: driven from a GGUF vocabulary it gives the right ids for byte-level BPE, but it cannot
 * use SentencePiece's scores, which is all that Llama 2 and Mistral files carry, and takes 0.3 to 0.4 s to set up a
 * vocabulary of Llama 3's or Qwen's size (here: 0.2 s, of which most on first use).
 */
import { tokenizerOf } from './distributed-llama/tokenizer.ts';
import { chatTemplate } from './template.ts';
import { byteLevelEncoder } from './tokenizer/byte-level.ts';
import { sentencePieceEncoder } from './tokenizer/sentence-piece.ts';
import { join, toText } from './tokenizer/text.ts';
import { type Encoder, readVocabulary, specialId, TokenType, type Vocabulary } from './tokenizer/vocabulary.ts';
import { type Metadata, ModelError, type ModelFile, type Tokenizer } from './types.ts';

/** How models write the end of a turn; a token of this text ends one whatever the metadata say. */
const END_MARKERS: readonly string[] = [
  '<|eot_id|>',
  '<|eom_id|>',
  '<|im_end|>',
  '<|end|>',
  '<|endoftext|>',
  '<|end_of_text|>',
  '<end_of_turn>',
  '<EOT>',
  '<｜end▁of▁sentence｜>',
];

/** Each of them is looked for in every text; Gemma 3 has 6,415. */
const MAX_WHOLE_TOKENS = 1 << 15;

/**
 * The tokenizer of a model. Throws ModelError `tokenizer` for vocabularies that are not supported, incomplete or
 * contradict themselves, by what is wrong.
 */
export function makeTokenizer(file: ModelFile): Tokenizer {
  const { metadata } = file;
  if (file.vocabulary) return tokenizerOf(file.vocabulary.file, file.vocabulary.size);
  const vocabulary = readVocabulary(metadata);
  const encoder = makeEncoder(metadata, vocabulary);
  const bos = specialId(metadata, 'bos', vocabulary);
  const addBos = metadata.get('tokenizer.ggml.add_bos_token') ?? encoder.addBos;
  const split = specialSplitter(vocabulary);

  const encode = (text: string, special: boolean): number[] => {
    const ids: number[] = [];
    let first = true;
    for (const fragment of split(text.toWellFormed(), special)) {
      if (typeof fragment === 'number') {
        ids.push(fragment);
        first = true;
      } else {
        encoder.encode(fragment, first, ids);
        first = false;
      }
    }
    return ids;
  };

  const endOfTurn = endsOfTurn(file, vocabulary, bos, split);
  const bytes = (id: number): Uint8Array => {
    switch (vocabulary.types[id]) {
      case TokenType.normal:
      case TokenType.byte:
        return endOfTurn.has(id) ? new Uint8Array() : encoder.bytes(id);
      case TokenType.userDefined:
        return endOfTurn.has(id) ? new Uint8Array() : new TextEncoder().encode(vocabulary.tokens[id]);
      case undefined:
        throw new ModelError('tokenizer', `There is no token ${id}: the vocabulary has ${vocabulary.tokens.length}.`);
      default:
        return new Uint8Array();
    }
  };

  return {
    vocabSize: vocabulary.tokens.length,
    bos,
    endOfTurn,
    addBos: addBos === true && bos !== undefined,
    encode: (text, { special }) => encode(text, special),
    bytes,
    decode(ids) {
      const text = toText(join(ids.map(bytes)));
      // The space that encoding put in front is not the text's own.
      return encoder.spacePrefix && text.startsWith(' ') ? text.slice(1) : text;
    },
    piece(id) {
      const plain = bytes(id);
      return plain.length > 0 ? toText(plain) : vocabulary.tokens[id]!;
    },
  };
}

function makeEncoder(metadata: Metadata, vocabulary: Vocabulary): Encoder {
  const model = metadata.get('tokenizer.ggml.model');
  if (model === 'gpt2') return byteLevelEncoder(metadata, vocabulary);
  if (model === 'llama') return sentencePieceEncoder(metadata, vocabulary);
  throw new ModelError(
    'tokenizer',
    `The kind of vocabulary ${String(model).slice(0, 80)} is not supported. Supported are gpt2 (byte-level BPE) and llama (SentencePiece BPE).`,
  );
}

/** Cuts a text into ids of whole tokens and the plain text between them. */
type Splitter = (text: string, special: boolean) => (string | number)[];

/**
 * Cuts a text at the tokens that are matched as a whole: user-defined ones always, control tokens when `special`.
 * Longer tokens first over the whole text, as llama.cpp does it.
 */
function specialSplitter(vocabulary: Vocabulary): Splitter {
  const whole = vocabulary.types
    .flatMap((type, id) => {
      const control = type === TokenType.control || type === TokenType.unknown;
      const text = vocabulary.tokens[id]!;
      return text !== '' && (control || type === TokenType.userDefined) ? [{ id, text, control }] : [];
    })
    .sort((a, b) => b.text.length - a.text.length);
  if (whole.length > MAX_WHOLE_TOKENS) {
    throw new ModelError(
      'tokenizer',
      `The vocabulary has ${whole.length} control and user-defined tokens, where ${MAX_WHOLE_TOKENS} are supported.`,
    );
  }
  return (text, special) => {
    let fragments: (string | number)[] = text === '' ? [] : [text];
    for (const token of whole) {
      if ((token.control && !special) || !text.includes(token.text)) continue;
      fragments = fragments.flatMap((fragment) => (typeof fragment === 'string' ? cut(fragment, token) : [fragment]));
    }
    return fragments;
  };
}

function cut(text: string, token: { id: number; text: string }): (string | number)[] {
  const out: (string | number)[] = [];
  for (const [index, piece] of text.split(token.text).entries()) {
    if (index > 0) out.push(token.id);
    if (piece !== '') out.push(piece);
  }
  return out;
}

/** Ids that end a turn: those the metadata name, well-known end markers, and what the chat template writes after one. */
function endsOfTurn(
  file: ModelFile,
  vocabulary: Vocabulary,
  bos: number | undefined,
  split: Splitter,
): ReadonlySet<number> {
  const named = ['eos', 'eot', 'eom'].map((name) => specialId(file.metadata, name, vocabulary));
  const ends = new Set(named.filter((id) => id !== undefined));
  for (const [id, text] of vocabulary.tokens.entries()) {
    if (END_MARKERS.includes(text) && vocabulary.types[id] !== TokenType.unused) ends.add(id);
  }
  const after = templateEnding(file);
  const first = after === undefined ? undefined : split(after, true)[0];
  if (typeof first === 'number' && first !== bos && vocabulary.types[first] === TokenType.control) ends.add(first);
  return ends;
}

/** What the chat template writes after an assistant's message; undefined where it has no such place. */
function templateEnding(file: ModelFile): string | undefined {
  const sample = 'Sample answer.';
  try {
    const text = chatTemplate(file)(
      [
        { role: 'user', content: 'Question?' },
        { role: 'assistant', content: sample },
      ],
      { generationPrompt: false },
    );
    const at = text.lastIndexOf(sample);
    return at < 0 ? undefined : text.slice(at + sample.length).trimStart();
  } catch (error) {
    // A template that fails is reported where it is used: text can be completed without it.
    if (error instanceof ModelError && error.code === 'template') return undefined;
    throw error;
  }
}
