import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cutWords, preTokenizer } from '../../../web/model/tokenizer/pretokenize.ts';
import { makeTokenizer } from '../../../web/model/tokenizer.ts';
import type { MetadataValue, ModelFile } from '../../../web/model/types.ts';
import { failure, thrown } from './failure.ts';
import { fixture, openModel, shared } from './golden.ts';

const VOCABULARIES = ['llama-bpe', 'llama-spm', 'qwen2', 'gpt-2'];

const smollm = await openModel(fixture('smollm2-vocabulary.gguf'));
const golden: { cases: { name: string; text: string; ids: number[] }[] } = JSON.parse(
  readFileSync(fixture('smollm2-135m-instruct.q4_1.json'), 'utf8'),
);
const tokenizer = makeTokenizer(smollm);
const plain = { special: false };

function changed(changes: Record<string, MetadataValue | undefined>, file = smollm): ModelFile {
  const metadata = new Map(file.metadata);
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) metadata.delete(key);
    else metadata.set(key, value);
  }
  return { ...file, metadata };
}

describe.skipIf(shared('tokenizers').missing)(
  "llama.cpp's tokenizer tests (skipped: ../shared/golden is not there)",
  () => {
    it.each(VOCABULARIES)('%s gives the same ids and the text back', async (name) => {
      const { path } = shared(`tokenizers/ggml-vocab-${name}.gguf`);
      const own = makeTokenizer(await openModel(path));
      const texts = readFileSync(`${path}.inp`, 'utf8').split('\n__ggml_vocab_test__\n');
      const lines = readFileSync(`${path}.out`, 'utf8').split('\n');
      expect(texts.length).toBeGreaterThan(40);
      for (const [i, text] of texts.entries()) {
        const expected = lines[i]!.trim() === '' ? [] : lines[i]!.trim().split(/\s+/).map(Number);
        const ids = own.encode(text, plain);
        expect(ids, JSON.stringify(text)).toEqual(expected);
        expect(own.decode(ids)).toBe(text);
      }
    });

    it('knows BOS and the ends of turns of each', async () => {
      const facts = await Promise.all(
        VOCABULARIES.map(async (name) => {
          const own = makeTokenizer(await openModel(shared(`tokenizers/ggml-vocab-${name}.gguf`).path));
          return [name, own.bos, own.addBos, [...own.endOfTurn].map((id) => own.piece(id)).sort()];
        }),
      );
      expect(facts).toEqual([
        ['llama-bpe', 128000, true, ['<|end_of_text|>', '<|eot_id|>']],
        ['llama-spm', 1, true, ['</s>']],
        ['qwen2', 151643, false, ['<|endoftext|>', '<|im_end|>']],
        ['gpt-2', 50256, false, ['<|endoftext|>']],
      ]);
    });

    it('takes bytes that SentencePiece has no token for one by one', async () => {
      const own = makeTokenizer(await openModel(shared('tokenizers/ggml-vocab-llama-spm.gguf').path));
      const ids = own.encode('🦙', plain);
      expect(ids.map((id) => own.piece(id))).toEqual([' ', ...Array(4).fill('�')]);
      expect(ids.slice(1).flatMap((id) => [...own.bytes(id)])).toEqual([0xf0, 0x9f, 0xa6, 0x99]);
      expect(own.encode('a</s>b', { special: true })).toEqual([
        ...own.encode('a', plain),
        2,
        ...own.encode('b', plain),
      ]);
    });
  },
);

describe('the default model', () => {
  it.each(golden.cases)('has the ids of the golden prompt $name', ({ text, ids }) => {
    expect(tokenizer.encode(text, { special: true })).toEqual(ids);
  });

  it('keeps control tokens out of plain text, out of decoded text, and out of bytes', () => {
    const marked = tokenizer.encode('<|im_start|>user<|im_end|>', { special: true });
    expect(marked[0]).toBe(1);
    expect(marked.at(-1)).toBe(2);
    expect(tokenizer.decode(marked)).toBe('user');
    expect(tokenizer.bytes(1)).toHaveLength(0);
    expect(tokenizer.piece(1)).toBe('<|im_start|>');
    const written = tokenizer.encode('<|im_start|>', plain);
    expect(written).not.toContain(1);
    expect(tokenizer.decode(written)).toBe('<|im_start|>');
  });

  it('ends turns where the metadata and the template say', () => {
    expect([...tokenizer.endOfTurn].sort()).toEqual([0, 2]);
    expect(tokenizer.addBos).toBe(false);
    expect(tokenizer.vocabSize).toBe(49152);
    const template = "{% for m in messages %}{{ m.content + '<jupyter_code>' }}{% endfor %}";
    const other = makeTokenizer(changed({ 'tokenizer.chat_template': template }));
    expect([...other.endOfTurn].map((id) => other.piece(id))).toContain('<jupyter_code>');
    const eot = makeTokenizer(changed({ 'tokenizer.ggml.eot_token_id': 7 }));
    expect(eot.endOfTurn.has(7)).toBe(true);
  });

  it('works without a chat template, or with one that throws', () => {
    for (const template of [undefined, '{{ raise_exception("no") }}', '{% if %}']) {
      expect(makeTokenizer(changed({ 'tokenizer.chat_template': template })).endOfTurn.has(2)).toBe(true);
    }
  });

  it('gives any text back, but for bytes that the vocabulary has no token for', () => {
    const known = new Set(Array.from({ length: tokenizer.vocabSize }, (_, id) => [...tokenizer.bytes(id)]).flat());
    expect([known.has(0x0a), known.has(0xf0), known.has(0x13)]).toEqual([true, true, false]);
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' })), (text) => {
        const ids = tokenizer.encode(text, plain);
        const expected = new TextEncoder().encode(text).filter((byte) => known.has(byte));
        expect(ids.flatMap((id) => [...tokenizer.bytes(id)])).toEqual([...expected]);
        expect(tokenizer.decode(ids)).toBe(new TextDecoder('utf-8', { ignoreBOM: true }).decode(expected));
      }),
    );
  });

  it('replaces broken text by U+FFFD', () => {
    expect(tokenizer.decode(tokenizer.encode('a\ud800b', plain))).toBe('a\ufffdb');
    const bee = tokenizer.encode('🐝', plain);
    expect(bee.length).toBeGreaterThan(1);
    expect(tokenizer.decode(bee.slice(0, 1))).toContain('\ufffd');
  });

  it('encodes a long run without spaces', () => {
    const text = '語'.repeat(20_000);
    expect(tokenizer.decode(tokenizer.encode(text, plain))).toBe(text);
  });
});

