/** Byte-level BPE (`tokenizer.ggml.model` = gpt2): Llama 3, Qwen, SmolLM2, GPT-2. */
import { type Metadata, ModelError } from '../types.ts';
import { mergeSymbols } from './merge.ts';
import { cutWords, preTokenizer } from './pretokenize.ts';
import { type Encoder, isStrings, type Vocabulary } from './vocabulary.ts';

/** GPT-2's letter for every byte: itself where it is printable Latin-1, else the next free one from U+0100 on. */
export const BYTE_LETTERS: readonly string[] = (() => {
  let free = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(printable ? byte : free++);
  });
})();
const LETTER_BYTES = new Map(BYTE_LETTERS.map((letter, byte) => [letter, byte]));

const utf8 = new TextEncoder();

/** Throws ModelError `tokenizer` for a vocabulary without merges or with an unknown pre-tokenizer. */
export function byteLevelEncoder(metadata: Metadata, vocabulary: Vocabulary): Encoder {
  const merges = metadata.get('tokenizer.ggml.merges');
  if (!isStrings(merges) || merges.length === 0) {
    throw new ModelError(
      'tokenizer',
      'The vocabulary has no merges (tokenizer.ggml.merges), so text cannot be cut into its tokens. Use another conversion of this model.',
    );
  }
  const name = metadata.get('tokenizer.ggml.pre');
  const pre = preTokenizer(typeof name === 'string' ? name : undefined);

  // Made when first needed: a vocabulary has up to 280,000 merges.
  let ranks: Map<string, number> | undefined;
  const rank = (left: string, right: string): number | undefined => {
    ranks ??= rankMerges(merges);
    return ranks.get(`${left} ${right}`);
  };
  /**
   * Bytes one by one. Some vocabularies lack the rarest ones (SmolLM2: most control characters); such bytes are left
   * out, as in llama.cpp, since the model has never seen anything for them.
   */
  const pushLetters = (symbol: string, ids: number[]) => {
    for (const letter of symbol) {
      const id = vocabulary.idOf(letter);
      if (id !== undefined) ids.push(id);
    }
  };

  return {
    addBos: pre.addBos,
    spacePrefix: false,
    encode(text, _first, ids) {
      for (const word of cutWords(text, pre.patterns)) {
        const letters = Array.from(utf8.encode(word), (byte) => BYTE_LETTERS[byte]!);
        const whole = pre.wholeWords ? vocabulary.idOf(letters.join('')) : undefined;
        if (whole !== undefined) {
          ids.push(whole);
          continue;
        }
        for (const symbol of mergeSymbols(letters, rank)) {
          const id = vocabulary.idOf(symbol);
          if (id !== undefined) ids.push(id);
          else pushLetters(symbol, ids);
        }
      }
    },
    bytes(id) {
      const bytes: number[] = [];
      for (const letter of vocabulary.tokens[id]!) {
        const byte = LETTER_BYTES.get(letter);
        // A letter that stands for no byte was put into the vocabulary as it is.
        if (byte === undefined) bytes.push(...utf8.encode(letter));
        else bytes.push(byte);
      }
      return Uint8Array.from(bytes);
    },
  };
}

/** Places of the merges, of the first one where a merge occurs twice. */
function rankMerges(merges: readonly string[]): Map<string, number> {
  const ranks = new Map<string, number>();
  for (let i = merges.length - 1; i >= 0; i--) ranks.set(merges[i]!, i);
  return ranks;
}
