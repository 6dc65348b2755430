import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeValues } from '../../../scripts/convert/quantize.ts';
import { runsOf } from '../../../scripts/convert/tensors.ts';
import { toDistributedLlama } from '../../../scripts/convert/to-distributed-llama.ts';
import { toGguf } from '../../../scripts/convert/to-gguf.ts';
import { convert, parseCommand } from '../../../scripts/convert.ts';
import { readModelHeader } from '../../../web/model/distributed-llama/header.ts';
import { readModelFile } from '../../../web/model/gguf.ts';
import { openModelFile } from '../../../web/model/open-file.ts';
import { dequantize } from '../../../web/model/quant.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { makeTokenizer } from '../../../web/model/tokenizer.ts';
import type { ModelFile } from '../../../web/model/types.ts';
import { teacherForce } from '../../support/in-process.ts';
import { openModel, repoPath, wholeShare } from '../../support/node-model.ts';
import { failure } from '../model/failure.ts';
import { type Gguf, text, u32, writeGguf } from '../model/write-gguf.ts';
import { concat, floats, ints } from './files.ts';

const scratch = mkdtempSync(join(tmpdir(), 'convert-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const path = (name: string) => join(scratch, name);
const fixturePath = (name: string) => repoPath(`tests/fixtures/${name}`);

async function run(...argv: string[]): Promise<string> {
  const lines: string[] = [];
  await convert([...argv, '--force'], (line) => lines.push(line));
  return lines.join('\n');
}

async function whole(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Uint8Array.from(Buffer.concat(parts));
}

/** `toEqual` takes seconds for arrays of this size. */
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** The raw bytes of a tensor. */
async function tensorBytes(file: ModelFile, name: string): Promise<Uint8Array> {
  const { offset, bytes } = file.tensors.get(name)!;
  return Uint8Array.from(await file.source.read(offset, offset + bytes));
}

describe('quantizing', () => {
  const values = (first: number, second: number) =>
    Float32Array.from({ length: 32 }, (_, i) => (i === 0 ? first : i === 17 ? second : 0));

  it('to q40 makes the value of largest magnitude -8, with its sign, and halves round up', () => {
    // d = 4 / -8 = -0.5 (f16 0xb800); 4 / -0.5 + 8.5 = 0.5 -> 0; 0.7 / -0.5 + 8.5 = 7.1 -> 7; zeros are 8.
    const bytes = encodeValues('Q4_0', values(4, 0.7));
    expect([...bytes]).toEqual([0x00, 0xb8, 0x80, 0x78, ...Array(14).fill(0x88)]);
    // d = -4 / -8 = 0.5: 3.75 / 0.5 + 8.5 = 16 -> clamped to 15.
    expect([...encodeValues('Q4_0', values(-4, 3.75))]).toEqual([0x00, 0x38, 0x80, 0xf8, ...Array(14).fill(0x88)]);
    expect([...encodeValues('Q4_0', values(0, 0)).subarray(2)]).toEqual(Array(16).fill(0x88));
  });

  it('to q80 makes the value of largest magnitude 127, and halves round to even', () => {
    // d = 127 / 127 = 1 (f16 0x3c00); 2.5 -> 2.
    const bytes = encodeValues('Q8_0', values(-127, 2.5));
    expect([...bytes]).toEqual([0x00, 0x3c, 0x81, ...Array(16).fill(0), 2, ...Array(14).fill(0)]);
  });

  it('to f16 and f32 keeps what fits', () => {
    expect([...encodeValues('F16', Float32Array.of(1, -2))]).toEqual([0x00, 0x3c, 0x00, 0xc0]);
    expect(encodeValues('F32', Float32Array.of(1.5, -2))).toEqual(floats(1.5, -2));
  });

  it('what was quantized already gives the same bytes again', () => {
    const some = Float32Array.from({ length: 256 }, (_, i) => Math.sin(i * i) * 3);
    for (const type of ['Q4_0', 'Q8_0'] as const) {
      const once = encodeValues(type, some);
      expect(encodeValues(type, dequantize(type, once, 256)), type).toEqual(once);
    }
  });
});

/** A llama of width 32 and FFN 32, one layer, two heads over one, whose special tokens come first. */
function handmade(changes: Partial<Gguf['metadata']> = {}): Uint8Array {
  const f32 = (value: number) => ({ type: 'f32', value }) as const;
  const matrix = (name: string, rows: number, value: number) => ({
    ...{ name: `${name}.weight`, shape: [32, rows], type: 0 },
    data: floats(...Array.from({ length: 32 * rows }, (_, i) => (i % 32 === 0 ? value : 0))),
  });
  const norm = (name: string, value: number) => ({
    name: `${name}.weight`,
    shape: [32],
    type: 0,
    data: floats(...Array(32).fill(value)),
  });
  return writeGguf({
    metadata: {
      'general.architecture': text('llama'),
      'llama.block_count': u32(1),
      'llama.context_length': u32(64),
      'llama.embedding_length': u32(32),
      'llama.feed_forward_length': u32(32),
      'llama.attention.head_count': u32(2),
      'llama.attention.head_count_kv': u32(1),
      'llama.attention.layer_norm_rms_epsilon': f32(1e-6),
      'llama.rope.freq_base': f32(10_000),
      'tokenizer.ggml.model': text('gpt2'),
      'tokenizer.ggml.pre': text('smollm'),
      'tokenizer.ggml.tokens': { type: 'array', of: 'string', values: ['<e>', '<b>', 'a', 'b', 'ab'] },
      'tokenizer.ggml.token_type': { type: 'array', of: 'i32', values: [3, 3, 1, 1, 1] },
      'tokenizer.ggml.merges': { type: 'array', of: 'string', values: ['a b'] },
      'tokenizer.ggml.bos_token_id': u32(1),
      'tokenizer.ggml.eos_token_id': u32(0),
      'tokenizer.ggml.add_bos_token': { type: 'bool', value: true },
      'tokenizer.chat_template': text('<|im_start|>'),
      ...changes,
    },
    tensors: [
      // Row i of the embedding begins with 10 + i.
      {
        name: 'token_embd.weight',
        shape: [32, 5],
        type: 0,
        data: floats(...Array.from({ length: 160 }, (_, i) => (i % 32 === 0 ? 10 + i / 32 : 0))),
      },
      matrix('blk.0.attn_q', 32, 1),
      matrix('blk.0.attn_k', 16, 2),
      matrix('blk.0.attn_v', 16, 3),
      matrix('blk.0.attn_output', 32, 4),
      matrix('blk.0.ffn_gate', 32, 5),
      matrix('blk.0.ffn_up', 32, 6),
      matrix('blk.0.ffn_down', 32, 7),
      norm('blk.0.attn_norm', 0.5),
      norm('blk.0.ffn_norm', 0.25),
      norm('output_norm', 0.125),
    ],
  } as Gguf);
}

describe('a GGUF file', () => {
  it('becomes a .m and a .t byte for byte as the formats say', async () => {
    const made = await toDistributedLlama(bytesSource(handmade()), 'F32');
    const row = (first: number) => floats(first, ...Array(31).fill(0));
    const rows = (count: number, first: number) => concat(...Array.from({ length: count }, () => row(first)));
    const pairs = [
      [0, 0],
      [1, 0xabcd00],
      [11, 1],
      [2, 32],
      [3, 32],
      [4, 1],
      [5, 2],
      [6, 1],
      [13, 0],
      [10, 64],
      [9, 5],
      [7, 0],
      [8, 0],
      [12, 10_000],
      [18, 0],
      [19, 16],
      [20, 6],
    ];
    // Regular tokens first: a, b, ab; then BOS (<b>), then <e>. The head is the embedding, written again.
    const vocabulary = concat(row(12), row(13), row(14), row(11), row(10));
    const expected = concat(
      ints(0x0a00abcd, 8 + pairs.length * 8, ...pairs.flat()),
      vocabulary,
      ...[rows(32, 1), rows(16, 2), rows(16, 3), rows(32, 4)],
      // Gate, down, up: the original's w1, w2, w3.
      ...[rows(32, 5), rows(32, 7), rows(32, 6)],
      floats(...Array(32).fill(0.5), ...Array(32).fill(0.25), ...Array(32).fill(0.125)),
      vocabulary,
    );
    expect(await whole(made.model())).toEqual(expected);
    expect(made.modelBytes).toBe(expected.length);
    const utf8 = (word: string) => new TextEncoder().encode(word);
    const token = (word: string, score: number) => concat(floats(score), ints(word.length), utf8(word));
    expect(made.tokenizer).toEqual(
      concat(
        ints(0x567124, 64, 3, 3, 0, 1, 1, 5, 2, 3, 7, 12, 9, 1, 10, 1),
        utf8('<|im_start|>'),
        ints(4),
        ...[token('a', 0), token('b', 0), token('ab', -0), token('<b>', -1e10), token('<e>', -1e10)],
      ),
    );
    expect(made.notes.join()).toMatch(/renumbered: 3 of text first, then 2 special ones, from <b> on/);
  });

  it('of q40 has its weights rounded by the rule, and says how much', async () => {
    const made = await toDistributedLlama(bytesSource(handmade()), 'Q4_0');
    const bytes = await whole(made.model());
    // One value of 12 in a row: d = 12 / -8 = -1.5 (f16 0xbe00), and 0 for the value, since (0 - 8) · -1.5 = 12.
    expect([...bytes.subarray(-5 * 18, -4 * 18)]).toEqual([0x00, 0xbe, 0x80, ...Array(15).fill(0x88)]);
    expect(made.rounding.total).toBeGreaterThan(0);
    expect(made.rounding.difference).toBe(0);
  });

  it.each<[string, NonNullable<Gguf['metadata']>, string, RegExp]>([
    [
      'another epsilon',
      { 'llama.attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-4 } },
      'unsupported',
      /norm epsilon/,
    ],
    [
      'a broken rope base',
      { 'llama.rope.freq_base': { type: 'f32', value: 10_000.5 } },
      'unsupported',
      /whole number, not 10000.5/,
    ],
    [
      'YaRN',
      { 'llama.rope.scaling.type': text('yarn'), 'llama.rope.scaling.factor': { type: 'f32', value: 4 } },
      'unsupported',
      /rotate|scale/,
    ],
    ['part of a head that rotates', { 'llama.rope.dimension_count': u32(8) }, 'unsupported', /part of a head/],
    [
      'no special token',
      {
        'tokenizer.ggml.token_type': { type: 'array', of: 'i32', values: [1, 1, 1, 1, 1] },
        'tokenizer.ggml.bos_token_id': u32(9),
      },
      'tokenizer',
      /names 9 as its bos/,
    ],
  ])('with %s is refused in words', async (_, changes, code, message) => {
    await expect(toDistributedLlama(bytesSource(handmade(changes)), 'F32')).rejects.toEqual(failure(code, message));
  });

  it('of an architecture that distributed-llama lacks is refused', async () => {
    const qwen2 = bytesSource(new Uint8Array(readFileSync(fixturePath('tiny-qwen2.Q4_K_M.gguf'))));
    await expect(toDistributedLlama(qwen2, 'Q4_0')).rejects.toEqual(failure('unsupported', /no architecture qwen2/));
  });

  it('with linear rope scaling becomes Llama 3.1 scaling of every frequency', async () => {
    const scaled = bytesSource(
      handmade({ 'llama.rope.scaling.type': text('linear'), 'llama.rope.scaling.factor': { type: 'f32', value: 4 } }),
    );
    const made = await toDistributedLlama(scaled, 'F32');
    expect(made.header.ropeScaling).toMatchObject({ factor: 4 });
    const file = await openModelFile({
      model: bytesSource(await whole(made.model()), 'x.m'),
      tokenizer: bytesSource(made.tokenizer, 'x.t'),
    });
    expect([...file.rope!.factors!]).toEqual(Array(8).fill(4));
  });
});

describe.each([
  ['tiny-llama.Q4_0', 'Q4_0'],
  ['tiny-qwen3.Q4_0', 'Q4_0'],
] as const)('%s', (name, type) => {
  const gguf = fixturePath(`${name}.gguf`);
  const [model, tokenizer, back] = [path(`${name}.m`), path(`${name}.t`), path(`${name}.gguf`)];

  let said = '';
  beforeAll(async () => {
    said = await run(gguf, model, tokenizer);
  });

  it('keeps the bytes of its blocks on the way there and back', async () => {
    expect(said).not.toMatch(/rounded/);
    await run(model, tokenizer, back, '--pre', 'smollm');
    const [before, after] = await Promise.all([gguf, back].map((each) => openModel(each)));
    for (const tensor of before!.file.tensors.values()) {
      const found = after!.file.tensors.get(tensor.name);
      const bytes = await tensorBytes(before!.file, tensor.name);
      // Its embedding is of another type there, with the same values.
      if (tensor.name === 'token_embd.weight') {
        const values = dequantize(tensor.type, bytes, tensor.rows * tensor.cols);
        expect(same(await tensorBytes(after!.file, tensor.name), new Uint8Array(values.buffer))).toBe(true);
      } else {
        expect(found, tensor.name).toMatchObject({ type: tensor.type, rows: tensor.rows, cols: tensor.cols });
        expect(same(await tensorBytes(after!.file, tensor.name), bytes), tensor.name).toBe(true);
      }
    }
    expect(after!.hyper).toEqual(before!.hyper);
    expect(after!.file.metadata.get('tokenizer.ggml.merges')).toEqual(
      before!.file.metadata.get('tokenizer.ggml.merges'),
    );
    expect(after!.file.metadata.get('tokenizer.ggml.tokens')).toEqual(
      before!.file.metadata.get('tokenizer.ggml.tokens'),
    );
    expect(makeTokenizer(after!.file).endOfTurn).toEqual(makeTokenizer(before!.file).endOfTurn);
    expect((await openModel(model)).file.tensors.get('output.weight')).toMatchObject({ type });
  });

  it('gives the same logits as a .m file, bit for bit', async () => {
    const ids = Array.from({ length: 40 }, (_, i) => (i * 37 + 5) % 500);
    const logits = await Promise.all(
      [gguf, model].map(async (each) => {
        const opened = await openModel(each);
        return teacherForce([[await opened.executor(wholeShare(opened.hyper))]], ids);
      }),
    );
    expect(logits[0]!.length).toBe(ids.length);
    expect(logits[1]).toEqual(logits[0]);
  });

  it('cuts text into the same tokens', async () => {
    const [own, theirs] = await Promise.all(
      [gguf, model].map(async (each) => makeTokenizer((await openModel(each)).file)),
    );
    for (const sample of ['and the', 'return x', 'hello', 'Zürich', '<|im_start|>user']) {
      expect(theirs!.encode(sample, { special: true }), sample).toEqual(own!.encode(sample, { special: true }));
    }
  });
});

describe('a SentencePiece vocabulary', () => {
  const llama2 = () =>
    handmade({
      'tokenizer.ggml.model': text('llama'),
      'tokenizer.ggml.tokens': { type: 'array', of: 'string', values: ['<unk>', '<s>', '▁a', '<0x61>', 'a'] },
      'tokenizer.ggml.scores': { type: 'array', of: 'f32', values: [0, 0, -1, 0, -2] },
      'tokenizer.ggml.token_type': { type: 'array', of: 'i32', values: [2, 3, 1, 6, 1] },
    });

  it('comes back with its scores, spaces, and bytes', async () => {
    const made = await toDistributedLlama(bytesSource(llama2()), 'F32');
    const gguf = await toGguf(bytesSource(await whole(made.model()), 'x.m'), bytesSource(made.tokenizer, 'x.t'), {
      name: 'x',
    });
    const { metadata } = await readModelFile(bytesSource(await whole(gguf.content())));
    expect(gguf.tied).toBe(true);
    expect(metadata.get('tokenizer.ggml.model')).toBe('llama');
    expect(metadata.get('tokenizer.ggml.tokens')).toEqual(['▁a', '<0x61>', 'a', '<s>', '<unk>']);
    expect(metadata.get('tokenizer.ggml.token_type')).toEqual([1, 6, 1, 3, 2]);
    expect(metadata.get('tokenizer.ggml.scores')).toEqual([-1, 0, -2, 0, 0]);
    expect(made.notes.join()).toMatch(/no space before a text/);
  });
});

describe('the command', () => {
  it.each([
    [[], /Three files/],
    [['a.gguf', 'b.t', 'c.m'], /Three files/],
    [['a.gguf', 'b.m', 'c.t', '--type', 'q3'], /no type q3/],
    [['a.m', 'b.t', 'c.gguf', '--type', 'q40'], /keep the type/],
    [['a.gguf', 'b.m', 'c.t', '--pre', 'qwen2'], /--pre is for GGUF/],
    [['a.gguf', 'b.m', 'c.t', '--fast'], /--fast/],
  ])('%j is refused: %s', (argv, message) => {
    expect(() => parseCommand(argv)).toThrow(message);
  });

  it('overwrites nothing, names what is missing, and leaves no half files', async () => {
    writeFileSync(path('there.m'), '');
    expect(() => parseCommand(['a.gguf', path('there.m'), path('new.t')])).toThrow(/there\.m exists already/);
    await expect(convert([path('none.gguf'), path('o.m'), path('o.t')], () => {})).rejects.toThrow(
      /no file.*none\.gguf/,
    );
    writeFileSync(path('cut.gguf'), handmade().subarray(0, -100));
    await expect(convert([path('cut.gguf'), path('o.m'), path('o.t')], () => {})).rejects.toEqual(
      failure('truncated', /incomplete/),
    );
    await run(fixturePath('tiny-llama.Q4_0.gguf'), path('pre.m'), path('pre.t'));
    const pre = convert([path('pre.m'), path('pre.t'), path('o.gguf'), '--pre', 'nonsense'], () => {});
    await expect(pre).rejects.toEqual(failure('tokenizer', /nonsense/));
    for (const name of ['o.m', 'o.t', 'o.gguf', 'o.m.part']) expect(() => readFileSync(path(name)), name).toThrow();
  });

  it('reads rows in runs, in the order that is wanted', () => {
    expect([...runsOf([3, 4, 5, 0, 1, 7], 6, 2)]).toEqual([
      [3, 5],
      [5, 6],
      [0, 2],
      [7, 8],
    ]);
    expect([...runsOf(undefined, 5, 2)]).toEqual([
      [0, 2],
      [2, 4],
      [4, 5],
    ]);
  });

  it('writes a header that says what the header of the model said', async () => {
    await run(fixturePath('tiny-llama.Q4_0.gguf'), path('h.m'), path('h.t'));
    const { header } = await readModelHeader(bytesSource(new Uint8Array(readFileSync(path('h.m'))), 'h.m'));
    expect(header).toEqual({
      ...{ architecture: 'llama', dim: 256, ffn: 768, layers: 4, heads: 16, kvHeads: 8, headDim: 16, vocab: 512 },
      ...{ context: 1024, weights: 'Q4_0', normEpsilonExponent: 5, ropeTheta: 500_000, ropeLayout: 'pairs' },
      ropeScaling: { factor: 32, lowFrequency: 1, highFrequency: 4, originalContext: 64 },
    });
  });
});
