/**
 * Text to token ids and back exactly as distributed-llama does it (`Tokenizer::encode`, `decode`), only faster: special
 * tokens by prefix, in the order of their ids; other bytes collected until they are a regular token; then, over the whole
 * text and without cutting it into words, the neighbours whose join has the best score merge, until none is left.
 */
import { mergeSymbols } from '../tokenizer/merge.ts';
import { join, toText } from '../tokenizer/text.ts';
import { ModelError, type Tokenizer } from '../types.ts';
import { type Prefixes, prefixesOf } from './prefixes.ts';
import type { TokenizerFile } from './tokenizer-file.ts';

/** A join must score above it to be made. */
const LEAST_SCORE = -1e10;
/** Around the id of a special token among symbols of text, which have one letter (up to U+00FF) a byte. */
const MARK = '\u0100';
const MARKED = new RegExp(`${MARK}(\\d+)${MARK}`, 'g');

/** @param vocabSize rows of the model's embedding; ids beyond the file's tokens are no text */
export function tokenizerOf(file: TokenizerFile, vocabSize: number): Tokenizer {
  const { tokens, bos, addBos } = file;
  const ends: ReadonlySet<number> = new Set(file.eos);
  // Made when first needed: a vocabulary has up to 150,000 tokens.
  let made: Vocabulary | undefined;
  const vocabulary = (): Vocabulary => {
    made ??= indexVocabulary(file);
    return made;
  };

  const written = (id: number): Uint8Array => {
    if (!(id >= 0 && id < vocabSize)) {
      throw new ModelError('tokenizer', `There is no token ${id}: the vocabulary has ${vocabSize}.`);
    }
    return tokens[id] ?? new Uint8Array();
  };
  const bytes = (id: number): Uint8Array => (id === bos || ends.has(id) ? new Uint8Array() : written(id));
  return {
    ...{ vocabSize, bos, addBos, endOfTurn: ends, bytes },
    encode(text, { special }) {
      const { textOf, idOf, scoreOf } = vocabulary();
      const symbols = collect(lettersOf(new TextEncoder().encode(text.toWellFormed())), vocabulary(), special);
      const spell = (symbol: string) => symbol.replace(MARKED, (_, id) => textOf(Number(id)));
      const rank = (left: string, right: string): number | undefined => {
        const id = idOf(spell(left + right));
        const score = id === undefined ? Number.NaN : scoreOf(id);
        return score > LEAST_SCORE ? -score : undefined;
      };
      return mergeSymbols(symbols, rank).map((symbol) => {
        const [whole, id] = [...symbol.matchAll(MARKED)][0] ?? [];
        return whole === symbol ? Number(id) : idOf(spell(symbol))!;
      });
    },
    decode: (ids) => toText(join(ids.map(bytes))),
    piece: (id) => toText(written(id)),
  };
}

interface Vocabulary {
  /** A token's bytes, one letter each. */
  textOf(id: number): string;
  /** Of a regular token; the first one where a text occurs twice. */
  idOf(text: string): number | undefined;
  scoreOf(id: number): number;
  /** The special token with the lowest id that the text goes on with at a place. */
  specialAt(text: string, at: number): number | undefined;
  /** Letters of the shortest regular token that stands at a place; 0 for none, undefined where the text is too short to say. */
  regularAt(text: string, at: number): number | undefined;
}

function indexVocabulary({ tokens, scores, bos }: TokenizerFile): Vocabulary {
  const texts = tokens.map(lettersOf);
  const regular = new Map<string, number>();
  for (let id = bos - 1; id >= 0; id--) regular.set(texts[id]!, id);
  // One without text would be found everywhere; the original never ends on it.
  const special = texts.flatMap((text, id) => (id >= bos && text !== '' ? [{ id, text }] : []));
  const specialPrefixes = prefixesOf(special.map(({ text }) => text));
  // Most places of a text begin no special token.
  const firstLetters = new Set(special.map(({ text }) => text[0]!));
  // Made when first needed: where every byte is a token, never.
  let regularPrefixes: Prefixes | undefined;
  return {
    textOf: (id) => texts[id]!,
    idOf: (text) => regular.get(text),
    scoreOf: (id) => scores[id]!,
    specialAt(text, at) {
      if (!firstLetters.has(text[at]!)) return undefined;
      let lowest: number | undefined;
      specialPrefixes.search(text, at, (place) => {
        lowest = Math.min(lowest ?? Number.POSITIVE_INFINITY, special[place]!.id);
        return false;
      });
      return lowest;
    },
    regularAt(text, at) {
      if (regular.has(text[at]!)) return 1;
      regularPrefixes ??= prefixesOf(texts.slice(0, bos));
      let length = 0;
      const open = regularPrefixes.search(text, at, (place) => {
        length = texts[place]!.length;
        return true;
      });
      return open ? undefined : length;
    },
  };
}

/**
 * The first tokens of a text: special ones as marks, regular ones as their text. A byte that begins no token, on which the
 * original gives up, is left out.
 */
function collect(text: string, vocabulary: Vocabulary, special: boolean): string[] {
  const symbols: string[] = [];
  /** Takes the tokens of some text; gives what is left of it, which may become one with what follows. */
  const settle = (waiting: string): string => {
    let at = 0;
    while (at < waiting.length) {
      const length = vocabulary.regularAt(waiting, at);
      if (length === undefined) break;
      if (length > 0) symbols.push(waiting.slice(at, at + length));
      at += length || 1;
    }
    return waiting.slice(at);
  };
  let pending = '';
  let from = 0;
  for (let at = 0; special && at < text.length; ) {
    const id = vocabulary.specialAt(text, at);
    if (id === undefined) {
      at++;
      continue;
    }
    pending = settle(pending + text.slice(from, at));
    symbols.push(`${MARK}${id}${MARK}`);
    at += vocabulary.textOf(id).length;
    from = at;
  }
  pending = settle(pending + text.slice(from));
  // Nothing follows: what its first byte could have begun does not come.
  while (pending !== '') pending = settle(pending.slice(1));
  return symbols;
}

/** Letters that are put together at once; more would be too many arguments for a call. */
const CHUNK = 1 << 12;

/** One letter (U+0000 to U+00FF) for every byte. */
function lettersOf(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += CHUNK) text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return text;
}
