import { describe, expect, test } from 'vitest';
import { parseRange } from '../../../signaling-server/ranges.ts';

const SIZE = 1000;

describe('Range header', () => {
  test.each([
    ['bytes=0-0', { first: 0, last: 0 }],
    ['bytes=10-19', { first: 10, last: 19 }],
    ['bytes=990-', { first: 990, last: 999 }],
    ['bytes=990-5000', { first: 990, last: 999 }],
    ['bytes=-10', { first: 990, last: 999 }],
    ['bytes=-5000', { first: 0, last: 999 }],
    ['bytes= 1 - 2', { first: 1, last: 2 }],
  ])('%s is a part of the file', (header, range) => {
    expect(parseRange(header, SIZE)).toEqual(range);
  });

  test.each(['bytes=1000-', 'bytes=1000-2000', 'bytes=-0'])('%s lies outside the file', (header) => {
    expect(parseRange(header, SIZE)).toBe('unsatisfiable');
  });

  test.each([undefined, '', 'bytes=-', 'bytes=5-4', 'bytes=a-b', 'rows=0-1', 'bytes=0-1,5-6'])(
    '%s gives the whole file',
    (header) => {
      expect(parseRange(header, SIZE)).toBe('whole');
    },
  );

  test('nothing of an empty file can be had', () => {
    expect(parseRange('bytes=0-', 0)).toBe('unsatisfiable');
    expect(parseRange('bytes=-1', 0)).toBe('unsatisfiable');
  });
});
