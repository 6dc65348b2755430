import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { readModelFile } from '../../../web/model/gguf.ts';
import { bytesSource, fileSource, joinSources } from '../../../web/model/sources.ts';
import { type ByteSource, type Metadata, ModelError } from '../../../web/model/types.ts';
import { failure } from './failure.ts';
import { fixture } from './golden.ts';
import { headerEdits, patched } from './hostile-gguf.ts';
import { ALIGNMENT, type Gguf, type GgufTensor, type GgufValue, text, u32, writeGguf } from './write-gguf.ts';

const F32 = 0;
const Q4_0 = 2;

const tensor = (name: string, shape: number[], bytes: number, type = F32): GgufTensor => ({
  name,
  shape,
  type,
  data: new Uint8Array(bytes).fill(name.length),
});
const read = (gguf: Gguf) => readModelFile(bytesSource(writeGguf(gguf), 'm.gguf'));

describe('readModelFile', () => {
  it.each([2, 3])('reads metadata of every type and tensors of version %i', async (version) => {
    const metadata: Record<string, GgufValue> = {
      'a.u8': { type: 'u8', value: 255 },
      'a.i8': { type: 'i8', value: -1 },
      'a.u16': { type: 'u16', value: 65535 },
      'a.i16': { type: 'i16', value: -2 },
      'a.u32': u32(2 ** 32 - 1),
      'a.i32': { type: 'i32', value: -3 },
      'a.f32': { type: 'f32', value: 0.5 },
      'a.f64': { type: 'f64', value: 0.1 },
      'a.u64': { type: 'u64', value: 2n ** 64n - 1n },
      'a.i64': { type: 'i64', value: -5n },
      'a.bool': { type: 'bool', value: true },
      'a.string': text('Grüße 🐝'),
      'a.strings': { type: 'array', of: 'string', values: ['', '\u{feff}x', 'a longer string than sixteen bytes'] },
      'a.numbers': { type: 'array', of: 'f32', values: [1, 2.5] },
    };
    const file = await read({
      version,
      metadata,
      tensors: [tensor('norm', [8], 32), tensor('w', [64, 3], 108, Q4_0), tensor('cube', [2, 2, 2], 32)],
    });
    expect(Object.fromEntries(file.metadata)).toEqual({
      'a.u8': 255,
      'a.i8': -1,
      'a.u16': 65535,
      'a.i16': -2,
      'a.u32': 2 ** 32 - 1,
      'a.i32': -3,
      'a.f32': 0.5,
      'a.f64': 0.1,
      'a.u64': 2n ** 64n - 1n,
      'a.i64': -5,
      'a.bool': true,
      'a.string': 'Grüße 🐝',
      'a.strings': ['', '\u{feff}x', 'a longer string than sixteen bytes'],
      'a.numbers': [1, 2.5],
    });
    expect(file.tensors.get('norm')).toMatchObject({ type: 'F32', rows: 1, cols: 8, bytes: 32 });
    expect(file.tensors.get('w')).toMatchObject({ type: 'Q4_0', rows: 3, cols: 64, bytes: 108 });
    expect(file.tensors.get('cube')).toMatchObject({ rows: 4, cols: 2, bytes: 32 });
    const { offset, bytes } = file.tensors.get('w')!;
    expect(offset % ALIGNMENT).toBe(0);
    expect([...(await file.source.read(offset, offset + bytes))]).toEqual(Array(108).fill(1));
  });

  it('reads a picked file, and of it only the header and a few samples', async () => {
    const bytes = readFileSync(fixture('tiny-llama.Q4_0.gguf'));
    const picked = fileSource(new File([bytes], 'tiny.gguf'));
    let asked = 0;
    const counted: ByteSource = {
      ...picked,
      read(from, to, signal) {
        asked += to - from;
        return picked.read(from, to, signal);
      },
    };
    const file = await readModelFile(counted);
    expect(file.tensors.size).toBe(40);
    expect(file.source.name).toBe('tiny.gguf');
    expect(asked).toBeLessThan(bytes.length / 4);
  });

  it('names the content: the same anywhere, another for other weights', async () => {
    const one = { metadata: { a: u32(1) }, tensors: [tensor('w', [4096], 16384)] };
    const bytes = writeGguf(one);
    const digest = (await readModelFile(bytesSource(bytes))).digest;
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    expect((await readModelFile(fileSource(new File([bytes as BlobPart], 'other name')))).digest).toBe(digest);
    const changed = bytes.slice();
    changed[changed.length - 1] = 77;
    expect((await readModelFile(bytesSource(changed))).digest).not.toBe(digest);
    expect((await read({ ...one, metadata: { a: u32(2) } })).digest).not.toBe(digest);
  });

  describe('split over several files', () => {
    const split = (no: number, tensors: GgufTensor[], count = 2) =>
      bytesSource(
        writeGguf({
          metadata: {
            'split.no': { type: 'u16', value: no },
            'split.count': { type: 'u16', value: count },
            'split.tensors.count': { type: 'i32', value: 2 },
            ...(no === 0 ? { 'general.name': text('both') } : {}),
          },
          tensors,
        }),
        `m-0000${no + 1}-of-00002.gguf`,
      );
    const first = split(0, [tensor('one', [8], 32)]);
    const second = split(1, [tensor('three', [8], 32)]);

    it('finds every tensor where it is in the joined files', async () => {
      const file = await readModelFile(joinSources([first, second]));
      expect(file.metadata.get('general.name')).toBe('both');
      for (const name of ['one', 'three']) {
        const { offset, bytes } = file.tensors.get(name)!;
        expect([...(await file.source.read(offset, offset + bytes))]).toEqual(Array(32).fill(name.length));
      }
    });

    it.each<[string, ByteSource[], string, RegExp]>([
      ['a part alone', [first], 'truncated', /one part of a model in 2 files/],
      ['parts in the wrong order', [second, first], 'corrupt', /place 1 .* is not part 1/],
      ['the same part twice', [first, first], 'corrupt', /place 2 .* is not part 2/],
      ['parts of different models', [first, split(1, [])], 'corrupt', /do not belong together/],
      [
        'parts that share a tensor',
        [first, split(1, [tensor('one', [8], 32)])],
        'corrupt',
        /Two tensors are named one/,
      ],
    ])('refuses %s', async (_, parts, code, message) => {
      await expect(readModelFile(joinSources(parts))).rejects.toEqual(failure(code, message));
    });
  });

  it.each<[string, Uint8Array, string, RegExp]>([
    ['an empty file', new Uint8Array(), 'not-a-model', /not a GGUF model/],
    ['a wrong magic', writeGguf({ magic: 'GGML' }), 'not-a-model', /does not start with "GGUF"/],
    ['a web page', new TextEncoder().encode('\n<!DOCTYPE html><html>'), 'not-a-model', /web page/],
    [
      'a Git LFS pointer',
      new TextEncoder().encode('version https://git-lfs.github.com/spec/v1'),
      'not-a-model',
      /Git LFS/,
    ],
    ['a file of only the magic', new TextEncoder().encode('GGUF'), 'truncated', /ends inside its header/],
    ['version 1', writeGguf({ version: 1 }), 'unsupported', /version 1\./],
    ['version 4', writeGguf({ version: 4 }), 'unsupported', /version 4\./],
    ['big-endian', writeGguf({ version: 3 << 24 }), 'unsupported', /big-endian/],
    ['2^60 tensors', writeGguf({ tensorCount: 2n ** 60n }), 'corrupt', /1152921504606846976 tensors/],
    ['more tensors than bytes', writeGguf({ tensorCount: 1000n }), 'truncated', /1000 tensors, more than the file/],
    ['2^63 metadata entries', writeGguf({ metadataCount: 2n ** 63n }), 'corrupt', /metadata entries/],
  ])('refuses %s', async (_, bytes, code, message) => {
    await expect(readModelFile(bytesSource(bytes, 'm.gguf'))).rejects.toEqual(failure(code, message));
  });

  it.each<[string, Gguf, string, RegExp]>([
    ['an unknown type by name', { tensors: [tensor('w', [256], 84, 10)] }, 'unsupported', /Tensor w has the type Q2_K/],
    ['a type without a name', { tensors: [tensor('w', [256], 84, 999)] }, 'unsupported', /type number 999/],
    ['tensors of the same name', { tensors: [tensor('w', [8], 32), tensor('w', [8], 32)] }, 'corrupt', /Two tensors/],
    [
      'data beyond the end',
      { tensors: [tensor('w', [64], 32)] },
      'truncated',
      /tensor w ends at byte .* download it again/,
    ],
    [
      'dimensions beyond all bounds',
      { tensors: [{ name: 'w', shape: [2n ** 63n, 2], type: F32 }] },
      'corrupt',
      /dimension/,
    ],
    [
      'a product beyond all bounds',
      { tensors: [{ name: 'w', shape: [2n ** 50n, 2n ** 50n], type: F32 }] },
      'truncated',
      /w/,
    ],
    ['no dimension', { tensors: [{ name: 'w', shape: [], type: F32 }] }, 'corrupt', /0 dimensions/],
    ['too many dimensions', { tensors: [{ name: 'w', shape: [1, 1, 1, 1, 1], type: F32 }] }, 'corrupt', /5 dimensions/],
    ['an empty dimension', { tensors: [{ name: 'w', shape: [0, 5], type: F32 }] }, 'corrupt', /shape 0 × 5/],
    ['part of a block', { tensors: [tensor('w', [40], 36, Q4_0)] }, 'corrupt', /shape 40, .* Q4_0/],
    [
      'an unaligned offset',
      { tensors: [{ ...tensor('w', [8], 64), offset: 8 }] },
      'corrupt',
      /starts at byte .* multiple of 32/,
    ],
    [
      'tensors that overlap',
      { tensors: [tensor('a', [16], 64), { ...tensor('b', [16], 64), offset: 32 }] },
      'corrupt',
      /a and b overlap/,
    ],
    ['an odd alignment', { metadata: { 'general.alignment': u32(33) } }, 'corrupt', /alignment of 33/],
  ])('refuses %s', async (_, gguf, code, message) => {
    await expect(read(gguf)).rejects.toEqual(failure(code, message));
  });

  it('refuses absurd lengths of strings and arrays', async () => {
    for (const [value, code, message] of [
      [text('x'), 'corrupt', /bytes in a metadata key/],
      [{ type: 'array', of: 'u32', values: [] }, 'corrupt', /elements in metadata key/],
    ] as const) {
      const bytes = writeGguf({ metadata: { key: value } });
      const view = new DataView(bytes.buffer);
      // Magic and counts take 24 bytes, the key 11, the type 4, and the type of an array's elements 4 more.
      view.setBigUint64(value.type === 'array' ? 43 : 39, 2n ** 62n, true);
      await expect(readModelFile(bytesSource(bytes, 'm.gguf'))).rejects.toEqual(failure(code, message));
    }
  });

  it('refuses a file cut off anywhere', async () => {
    const bytes = writeGguf({ metadata: { key: text('value') }, tensors: [tensor('w', [16], 64)] });
    for (let length = 4; length < bytes.length; length++) {
      await expect(readModelFile(bytesSource(bytes.subarray(0, length), 'm.gguf'))).rejects.toEqual(
        failure('truncated', /./),
      );
    }
  });

  it('answers any damaged header with a ModelError or a file whose tensors lie inside it', async () => {
    const whole = new Uint8Array(readFileSync(fixture('tiny-qwen2.Q4_K_M.gguf')));
    const header = Math.min(
      ...[...(await readModelFile(bytesSource(whole))).tensors.values()].map(({ offset }) => offset),
    );
    await fc.assert(
      fc.asyncProperty(headerEdits(header), async (edits) => {
        try {
          const file = await readModelFile(patched(whole, edits));
          for (const { offset, bytes: size } of file.tensors.values()) {
            expect(offset + size).toBeLessThanOrEqual(whole.length);
          }
        } catch (error) {
          if (!(error instanceof ModelError)) throw error;
        }
      }),
      { numRuns: 300 },
    );
  });

  it('makes long lists of texts when they are first asked for, once, and for whoever goes through all', async () => {
    const texts = ['a', 'Ġthe', '', '\u{1F600}', '\uFEFFmark', 'x'.repeat(40)];
    const bytes = writeGguf({
      metadata: { 'a.b': u32(7), tokens: { type: 'array', of: 'string', values: texts } },
    });
    const decode = vi.spyOn(TextDecoder.prototype, 'decode');
    const { metadata } = await readModelFile(bytesSource(bytes));
    expect(decode).not.toHaveBeenCalled();
    expect([...metadata.keys()]).toEqual(['a.b', 'tokens']);
    expect(metadata.get('a.b')).toBe(7);
    expect(decode).not.toHaveBeenCalled();
    expect(metadata.get('tokens')).toEqual(texts);
    expect(metadata.get('tokens')).toBe(metadata.get('tokens'));

    const all = [
      ['a.b', 7],
      ['tokens', texts],
    ];
    for (const walk of [
      (map: Metadata) => [...map],
      (map: Metadata) => [...map.entries()],
      (map: Metadata) => [...map.keys()].map((key, i) => [key, [...map.values()][i]]),
      (map: Metadata) => {
        const seen: unknown[] = [];
        map.forEach((value, key) => {
          seen.push([key, value]);
        });
        return seen;
      },
    ]) {
      expect(walk((await readModelFile(bytesSource(bytes))).metadata)).toEqual(all);
    }
    decode.mockRestore();
  });

  it('reads no more than its bound of a huge file with a hostile header', async () => {
    const start = writeGguf({ metadata: { key: { type: 'array', of: 'string', values: [] } } });
    new DataView(start.buffer).setBigUint64(43, 2n ** 20n, true);
    let most = 0;
    const endless: ByteSource = {
      name: 'endless.gguf',
      size: 2 ** 50,
      async read(from, to) {
        most = Math.max(most, to);
        const bytes = new Uint8Array(to - from);
        if (from < start.length) bytes.set(start.subarray(from, to));
        // Every string claims 100 bytes, so that the array would take 108 MiB.
        for (let at = Math.ceil((from - 51) / 108) * 108 + 51; at < to; at += 108) {
          if (at >= Math.max(from, 51)) bytes[at - from] = 100;
        }
        return bytes;
      },
    };
    await expect(readModelFile(endless)).rejects.toEqual(failure('unsupported', /header .* larger than 64 MiB/));
    expect(most).toBeLessThanOrEqual(2 ** 26);
  });
});
