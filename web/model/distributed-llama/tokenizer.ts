/**
 * Text to token ids and back exactly as distributed-llama does it (`Tokenizer::encode`, `decode`), only faster: special
 * tokens by prefix, in the order of their ids; other bytes collected until they are a regular token; then, over the whole
 * text and without cutting it into words, the neighbours whose join has the best score merge, until none is left.
 */
import { mergeSymbols } from '../tokenizer/merge.ts';
import { join, toText } from '../tokenizer/text.ts';
import { ModelError, type Tokenizer } from '../types.ts';
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
  /** Letters of the longest regular token that begins with this letter, 1 where the letter itself is one, 0 for none. */
  longestFrom(letter: string): number;
}

function indexVocabulary({ tokens, scores, bos }: TokenizerFile): Vocabulary {
  const texts = tokens.map(lettersOf);
  const regular = new Map<string, number>();
  const longest = new Map<string, number>();
  for (let id = bos - 1; id >= 0; id--) {
    const text = texts[id]!;
    regular.set(text, id);
    if (text !== '') longest.set(text[0]!, Math.max(longest.get(text[0]!) ?? 0, text.length));
  }
  /** By their first letter, since most places of a text begin no special token. */
  const special = new Map<string, number[]>();
  for (let id = bos; id < texts.length; id++) {
    const first = texts[id]![0];
    // One without text would be found everywhere; the original never ends on it.
    if (first === undefined) continue;
    const same = special.get(first);
    if (same) same.push(id);
    else special.set(first, [id]);
  }
  return {
    longestFrom: (letter) => (regular.has(letter) ? 1 : (longest.get(letter) ?? 0)),
    textOf: (id) => texts[id]!,
    idOf: (text) => regular.get(text),
    scoreOf: (id) => scores[id]!,
    specialAt: (text, at) => special.get(text[at]!)?.find((id) => text.startsWith(texts[id]!, at)),
  };
}

/**
 * The first tokens of a text: special ones as marks, regular ones as their text. A byte that begins no token, on which the
 * original gives up, is left out.
 */
function collect(text: string, vocabulary: Vocabulary, special: boolean): string[] {
  const symbols: string[] = [];
  let pending = '';
  const feed = (letter: string): void => {
    pending += letter;
    if (vocabulary.idOf(pending) !== undefined) {
      symbols.push(pending);
      pending = '';
    } else if (pending.length >= vocabulary.longestFrom(pending[0]!)) {
      dropFirst();
    }
  };
  const dropFirst = (): void => {
    const rest = pending.slice(1);
    pending = '';
    for (const letter of rest) feed(letter);
  };
  for (let at = 0; at < text.length; ) {
    const id = special ? vocabulary.specialAt(text, at) : undefined;
    if (id === undefined) {
      feed(text[at]!);
      at++;
    } else {
      symbols.push(`${MARK}${id}${MARK}`);
      at += vocabulary.textOf(id).length;
    }
  }
  while (pending !== '') dropFirst();
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
