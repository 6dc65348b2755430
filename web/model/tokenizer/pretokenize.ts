/**
 * How byte-level BPE cuts text into words before it merges inside them, by the name in `tokenizer.ggml.pre`.
 * A wrong cut gives wrong ids without any error, so an unknown name is refused.
 * Patterns: the models' own tokenizer.json, as listed in llama-vocab.cpp of ggml-org/llama.cpp.
 */
import { ModelError } from '../types.ts';

export interface PreTokenizer {
  /** One after the other, each cuts what the one before left; what a pattern does not match is a word, too. */
  patterns: readonly RegExp[];
  /** A word that is a token is taken whole, whatever the merges say. */
  wholeWords: boolean;
  /** Default for files that do not say whether they want BOS. */
  addBos: boolean;
}

// JavaScript's \s is not Unicode's white space: it has U+FEFF and lacks U+0085.
const S = '\\p{White_Space}';
const NOT_S = `[^${S}]`;

const pattern = (...alternatives: string[]) => new RegExp(alternatives.join('|'), 'gu');

const CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d";
const ANY_CASE_CONTRACTIONS = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]";
const SPACES = [`${S}+(?!${NOT_S})`, `${S}+`];
const LINES_AND_SPACES = [`${S}*[\\r\\n]+`, ...SPACES];
const WORD = '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+';
const SYMBOLS = ` ?[^${S}\\p{L}\\p{N}]+`;

const gpt2 = pattern(CONTRACTIONS, ' ?\\p{L}+', ' ?\\p{N}+', SYMBOLS, ...SPACES);
const byDigits = (digits: string) =>
  pattern(ANY_CASE_CONTRACTIONS, WORD, digits, `${SYMBOLS}[\\r\\n]*`, ...LINES_AND_SPACES);
const threeDigits = byDigits('\\p{N}{1,3}');
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
const byCase = (ending: string, digits: string) =>
  pattern(
    `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${ending}`,
    `[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${ending}`,
    digits,
    `${SYMBOLS}[\\r\\n/]*`,
    ...LINES_AND_SPACES,
  );

const KINDS: readonly { names: readonly string[]; pre: PreTokenizer }[] = [
  {
    names: ['llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral', 'midm-2.0', 'lfm2'],
    pre: { patterns: [threeDigits], wholeWords: true, addBos: true },
  },
  {
    names: ['dbrx', 'smaug-bpe'],
    pre: { patterns: [threeDigits], wholeWords: false, addBos: false },
  },
  {
    names: ['qwen2', 'deepseek-r1-qwen', 'megrez', 'stablelm2', 'hunyuan', 'kormo'],
    pre: { patterns: [byDigits('\\p{N}')], wholeWords: false, addBos: false },
  },
  {
    names: ['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone', 'minerva-7b'],
    pre: { patterns: [pattern('\\p{N}'), gpt2], wholeWords: false, addBos: false },
  },
  {
    names: ['gpt-2', 'mpt', 'olmo', 'jais', 'phi-2', 'trillion', 'exaone4'],
    pre: { patterns: [gpt2], wholeWords: false, addBos: false },
  },
  {
    names: ['tekken'],
    pre: { patterns: [byCase('', '\\p{N}')], wholeWords: true, addBos: true },
  },
  {
    names: ['gpt-4o', 'llama4'],
    pre: { patterns: [byCase(`(?:${ANY_CASE_CONTRACTIONS})?`, '\\p{N}{1,3}')], wholeWords: false, addBos: false },
  },
  {
    names: ['deepseek-coder'],
    pre: {
      patterns: [
        pattern('[\\r\\n]'),
        pattern(`${S}?\\p{L}+`),
        pattern(`${S}?\\p{P}+`),
        pattern('[一-龥ࠀ-一가-\\u{d7ff}]+'),
        pattern('\\p{N}'),
      ],
      wholeWords: false,
      addBos: false,
    },
  },
  {
    names: ['falcon'],
    pre: {
      patterns: [pattern('[\\p{P}$+<=>^~|`]+'), gpt2, pattern('[0-9]{3}')],
      wholeWords: false,
      addBos: false,
    },
  },
  {
    names: ['default'],
    pre: {
      patterns: [pattern('[\\p{P}$+<=>^~|]+'), gpt2, pattern('\\p{N}+'), pattern('[0-9]{3}')],
      wholeWords: false,
      addBos: false,
    },
  },
];

/**
 * The pre-tokenizer of that name. Files from before the key existed have none and get `default`, as in llama.cpp.
 * Throws ModelError `tokenizer` for a name that is not known.
 */
export function preTokenizer(name: string | undefined): PreTokenizer {
  const wanted = name ?? 'default';
  const kind = KINDS.find(({ names }) => names.includes(wanted));
  if (!kind)
    throw new ModelError('tokenizer', `The vocabulary's pre-tokenizer ${wanted.slice(0, 80)} is not supported.`);
  return kind.pre;
}

/** Cuts text into words; joined they are the text again. */
export function cutWords(text: string, patterns: readonly RegExp[]): string[] {
  let words = [text];
  for (const regex of patterns) {
    const finer: string[] = [];
    for (const word of words) {
      let end = 0;
      for (const match of word.matchAll(regex)) {
        if (match.index > end) finer.push(word.slice(end, match.index));
        end = match.index + match[0].length;
        if (match[0] !== '') finer.push(match[0]);
      }
      if (end < word.length) finer.push(word.slice(end));
    }
    words = finer;
  }
  return words;
}
