import { describe, expect, it } from 'vitest';
import { filesSources, isTokenizer, needsTokenizer } from '../../../web/model/model-sources.ts';
import { failure, thrown } from './failure.ts';

const files = (...names: string[]) => names.map((name) => new File(['x'], name));
const named = (...names: string[]) => {
  const { model, tokenizer } = filesSources(files(...names));
  return [model.name, tokenizer?.name];
};

describe('picked files', () => {
  it('are one model: a GGUF file, all its parts, or a .m with its .t, in any order', () => {
    expect(named('a.gguf')).toEqual(['a.gguf', undefined]);
    expect(named('m-00002-of-00002.gguf', 'm-00001-of-00002.gguf')).toEqual(['m-00001-of-00002.gguf', undefined]);
    expect(named('a.m', 'b.t')).toEqual(['a.m', 'b.t']);
    expect(named('b.T', 'a.M')).toEqual(['a.M', 'b.T']);
    expect([needsTokenizer('a.m'), isTokenizer('a.t'), needsTokenizer('a.gguf')]).toEqual([true, true, false]);
  });

  it.each<[string[], string, RegExp]>([
    [[], 'not-a-model', /No file/],
    [['a.m'], 'tokenizer', /a\.m is a model of distributed-llama.*pick or drop a\.m and its \.t file/],
    [['a.t'], 'tokenizer', /a\.t is a tokenizer without its model/],
    [['a.m', 'b.m'], 'not-a-model', /Pick one model/],
    [['a.m', 'b.m', 'a.t'], 'not-a-model', /do not belong together/],
    [['a.m', 'a.t', 'b.t'], 'not-a-model', /do not belong together/],
    [['a.gguf', 'a.t'], 'not-a-model', /a \.t file goes with one \.m file/],
    [['a.gguf', 'b.gguf'], 'not-a-model', /not the parts of one model/],
  ])('%j are refused in words', (names, code, message) => {
    expect(thrown(() => filesSources(files(...names)))).toEqual(failure(code, message));
  });
});