describe('makeTokenizer refuses', () => {
  it.each<[string, Record<string, MetadataValue | undefined>, RegExp]>([
    ['a vocabulary without merges', { 'tokenizer.ggml.merges': undefined }, /no merges/],
    ['no vocabulary', { 'tokenizer.ggml.tokens': undefined }, /no vocabulary/],
    ['a vocabulary of numbers', { 'tokenizer.ggml.tokens': [1, 2] }, /no vocabulary/],
    ['types that do not fit', { 'tokenizer.ggml.token_type': [1] }, /token types/],
    ['an unknown kind', { 'tokenizer.ggml.model': 't5' }, /kind of vocabulary t5/],
    ['an unknown pre-tokenizer', { 'tokenizer.ggml.pre': 'nonesuch' }, /pre-tokenizer nonesuch/],
    ['SentencePiece without scores', { 'tokenizer.ggml.model': 'llama' }, /no scores/],
    [
      'more whole tokens than any text could be searched for',
      {
        'tokenizer.ggml.tokens': Array.from({ length: 40_000 }, (_, i) => `<${i}>`),
        'tokenizer.ggml.token_type': new Array(40_000).fill(3),
        'tokenizer.ggml.bos_token_id': 0,
      },
      /40000 control and user-defined tokens/,
    ],
    ['a BOS beyond the vocabulary', { 'tokenizer.ggml.bos_token_id': 49152 }, /49152 as its bos/],
  ])('%s', (_, changes, message) => {
    expect(thrown(() => makeTokenizer(changed(changes)))).toEqual(failure('tokenizer', message));
  });

  it('ids that do not exist', () => {
    expect(thrown(() => tokenizer.bytes(49152))).toEqual(failure('tokenizer', /no token 49152/));
  });
});

describe('makeTokenizer', () => {
  it('leaves out bytes that the vocabulary has no token for, as llama.cpp does', () => {
    expect(tokenizer.encode('a\u0013b', plain)).toEqual(['a', 'b'].flatMap((text) => tokenizer.encode(text, plain)));
    const tiny = makeTokenizer(
      changed({
        'tokenizer.ggml.tokens': ['a', 'b', 'ab'],
        'tokenizer.ggml.token_type': [1, 1, 1],
        'tokenizer.ggml.merges': ['a b'],
        'tokenizer.ggml.unknown_token_id': undefined,
      }),
    );
    expect(tiny.encode('abba', plain)).toEqual([2, 1, 0]);
    expect(tiny.encode('abc', plain)).toEqual([2]);
  });
});

describe('pre-tokenizers', () => {
  it.each<[string, string, string[]]>([
    ['llama-bpe', "I'VE 12345  x\n\n y", ['I', "'VE", ' ', '123', '45', ' ', ' x', '\n\n', ' y']],
    ['qwen2', 'a 123', ['a', ' ', '1', '2', '3']],
    ['smollm', 'a 123  b', ['a', ' ', '1', '2', '3', ' ', ' b']],
    ['gpt-2', "we've 123", ['we', "'ve", ' 123']],
    ['default', 'x=1234!', ['x', '=', '123', '4', '!']],
    ['tekken', 'helloWorld ABC', ['hello', 'World', ' ABC']],
    ['gpt-4o', "helloWorld's 1234", ['hello', "World's", ' ', '123', '4']],
    ['deepseek-coder', 'ab 12\nc', ['ab', ' ', '1', '2', '\n', 'c']],
    ['falcon', 'a`b 1234', ['a', '`', 'b', ' ', '123', '4']],
    // U+0085 is white space, U+FEFF is none.
    ['gpt-2', 'a\u0085\ufeff', ['a', '\u0085', '\ufeff']],
  ])('%s cuts %j', (name, text, words) => {
    expect(cutWords(text, preTokenizer(name).patterns)).toEqual(words);
  });
});
