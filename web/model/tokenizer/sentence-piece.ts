/** SentencePiece BPE (`tokenizer.ggml.model` = llama): Llama 2, TinyLlama, Mistral. Pairs merge by the score of what they make. */
import { type Metadata, ModelError } from '../types.ts';
import { mergeSymbols } from './merge.ts';
import { type Encoder, isNumbers, specialId, TokenType, type Vocabulary } from './vocabulary.ts';

/** Stands for a space inside tokens. */
const SPACE = '▁';

const utf8 = new TextEncoder();

/** Throws ModelError `tokenizer` for a vocabulary without scores. */
export function sentencePieceEncoder(metadata: Metadata, vocabulary: Vocabulary): Encoder {
  const scores = metadata.get('tokenizer.ggml.scores');
  if (!isNumbers(scores) || scores.length !== vocabulary.tokens.length) {
    throw new ModelError(
      'tokenizer',
      'The vocabulary has no scores (tokenizer.ggml.scores), so text cannot be cut into its tokens. Use another conversion of this model.',
    );
  }
  const spacePrefix = metadata.get('tokenizer.ggml.add_space_prefix') !== false;
  const unknown = specialId(metadata, 'unknown', vocabulary);
  const rank = (left: string, right: string): number | undefined => {
    const id = vocabulary.idOf(left + right);
    return id === undefined ? undefined : -scores[id]!;
  };
  const idOfByte = (byte: number): number => {
    const id = vocabulary.idOf(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`) ?? unknown;
    if (id === undefined) {
      throw new ModelError('tokenizer', `The vocabulary has no token for the byte ${byte}, which this text needs.`);
    }
    return id;
  };

  return {
    addBos: true,
    spacePrefix,
    encode(text, first, ids) {
      const escaped = ((first && spacePrefix ? ' ' : '') + text).replaceAll(' ', SPACE);
      for (const symbol of mergeSymbols([...escaped], rank)) {
        const id = vocabulary.idOf(symbol);
        if (id !== undefined) ids.push(id);
        else ids.push(...Array.from(utf8.encode(symbol), idOfByte));
      }
    },
    bytes(id) {
      const token = vocabulary.tokens[id]!;
      if (vocabulary.types[id] !== TokenType.byte) return utf8.encode(token.replaceAll(SPACE, ' '));
      const byte = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
      if (byte === undefined)
        throw new ModelError('tokenizer', `Token ${id} of the vocabulary is no byte: ${token.slice(0, 80)}.`);
      return Uint8Array.of(Number.parseInt(byte, 16));
    },
  };
}
