/** The vocabulary of a GGUF file, checked once. */
import { type Metadata, ModelError } from '../types.ts';

/** GGUF's numbers for kinds of tokens. */
export const TokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

export interface Vocabulary {
  /** As written in the file: byte-level or with ▁ for spaces. */
  readonly tokens: readonly string[];
  /** A `TokenType` each. */
  readonly types: readonly number[];
  /** Id of a token's text; the last one where a text occurs twice. */
  idOf(text: string): number | undefined;
}

/** Reads tokens and their types. Throws ModelError `tokenizer` where they are missing or do not fit. */
export function readVocabulary(metadata: Metadata): Vocabulary {
  const tokens = metadata.get('tokenizer.ggml.tokens');
  if (!isStrings(tokens) || tokens.length === 0) {
    throw new ModelError(
      'tokenizer',
      'The file holds no vocabulary (tokenizer.ggml.tokens): it cannot be used for text.',
    );
  }
  const types = metadata.get('tokenizer.ggml.token_type') ?? tokens.map(() => TokenType.normal);
  if (!isNumbers(types) || types.length !== tokens.length) {
    throw new ModelError('tokenizer', "The vocabulary's token types do not fit its tokens: the file is damaged.");
  }
  // Made when first needed: most of a start's time would go into it.
  let ids: Map<string, number> | undefined;
  return {
    tokens,
    types,
    idOf(text) {
      ids ??= new Map(tokens.map((token, id) => [token, id]));
      return ids.get(text);
    },
  };
}

/** The id that a key of the metadata names, checked against the vocabulary; undefined where the key is missing. */
export function specialId(metadata: Metadata, name: string, vocabulary: Vocabulary): number | undefined {
  const id = metadata.get(`tokenizer.ggml.${name}_token_id`);
  if (id === undefined) return undefined;
  if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= vocabulary.tokens.length) {
    throw new ModelError(
      'tokenizer',
      `The vocabulary names ${String(id)} as its ${name} token, which it does not have.`,
    );
  }
  return id;
}

export function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

export function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'number');
}

/** How one kind of vocabulary turns text into ids and tokens into bytes. */
export interface Encoder {
  /** Appends the ids of a piece of plain text; `first`: it stands at the start or after a control token. */
  encode(text: string, first: boolean, ids: number[]): void;
  /** Raw bytes of a normal token. */
  bytes(id: number): Uint8Array;
  /** Default for files that do not say whether they want BOS. */
  readonly addBos: boolean;
  /** A text gets a space in front that is not its own. */
  readonly spacePrefix: boolean;
}
