import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toTokenizerFile } from '../../../scripts/convert/vocabulary.ts';
import { tokenizerOf } from '../../../web/model/distributed-llama/tokenizer.ts';
import {
  readTokenizerFile,
  type TokenizerFile,
  writeTokenizerFile,
} from '../../../web/model/distributed-llama/tokenizer-file.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { makeTokenizer } from '../../../web/model/tokenizer.ts';
import { failure } from '../model/failure.ts';
import { fixture, openModel } from '../model/golden.ts';
import { byteTokenizer, concat, floats, header, ints, tokenizerBytes } from './files.ts';

const read = (bytes: Uint8Array) => readTokenizerFile(bytesSource(bytes, 'x.t'));
const utf8 = (text: string) => new TextEncoder().encode(text);
const special = { special: true };
const plain = { special: false };

/** A file by its texts: those before `bos` are regular. */
function made(
  texts: readonly string[],
  bos: number,
  scores = texts.map((_, id) => -id),
  eos: number[] = [],
): TokenizerFile {
  return { tokens: texts.map(utf8), scores: Float32Array.from(scores), bos, eos, addBos: false };
}

/** The original's algorithm as it is described, step by step over the whole text again and again. */
function original({ tokens, scores, bos }: TokenizerFile, text: string, withSpecial: boolean): number[] {
  const pieces = tokens.map((token) => Buffer.from(token).toString('latin1'));
  const regular = (piece: string) => pieces.slice(0, bos).indexOf(piece);
  const all = Buffer.from(text.toWellFormed()).toString('latin1');
  const ids: number[] = [];
  let pending = '';
  for (let at = 0; at < all.length; at++) {
    const id = withSpecial ? pieces.findIndex((piece, i) => i >= bos && all.startsWith(piece, at)) : -1;
    if (id >= 0) {
      ids.push(id);
      at += pieces[id]!.length - 1;
      continue;
    }
    pending += all[at];
    const found = regular(pending);
    if (found < 0) continue;
    ids.push(found);
    pending = '';
  }
  expect(pending).toBe('');
  for (;;) {
    let best = { score: -1e10, id: -1, at: -1 };
    for (let at = 0; at + 1 < ids.length; at++) {
      const id = regular(pieces[ids[at]!]! + pieces[ids[at + 1]!]!);
      if (id >= 0 && scores[id]! > best.score) best = { score: scores[id]!, id, at };
    }
    if (best.at < 0) return ids;
    ids.splice(best.at, 2, best.id);
  }
}

describe('encoding', () => {
  it('is the original one, whatever the vocabulary and the text', () => {
    const letter = fc.constantFrom('a', 'b', 'c', '€');
    const vocabulary = fc.record({
      words: fc.array(fc.array(letter, { minLength: 2, maxLength: 5 }), { maxLength: 12 }),
      scores: fc.array(fc.constantFrom(0, -1, -1, -2, 3, -1e10, -2e10, Number.NaN), { minLength: 40, maxLength: 40 }),
      special: fc.array(fc.array(letter, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 4 }),
      text: fc.array(letter, { maxLength: 40 }),
      withSpecial: fc.boolean(),
    });
    fc.assert(
      fc.property(vocabulary, ({ words, scores, special, text, withSpecial }) => {
        // The letter of three bytes is one token, or comes together from its bytes.
        const texts = ['a', 'b', 'c', '€', ...words.map((word) => word.join(''))];
        const all = [...new Set(texts), ...special.map((word) => word.join(''))];
        const file = made(
          all,
          new Set(texts).size,
          all.map((_, i) => scores[i % scores.length]!),
        );
        const own = tokenizerOf(file, all.length).encode(text.join(''), { special: withSpecial });
        expect(own).toEqual(original(file, text.join(''), withSpecial));
      }),
      { numRuns: 500, seed: 8 },
    );
  });

  it('matches special tokens by prefix, the lowest id first, and only where they are wanted', () => {
    const own = tokenizerOf(made(['<', 'a', '|', '>', '<a', '<|a', '<|a|>'], 4), 7);
    expect(own.encode('<a<|a|>', special)).toEqual([4, 5, 2, 3]);
    expect(own.encode('<a', plain)).toEqual([0, 1]);
  });

  it('merges over special tokens as over others', () => {
    const own = tokenizerOf(made(['a', 'b', '#a'], 3, [0, 0, 1, 0]), 4);
    expect(own.encode('#ab', special)).toEqual([2, 1]);
    const hash = tokenizerOf(made(['a', 'b', '#a', '#'], 3), 4);
    expect(hash.encode('#ab', special)).toEqual([2, 1]);
    expect(hash.encode('b#', special)).toEqual([1, 3]);
  });

  it('takes the best score, the first of equal ones, and none at or below -1e10', () => {
    const texts = ['a', 'b', 'c', 'ab', 'bc', 'aa'];
    const ids = (scores: number[], text: string) =>
      tokenizerOf(made([...texts, '<s>'], 6, scores), 7).encode(text, plain);
    expect(ids([0, 0, 0, -2, -1, -3, 0], 'abc')).toEqual([0, 4]);
    expect(ids([0, 0, 0, -1, -1, -3, 0], 'abc')).toEqual([3, 2]);
    expect(ids([0, 0, 0, -1, -1, -3, 0], 'aaa')).toEqual([5, 0]);
    expect(ids([0, 0, 0, -1e10, -1, -3, 0], 'aba')).toEqual([0, 1, 0]);
  });

  it('does not look for a long token again and again where its beginning repeats', () => {
    // The original has no token for the letter alone, and gives up; a hostile file must not hold anyone up.
    const own = tokenizerOf(made(['a'.repeat(1000), 'b', '</s>'], 2), 3);
    expect(own.encode(`${'a'.repeat(20_100)}b`, plain)).toEqual([...new Array(20).fill(0), 1]);
  });

  it('leaves out bytes that no token begins with, on which the original gives up', () => {
    const own = tokenizerOf(made(['a', 'b', 'xyz', '<s>'], 3), 4);
    expect(own.encode('a?b\u0001xyza xyb xy', plain)).toEqual([0, 1, 2, 0, 1]);
  });

  it('of long text without a space takes about as long for each letter', () => {
    const words = Array.from({ length: 12 }, (_, i): [string, number] => ['ab'.repeat(2 ** i), -i]);
    const file = byteTokenizer(words, ['<s>', '</s>']);
    const own = tokenizerOf(
      {
        ...file,
        tokens: file.tokens.map(([text]) => (typeof text === 'string' ? utf8(text) : text)),
        scores: Float32Array.from(file.tokens, ([, score]) => score),
        eos: [],
        addBos: false,
      },
      300,
    );
    // 2^18 letters: steps over the whole text for each merge would be 3e10.
    const ids = own.encode('ab'.repeat(2 ** 17), plain);
    expect(ids).toEqual(Array(2 ** 6).fill(256 + 11));
  });
});

