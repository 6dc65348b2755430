/** The vocabulary of a GGUF file as a `.t` file. */
import type { TokenizerFile } from '../../web/model/distributed-llama/tokenizer-file.ts';
import { readVocabulary, specialId, TokenType, type Vocabulary } from '../../web/model/tokenizer/vocabulary.ts';
import { makeTokenizer } from '../../web/model/tokenizer.ts';
import { ModelError, type ModelFile, type Tokenizer } from '../../web/model/types.ts';

export interface ConvertedVocabulary {
  file: TokenizerFile;
  /** Old id of each new one; undefined where all keep theirs. */
  order: readonly number[] | undefined;
  /** For people. */
  notes: string[];
}

/** So low that distributed-llama never joins neighbours to such a token. */
const NEVER = -1e10;

/**
 * Puts the tokens that are text first and those that are special last, beginning with BOS, since distributed-llama tells
 * them apart by that alone. Throws ModelError `tokenizer`.
 */
export function toTokenizerFile(model: ModelFile): ConvertedVocabulary {
  const { metadata } = model;
  const vocabulary = readVocabulary(metadata);
  const tokenizer = makeTokenizer(model);
  const notes: string[] = [];
  const bos = tokenizer.bos ?? vocabulary.types.indexOf(TokenType.control);
  if (bos < 0) {
    throw new ModelError(
      'tokenizer',
      'The vocabulary has no special token, by which distributed-llama finds the others.',
    );
  }
  const isText = (id: number) =>
    id !== bos &&
    vocabulary.tokens[id] !== '' &&
    !tokenizer.endOfTurn.has(id) &&
    (vocabulary.types[id] === TokenType.normal || vocabulary.types[id] === TokenType.byte);

  const ids = vocabulary.tokens.map((_, id) => id);
  const order = [...ids.filter(isText), bos, ...ids.filter((id) => id !== bos && !isText(id))];
  const renumbered = order.some((old, id) => old !== id);
  const newId = new Map(order.map((old, id) => [old, id]));
  const textCount = newId.get(bos)!;
  if (renumbered) {
    notes.push(
      `Tokens were renumbered: ${textCount} of text first, then ${order.length - textCount} special ones, from ${vocabulary.tokens[bos]} on.`,
    );
  }
  const kind = metadata.get('tokenizer.ggml.model');
  const text = kind === 'llama' ? sentencePieceText(vocabulary, tokenizer) : (id: number) => tokenizer.bytes(id);
  const score = kind === 'llama' ? sentencePieceScore(model, vocabulary) : mergeScore(model, vocabulary);
  const special = (id: number) => {
    const written = vocabulary.tokens[id] || `<unused${id}>`;
    return new TextEncoder().encode(kind === 'llama' ? written.replaceAll('▁', ' ') : written);
  };
  if (kind === 'llama') {
    notes.push(
      'distributed-llama puts no space before a text and reads letters of three bytes and more byte by byte, so that some texts get other tokens than with the GGUF file.',
    );
  }
  const template = metadata.get('tokenizer.chat_template');
  return {
    order: renumbered ? order : undefined,
    notes,
    file: {
      tokens: order.map((old, id) => (id < textCount ? text(old) : special(old))),
      scores: Float32Array.from(order, (old, id) => (id < textCount ? score(old) : NEVER)),
      bos: textCount,
      eos: endIds(model, vocabulary, tokenizer, bos, notes).map((id) => newId.get(id)!),
      addBos: tokenizer.addBos,
      ...(typeof template === 'string' && { template }),
    },
  };
}

/** The one that the metadata name first: distributed-llama writes it into prompts. */
function endIds(
  model: ModelFile,
  vocabulary: Vocabulary,
  tokenizer: Tokenizer,
  bos: number,
  notes: string[],
): number[] {
  const named = specialId(model.metadata, 'eos', vocabulary);
  const ids = [...new Set([...(named === undefined ? [] : [named]), ...tokenizer.endOfTurn])];
  if (ids.length > 0) return ids;
  notes.push('The vocabulary names no end of text; BOS stands for it, since distributed-llama needs one.');
  return [bos];
}

/** Byte-level BPE: a token scores by the first merge that makes it. */
function mergeScore({ metadata }: ModelFile, vocabulary: Vocabulary): (id: number) => number {
  const merges = metadata.get('tokenizer.ggml.merges') as readonly string[];
  const ranks = new Map<string, number>();
  for (const [rank, merge] of merges.entries()) {
    // The letter between the halves is a space, which no token has: bytes are written as other letters.
    const token = merge.replace(' ', '');
    if (!ranks.has(token)) ranks.set(token, rank);
  }
  return (id) => {
    const token = vocabulary.tokens[id]!;
    const rank = ranks.get(token);
    if (rank !== undefined) return -rank;
    return token.length === 1 ? 0 : NEVER;
  };
}

/** SentencePiece: scores as they are, but for the bytes, which nothing is joined to. */
function sentencePieceScore({ metadata }: ModelFile, vocabulary: Vocabulary): (id: number) => number {
  const scores = metadata.get('tokenizer.ggml.scores') as readonly number[];
  return (id) => (vocabulary.types[id] === TokenType.byte ? NEVER : scores[id]!);
}

/** A byte that is a letter of its own stays written out (`<0x41>`): two tokens of one text cannot be told apart. */
function sentencePieceText(vocabulary: Vocabulary, tokenizer: Tokenizer): (id: number) => Uint8Array {
  return (id) => {
    const bytes = tokenizer.bytes(id);
    if (vocabulary.types[id] !== TokenType.byte) return bytes;
    const letter = String.fromCharCode(bytes[0]!).replace(' ', '▁');
    const twice = bytes[0]! < 0x80 && vocabulary.idOf(letter) !== undefined;
    return twice ? new TextEncoder().encode(vocabulary.tokens[id]) : bytes;
  };
}
