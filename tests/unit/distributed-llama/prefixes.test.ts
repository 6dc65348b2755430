import fc from 'fast-check';
import { expect, test } from 'vitest';
import { prefixesOf } from '../../../web/model/distributed-llama/prefixes.ts';

const word = fc.string({ unit: fc.constantFrom('a', 'b', 'ÿ'), maxLength: 4 });

test('finds every text that stands at a place, the shortest first, and says when there might be longer ones', () => {
  fc.assert(
    fc.property(fc.uniqueArray(word, { maxLength: 12 }), word, fc.nat(3), (texts, text, at) => {
      const found: string[] = [];
      const open = prefixesOf(texts).search(text, at, (place) => {
        found.push(texts[place]!);
        return false;
      });
      const rest = text.slice(at);
      const standing = texts.filter((each) => each !== '' && rest.startsWith(each));
      expect(found).toEqual(standing.sort((a, b) => a.length - b.length));
      expect(open).toBe(texts.some((each) => each.length > rest.length && each.startsWith(rest)));
    }),
  );
});

test('of equal texts the first one counts, and nothing is looked for when there is enough', () => {
  const places: number[] = [];
  const open = prefixesOf(['ab', 'a', 'ab', 'a', 'abc']).search('abcd', 0, (place) => {
    places.push(place);
    return places.length === 2;
  });
  expect([places, open]).toEqual([[1, 0], false]);
});