describe('decoding', () => {
  const file = made(['a', '\u00e9', '<s>', '</s>', '<think>'], 2, undefined, [3]);
  const own = tokenizerOf(file, 8);

  it('gives the bytes of tokens, none for BOS and the ends of text, other special tokens as they are', () => {
    expect(own.decode([2, 0, 1, 4, 3])).toBe('a\u00e9<think>');
    expect(own.piece(3)).toBe('</s>');
    expect(own.endOfTurn).toEqual(new Set([3]));
    expect(own.bos).toBe(2);
  });

  it('knows the rows of the model that have no token', () => {
    expect(own.vocabSize).toBe(8);
    expect(own.bytes(7)).toEqual(new Uint8Array());
    expect(() => own.bytes(8)).toThrow(/no token 8/);
  });
});

describe('a .t file', () => {
  const bytes = concat(
    // Magic, header of 8 + 7 · 8 bytes; version 1, 3 tokens, longest 4, BOS 1, template of 5 bytes, 1 EOS, adds no BOS.
    ints(0x567124, 64, 0, 1, 1, 3, 2, 4, 3, 1, 7, 5, 9, 1, 10, 0),
    utf8('{{x}}'),
    ints(2),
    ...[floats(-0.5), ints(2), utf8('ab'), floats(-1), ints(3), utf8('<s>'), floats(-2), ints(4), utf8('</s>')],
  );

  it('is read', async () => {
    expect(await read(bytes)).toEqual({
      tokens: [utf8('ab'), utf8('<s>'), utf8('</s>')],
      scores: Float32Array.of(-0.5, -1, -2),
      ...{ bos: 1, eos: [2], addBos: false, template: '{{x}}' },
    });
  });

  it('is written with the keys of the original in their order', async () => {
    const written = writeTokenizerFile(await read(bytes));
    expect(written.subarray(0, 64)).toEqual(ints(0x567124, 64, 3, 1, 0, 1, 1, 3, 2, 4, 7, 5, 9, 1, 10, 0));
    expect(written.subarray(64)).toEqual(bytes.subarray(64));
  });

  it('of older kinds is read as the original reads it', async () => {
    const token = concat(floats(-1), ints(1), utf8('a'), floats(-2), ints(1), utf8('b'));
    // Ends of text in the header itself, a stop text behind the template, no word on adding BOS.
    const pairs = [
      [0, 1],
      [1, 2],
      [2, 1],
      [3, 1],
      [4, 0],
      [6, 1],
      [5, -1],
      [7, 2],
      [8, 3],
    ] as const;
    const keyed = await read(concat(header(0x567124, pairs), utf8('{}'), utf8('eos'), token));
    expect(keyed).toMatchObject({ bos: 1, eos: [0, 1], addBos: true, template: '{}' });
    // Fixed fields: 2 tokens, longest 1, BOS 1, EOS 0, padding -1.
    const fixed = await read(concat(ints(0x567123, 2, 1, 1, 0, -1), token));
    expect(fixed).toMatchObject({ bos: 1, eos: [0], addBos: true, tokens: [utf8('a'), utf8('b')] });
  });

  it.each<[string, Uint8Array, string, RegExp]>([
    ['something else', utf8('hello, world'), 'not-a-model', /no tokenizer/],
    [
      'of another version',
      header(0x567124, [
        [0, 2],
        [1, 1],
        [3, 0],
      ]),
      'tokenizer',
      /version 2, not 1/,
    ],
    [
      'without BOS',
      header(0x567124, [
        [0, 1],
        [1, 1],
      ]),
      'tokenizer',
      /lacks the key 3/,
    ],
    ['with an unknown key', header(0x567124, [[99, 1]]), 'tokenizer', /header key 99/],
    ['with a header of no size', ints(0x567124, 4), 'tokenizer', /4 bytes/],
    [
      'of endless tokens',
      header(0x567124, [
        [0, 1],
        [1, 0x7fffffff],
        [3, 0],
      ]),
      'tokenizer',
      /2147483647 tokens/,
    ],
    [
      'of more tokens than bytes',
      header(0x567124, [
        [0, 1],
        [1, 1000],
        [3, 0],
      ]),
      'truncated',
      /ends too early/,
    ],
    [
      'with an endless token',
      concat(
        header(0x567124, [
          [0, 1],
          [1, 1],
          [3, 0],
        ]),
        floats(0),
        ints(0x7fffffff),
      ),
      'tokenizer',
      /Token 0.*bytes/,
    ],
    [
      'with a negative token',
      concat(
        header(0x567124, [
          [0, 1],
          [1, 1],
          [3, 0],
        ]),
        floats(0),
        ints(-1),
      ),
      'tokenizer',
      /length of -1/,
    ],
    [
      'with an endless template',
      concat(
        header(0x567124, [
          [0, 1],
          [1, 1],
          [3, 0],
          [7, 0x7fffffff],
        ]),
        floats(0),
        ints(0),
      ),
      'truncated',
      /too early/,
    ],
    ['with a BOS beyond its tokens', tokenizerBytes({ tokens: [['a', 0]], bos: 1 }), 'tokenizer', /names the token 1/],
    [
      'with an EOS beyond its tokens',
      tokenizerBytes({ tokens: [['a', 0]], bos: 0, eos: [5] }),
      'tokenizer',
      /names the token 5/,
    ],
    ['that goes on', concat(bytes, ints(1)), 'tokenizer', /4 bytes behind/],
    ['cut short', bytes.subarray(0, -1), 'truncated', /download it again/],
  ])('%s is refused in words', async (_, wrong, code, message) => {
    await expect(read(wrong)).rejects.toEqual(failure(code, message));
  });
});

