/** A `.t` file as the metadata of a GGUF file. */
import type { TokenizerFile } from '../../web/model/distributed-llama/tokenizer-file.ts';
import { BYTE_LETTERS } from '../../web/model/tokenizer/byte-level.ts';
import { mergeSymbols } from '../../web/model/tokenizer/merge.ts';
import { preTokenizer } from '../../web/model/tokenizer/pretokenize.ts';
import { toText } from '../../web/model/tokenizer/text.ts';
import { TokenType } from '../../web/model/tokenizer/vocabulary.ts';
import type { GgufEntry } from './gguf-header.ts';

/** How SentencePiece writes a byte that no token has. */
const BYTE_TOKEN = /^<0x([0-9A-F]{2})>$/;
/** Scores at or below it belong to tokens that nothing is joined to. */
const NEVER = -1e10;

export interface GgufVocabulary {
  entries: GgufEntry[];
  /** For people. */
  notes: string[];
}

/**
 * @param size rows of the embedding; ids beyond the file's tokens become unused ones
 * @param pre how text is cut into words before it merges, which a `.t` file does not say; undefined: guessed
 */
export function toGgufVocabulary(file: TokenizerFile, size: number, pre: string | undefined): GgufVocabulary {
  const texts = file.tokens.map(toText);
  const sentencePiece = texts.slice(0, file.bos).some((text) => BYTE_TOKEN.test(text));
  const notes: string[] = [];
  const kind = sentencePiece ? sentencePieceTokens(file, texts) : byteLevelTokens(file, texts);
  if (!sentencePiece) kind.entries.push(preEntry(texts, pre, notes));
  const unused = Array.from({ length: size - texts.length }, (_, i) => texts.length + i);
  const [eos, eot] = file.eos;
  return {
    notes,
    entries: [
      { key: 'tokenizer.ggml.tokens', strings: [...kind.tokens, ...unused.map((id) => `[PAD${id}]`)] },
      { key: 'tokenizer.ggml.token_type', i32s: [...kind.types, ...unused.map(() => TokenType.unused)] },
      ...kind.entries,
      { key: 'tokenizer.ggml.bos_token_id', u32: file.bos },
      ...(eos === undefined ? [] : [{ key: 'tokenizer.ggml.eos_token_id', u32: eos }]),
      ...(eot === undefined ? [] : [{ key: 'tokenizer.ggml.eot_token_id', u32: eot }]),
      { key: 'tokenizer.ggml.add_bos_token', bool: file.addBos },
      ...(file.template === undefined ? [] : [{ key: 'tokenizer.chat_template', string: file.template }]),
    ],
  };
}

interface Tokens {
  tokens: string[];
  types: number[];
  entries: GgufEntry[];
}

/** Byte-level BPE. Merges are found out of the scores: the last one that makes a token out of its own bytes. */
function byteLevelTokens({ tokens, scores, bos }: TokenizerFile, texts: readonly string[]): Tokens {
  const written = tokens.map((bytes, id) =>
    id < bos ? Array.from(bytes, (byte) => BYTE_LETTERS[byte]!).join('') : texts[id]!,
  );
  const regular = new Map<string, number>();
  for (let id = bos - 1; id >= 0; id--) regular.set(written[id]!, id);
  const scoreOf = (text: string): number => {
    const id = regular.get(text);
    return id === undefined ? Number.NaN : scores[id]!;
  };
  const merged = [...regular.keys()]
    .filter((text) => text.length > 1 && scoreOf(text) > NEVER)
    .sort((a, b) => scoreOf(b) - scoreOf(a));
  const merges = merged.flatMap((text) => {
    const halves = mergeSymbols([...text], (left, right) => {
      const score = scoreOf(left + right);
      return score > scoreOf(text) ? -score : undefined;
    });
    return halves.length === 2 ? [halves.join(' ')] : [];
  });
  return {
    tokens: written,
    types: written.map((_, id) => (id < bos ? TokenType.normal : TokenType.control)),
    entries: [
      { key: 'tokenizer.ggml.model', string: 'gpt2' },
      { key: 'tokenizer.ggml.merges', strings: merges },
    ],
  };
}

function sentencePieceTokens({ tokens, scores, bos }: TokenizerFile, texts: readonly string[]): Tokens {
  const writtenOut = new Set(texts.slice(0, bos).filter((text) => BYTE_TOKEN.test(text)));
  const hex = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
  const isByte = (id: number) => {
    const bytes = tokens[id]!;
    return writtenOut.has(texts[id]!) || (bytes.length === 1 && !writtenOut.has(hex(bytes[0]!)));
  };
  const kinds = texts.map((text, id) => {
    if (id < bos && isByte(id))
      return { text: writtenOut.has(text) ? text : hex(tokens[id]![0]!), type: TokenType.byte };
    const type = id < bos ? TokenType.normal : text === '<unk>' ? TokenType.unknown : TokenType.control;
    return { text: text.replaceAll(' ', '▁'), type };
  });
  return {
    tokens: kinds.map(({ text }) => text),
    types: kinds.map(({ type }) => type),
    entries: [
      { key: 'tokenizer.ggml.model', string: 'llama' },
      // Bytes and special tokens have a score of 0 in such files.
      { key: 'tokenizer.ggml.scores', f32s: Array.from(scores, (score) => (score > NEVER ? score : 0)) },
    ],
  };
}

/** By which special token a family of models is known, and how it cuts text. */
const FAMILIES: readonly [token: string, pre: string][] = [
  ['<|begin_of_text|>', 'llama-bpe'],
  ['<｜begin▁of▁sentence｜>', 'llama-bpe'],
  ['<repo_name>', 'smollm'],
  ['<|im_start|>', 'qwen2'],
];

function preEntry(texts: readonly string[], pre: string | undefined, notes: string[]): GgufEntry {
  const guess = FAMILIES.find(([token]) => texts.includes(token))?.[1] ?? 'gpt-2';
  const name = pre ?? guess;
  preTokenizer(name);
  if (pre === undefined) {
    notes.push(
      `A .t file does not say how text is cut into words before it merges; ${guess} is a guess. --pre names another.`,
    );
  }
  return { key: 'tokenizer.ggml.pre', string: name };
}
