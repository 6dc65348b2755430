import { describe, expect, it } from 'vitest';
import {
  bytesSource,
  fileSource,
  filesSource,
  joinSources,
  splitName,
  splitSiblings,
} from '../../../web/model/sources.ts';
import { failure, thrown } from './failure.ts';

const BYTES = Uint8Array.from({ length: 100 }, (_, i) => i);

describe('sources', () => {
  it.each([
    ['memory', bytesSource(BYTES)],
    ['a picked file', fileSource(new File([BYTES], 'm.gguf'))],
    [
      'several in a row',
      joinSources([bytesSource(BYTES.subarray(0, 33)), bytesSource(new Uint8Array()), bytesSource(BYTES.subarray(33))]),
    ],
  ])('read exact ranges out of %s and refuse what lies outside', async (_, source) => {
    expect(source.size).toBe(100);
    for (const [from, to] of [
      [0, 100],
      [0, 0],
      [30, 40],
      [33, 34],
      [99, 100],
    ] as const) {
      expect(await source.read(from, to)).toEqual(BYTES.slice(from, to));
    }
    await expect(source.read(50, 101)).rejects.toEqual(failure('truncated', /100 bytes.*download it again/));
    await expect(source.read(-1, 5)).rejects.toEqual(failure('truncated', /./));
  });

  it('say what to do when a picked file has gone', async () => {
    const file = new File([BYTES], 'm.gguf');
    file.slice = () => {
      throw new DOMException('gone', 'NotFoundError');
    };
    await expect(fileSource(file).read(0, 1)).rejects.toEqual(
      failure('network', /moved, changed or removed.*Pick it again/),
    );
  });

  it('read and write the names of split files', () => {
    expect(splitName('a-00002-of-00003.gguf')).toEqual({ prefix: 'a', number: 2, count: 3 });
    expect(splitSiblings({ prefix: 'a', number: 2, count: 2 })).toEqual([
      'a-00001-of-00002.gguf',
      'a-00002-of-00002.gguf',
    ]);
    for (const name of [
      'a.gguf',
      'a-2-of-3.gguf',
      'a-00004-of-00003.gguf',
      'a-00000-of-00003.gguf',
      'a-00001-of-99999.gguf',
    ]) {
      expect(splitName(name), name).toBeUndefined();
    }
  });
});

describe('filesSource', () => {
  const part = (number: number, size = 10) => new File([BYTES.slice(0, size)], `m-0000${number}-of-00002.gguf`);

  it('takes one file, or all parts of a split model in any order', async () => {
    expect(filesSource([new File([BYTES], 'm.gguf')]).size).toBe(100);
    const joined = filesSource([part(2, 5), part(1)]);
    expect(joined.size).toBe(15);
    expect(await joined.read(8, 12)).toEqual(Uint8Array.of(8, 9, 0, 1));
  });

  it('explains what is missing or does not belong', () => {
    expect(thrown(() => filesSource([]))).toEqual(failure('not-a-model', /No file/));
    expect(thrown(() => filesSource([part(2)]))).toEqual(
      failure('truncated', /2 files.*missing: m-00001-of-00002\.gguf/),
    );
    expect(thrown(() => filesSource([part(1), part(2), new File([], 'x.gguf')]))).toEqual(
      failure('not-a-model', /x\.gguf/),
    );
    expect(thrown(() => filesSource([new File([], 'a.gguf'), new File([], 'b.gguf')]))).toEqual(
      failure('not-a-model', /one model/),
    );
  });
});