const gguf = await openModel(fixture('smollm2-vocabulary.gguf'));
const ggufs = makeTokenizer(gguf);
const { file, order } = toTokenizerFile(gguf);
const theirs = tokenizerOf(await read(writeTokenizerFile(file)), file.tokens.length);
const oldIds = (ids: number[]) => ids.map((id) => order![id]!);

describe('the vocabulary of SmolLM2', () => {
  it('has its special tokens last, and BOS first of them', () => {
    expect(file.bos).toBe(49_135);
    expect(order!.slice(0, 3)).toEqual([17, 18, 19]);
    expect(order!.slice(49_134)).toEqual([49_151, 1, 0, ...Array.from({ length: 15 }, (_, i) => i + 2)].slice(0, 18));
    expect([...theirs.endOfTurn].map((id) => theirs.piece(id))).toEqual(['<|im_end|>', '<|endoftext|>']);
    expect(theirs.addBos).toBe(false);
  });

  it('gives the same tokens for the golden prompts, which cut into words as they merge', () => {
    const { cases }: { cases: { name: string; text: string; ids: number[] }[] } = JSON.parse(
      readFileSync(fixture('smollm2-135m-instruct.q4_1.json'), 'utf8'),
    );
    const same = cases.filter(({ text, ids }) => {
      const found = theirs.encode(text, special);
      expect(theirs.decode(found.filter((id) => id < file.bos))).toBe(ggufs.decode(ids));
      return oldIds(found).join() === ids.join();
    });
    expect(same.map(({ name }) => name)).toEqual(expect.arrayContaining(['arith', 'france']));
    expect(same.length).toBeGreaterThanOrEqual(cases.length - 2);
  });

  it('gives every text back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        // It lacks most control characters, and bytes that UTF-8 never has.
        const kept = text.replace(/\p{Cc}/gu, '');
        expect(theirs.decode(theirs.encode(kept, plain))).toBe(ggufs.decode(ggufs.encode(kept, plain)));
      }),
      { numRuns: 200, seed: 8 },
    );
  });
});
