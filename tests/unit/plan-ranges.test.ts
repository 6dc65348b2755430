import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  aligned,
  count,
  distance,
  each,
  intersect,
  normalize,
  pick,
  scale,
  subtract,
  union,
  words,
} from '../../web/plan/ranges.ts';
import type { Range } from '../../web/plan/types.ts';

const loose = fc.array(fc.tuple(fc.nat(30), fc.nat(30)), { maxLength: 6 }) as fc.Arbitrary<Range[]>;
const tidy = loose.map(normalize);
const numbers = (ranges: Range[]) => [...each(ranges)];
const inNormalForm = (ranges: Range[]) =>
  ranges.every(([from, to], i) => from < to && (i === 0 || ranges[i - 1][1] < from));

describe('range lists are sets', () => {
  test('normalize keeps the numbers and gives the normal form', () => {
    fc.assert(
      fc.property(loose, (ranges) => {
        const result = normalize(ranges);
        expect(inNormalForm(result)).toBe(true);
        expect(numbers(result)).toEqual([...new Set(numbers(ranges))].sort((a, b) => a - b));
      }),
    );
  });

  test('union, intersect, subtract and count are those of sets', () => {
    fc.assert(
      fc.property(tidy, tidy, (a, b) => {
        const [inA, inB] = [new Set(each(a)), new Set(each(b))];
        for (const [result, expected] of [
          [union(a, b), [...new Set([...inA, ...inB])].sort((x, y) => x - y)],
          [intersect(a, b), [...inA].filter((n) => inB.has(n))],
          [subtract(a, b), [...inA].filter((n) => !inB.has(n))],
        ] as [Range[], number[]][]) {
          expect(inNormalForm(result)).toBe(true);
          expect(numbers(result)).toEqual(expected);
          expect(count(result)).toBe(expected.length);
        }
      }),
    );
  });

  test('pick takes from the list in its own numbering', () => {
    fc.assert(
      fc.property(tidy, fc.nat(40), fc.nat(40), (ranges, from, to) => {
        expect(numbers(pick(ranges, from, to))).toEqual(numbers(ranges).slice(from, to));
      }),
    );
  });

  test('distance is the smallest difference', () => {
    fc.assert(
      fc.property(tidy, tidy, (a, b) => {
        const all = numbers(a).flatMap((x) => numbers(b).map((y) => Math.abs(x - y)));
        expect(distance(a, b)).toBe(Math.min(...all));
      }),
    );
  });
});

test('scale, aligned and words', () => {
  expect(
    scale(
      [
        [0, 3],
        [6, 7],
      ],
      64,
    ),
  ).toEqual([
    [0, 192],
    [384, 448],
  ]);
  expect(aligned([[32, 70]], 32, 70)).toBe(true);
  expect(aligned([[32, 70]], 32, 96)).toBe(false);
  expect(aligned([[16, 64]], 32, 96)).toBe(false);
  expect(
    words([
      [0, 3],
      [6, 7],
    ]),
  ).toBe('0-2, 6');
  expect(words([])).toBe('none');
});
