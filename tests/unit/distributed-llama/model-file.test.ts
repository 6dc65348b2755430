import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { catalogue } from '../../../web/model/catalogue.ts';
import { readDistributedLlama } from '../../../web/model/distributed-llama/model-file.ts';
import { openModelFile } from '../../../web/model/open-file.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { ModelError } from '../../../web/model/types.ts';
import { failure } from '../model/failure.ts';
import {
  byteTokenizer,
  concat,
  header,
  ints,
  MODEL_MAGIC,
  open,
  QWEN3,
  tiny,
  tinyModel,
  tokenizerBytes,
} from './files.ts';

const TOKENIZER = tokenizerBytes(byteTokenizer([['ab', -1]], ['<s>', '</s>']));

describe('a .m file', () => {
  it('is read by the order of its tensors', async () => {
    const bytes = tinyModel();
    const file = await open(bytes, TOKENIZER);
    const parts = await catalogue(file);
    expect(parts.hyper).toMatchObject({
      ...{ architecture: 'llama', layers: 1, dim: 32, heads: 2, kvHeads: 1, headDim: 16, ffn: 64, vocab: 300 },
      ...{ context: 16, normEpsilon: Math.fround(1e-5), tied: false, qkvBias: false, qkNorm: false },
    });
    expect(parts.hyper.rope).toMatchObject({ layout: 'pairs', dims: 16, magnitude: 1 });
    expect([...parts.hyper.rope.frequencies]).toEqual(Array.from({ length: 8 }, (_, i) => 10_000 ** (-i / 8)));
    // Header 8 + 12 · 8; embedding 300 · 32 floats; then q, k, v, o, gate, down, up in blocks of 18 bytes for 32 values.
    const q = 104 + 300 * 32 * 4;
    const places = [...file.tensors.values()].map(({ name, type, rows, cols, offset }) => [
      name,
      type,
      rows,
      cols,
      offset,
    ]);
    expect(places).toEqual([
      ['token_embd.weight', 'F32', 300, 32, 104],
      ['blk.0.attn_q.weight', 'Q4_0', 32, 32, q],
      ['blk.0.attn_k.weight', 'Q4_0', 16, 32, q + 32 * 18],
      ['blk.0.attn_v.weight', 'Q4_0', 16, 32, q + 48 * 18],
      ['blk.0.attn_output.weight', 'Q4_0', 32, 32, q + 64 * 18],
      ['blk.0.ffn_gate.weight', 'Q4_0', 64, 32, q + 96 * 18],
      ['blk.0.ffn_down.weight', 'Q4_0', 32, 64, q + 160 * 18],
      ['blk.0.ffn_up.weight', 'Q4_0', 64, 32, q + 224 * 18],
      ['blk.0.attn_norm.weight', 'F32', 1, 32, q + 288 * 18],
      ['blk.0.ffn_norm.weight', 'F32', 1, 32, q + 288 * 18 + 128],
      ['output_norm.weight', 'F32', 1, 32, q + 288 * 18 + 256],
      ['output.weight', 'Q4_0', 300, 32, q + 288 * 18 + 384],
    ]);
    expect(bytes.length).toBe(q + 288 * 18 + 384 + 300 * 18);
  });

  it.each([
    [0, 'F32', 128],
    [1, 'F16', 64],
    [2, 'Q4_0', 18],
    [3, 'Q8_0', 34],
  ] as const)('of weight type %i has %s matrices', async (number, type, blockBytes) => {
    const file = await open(tinyModel(tiny({ 13: number }), blockBytes), TOKENIZER);
    expect(file.tensors.get('output.weight')).toMatchObject({ type, bytes: 300 * blockBytes });
  });

  it('of qwen3 has norms of heads, and rotates halves whatever its header says', async () => {
    const norms = new Uint8Array(2 * 16 * 4);
    const file = await open(concat(tinyModel(tiny({ 1: QWEN3, 18: 2, 14: 8, 19: 16, 20: 6 })), norms), TOKENIZER);
    const { hyper } = await catalogue(file);
    expect(hyper).toMatchObject({ architecture: 'qwen3', qkNorm: true, normEpsilon: Math.fround(1e-6) });
    expect(hyper.rope.layout).toBe('halves');
    expect(hyper.rope.frequencies[1]).toBeCloseTo(10_000 ** (-1 / 8), 12);
    expect([...file.tensors.keys()].slice(8, 11)).toEqual([
      'blk.0.attn_q_norm.weight',
      'blk.0.attn_k_norm.weight',
      'blk.0.attn_norm.weight',
    ]);
  });

  it('rotates by its rope type: pairs, halves, or pairs with frequencies of Llama 3.1', async () => {
    const rope = async (changes: Record<number, number>) =>
      (await catalogue(await open(tinyModel(tiny(changes)), TOKENIZER))).hyper.rope;
    const plain = await rope({});
    expect((await rope({ 18: 1 })).layout).toBe('halves');
    expect(await rope({ 18: 2, 14: 1, 15: 1, 16: 4, 17: 64 })).toEqual(plain);
    const scaled = await rope({ 18: 2, 14: 8, 15: 1, 16: 4, 17: 64 });
    expect(scaled.layout).toBe('pairs');
    // Wavelengths are 2π · 10000^(i/8): 6.3 (short), 19.9 (between 64/4 and 64/1), 62.8 (between), 199 and more (long).
    const ratio = Array.from(scaled.frequencies, (frequency, i) => frequency / plain.frequencies[i]!);
    const blend = (wavelength: number) => {
      const smooth = (64 / wavelength - 1) / 3;
      return (1 - smooth) / 8 + smooth;
    };
    expect(ratio[0]).toBe(1);
    expect(ratio[1]).toBeCloseTo(blend(2 * Math.PI * 10_000 ** (1 / 8)), 6);
    expect(ratio[2]).toBeCloseTo(blend(2 * Math.PI * 10_000 ** (2 / 8)), 6);
    expect(ratio.slice(3)).toEqual([1, 1, 1, 1, 1].map((value) => value / 8));
  });

  it('is named by its weights: another tokenizer is the same model, other weights are not', async () => {
    const bytes = tinyModel();
    const digest = async (model: Uint8Array, tokenizer: Uint8Array) => (await open(model, tokenizer)).digest;
    const other = bytes.slice();
    other[other.length - 1] = 1;
    expect(await digest(bytes, TOKENIZER)).toBe(await digest(bytes, tokenizerBytes(byteTokenizer([], ['<a>', '<b>']))));
    expect(await digest(other, TOKENIZER)).not.toBe(await digest(bytes, TOKENIZER));
  });

  it.each([
    ['without its tokenizer', undefined, 'tokenizer', /Open both together.*x\.t/],
    [
      'with more tokens than it',
      tokenizerBytes(byteTokenizer([], Array(50).fill('<s>'))),
      'tokenizer',
      /306.*300.*belong/,
    ],
    ['with something else for a tokenizer', ints(1, 2, 3), 'not-a-model', /no tokenizer of distributed-llama/],
  ])('%s is refused', async (_, tokenizer, code, message) => {
    const opening = openModelFile({
      model: bytesSource(tinyModel(), 'x.m'),
      tokenizer: tokenizer && bytesSource(tokenizer, 'y.t'),
    });
    await expect(opening).rejects.toEqual(failure(code, message));
  });

  it('under the name of a GGUF file is told apart', async () => {
    await expect(openModelFile({ model: bytesSource(tinyModel(), 'x.gguf') })).rejects.toEqual(
      failure('not-a-model', /must end in \.m/),
    );
  });

  it.each<[string, Uint8Array, string, RegExp]>([
    ['empty', new Uint8Array(), 'truncated', /0 bytes/],
    ['something else', ints(1, 2, 3, 4), 'not-a-model', /no model of distributed-llama/],
    ['an old format', ints(0xabcd00, 64, 64, 1), 'unsupported', /old format.*again/],
    ['the other old format', ints(0xabcd01, 64, 64, 1), 'unsupported', /old format/],
    ['a negative header', ints(MODEL_MAGIC, -8), 'corrupt', /-8 bytes/],
    ['an endless header', ints(MODEL_MAGIC, 0x7ffffff8), 'corrupt', /2147483640 bytes/],
    ['half a pair', ints(MODEL_MAGIC, 12, 1), 'corrupt', /12 bytes/],
    ['cut inside its header', tinyModel().subarray(0, 60), 'truncated', /inside its header/],
    ['an unknown key', tinyModel(tiny({ 22: 1 })), 'unsupported', /header key 22/],
    ['no architecture', tinyModel(tiny({ 1: undefined })), 'corrupt', /no architecture/],
    ['an unknown architecture', tinyModel(tiny({ 1: 0xabcd09 })), 'unsupported', /number 11259145/],
    ['Qwen3-MoE', tinyModel(tiny({ 1: 0xabcd02 })), 'unsupported', /mixture of experts \(Qwen3-MoE\)/],
    ['experts', tinyModel(tiny({ 7: 8, 8: 2 })), 'unsupported', /mixture of experts/],
    ['GELU', tinyModel(tiny({ 11: 0 })), 'unsupported', /SiLU/],
    ['no weight type', tinyModel(tiny({ 13: undefined })), 'unsupported', /weights.*q40 and q80/],
    ['an unknown weight type', tinyModel(tiny({ 13: 7 })), 'unsupported', /type 7/],
    ['another epsilon', tinyModel(tiny({ 20: 12 })), 'unsupported', /1e-12/],
    ['no width', tinyModel(tiny({ 2: undefined })), 'corrupt', /lacks dim/],
    ['a negative width', tinyModel(tiny({ 2: -32 })), 'corrupt', /dim = -32/],
    ['heads that do not divide the width', tinyModel(tiny({ 5: 3, 6: 3 })), 'corrupt', /3 heads/],
    ['too many layers', tinyModel(tiny({ 4: 0x7fffffff })), 'corrupt', /layers = 2147483647/],
    ['an unknown rope type', tinyModel(tiny({ 18: 9 })), 'unsupported', /rope type 9/],
    [
      'an impossible rope scaling',
      tinyModel(tiny({ 18: 2, 14: 8, 15: 4, 16: 4, 17: 64 })),
      'corrupt',
      /high frequency/,
    ],
    ['rows that are no whole blocks', tinyModel(tiny({ 3: 40 })), 'unsupported', /40 values.*Q4_0/],
    ['a byte too few', tinyModel().subarray(0, -1), 'truncated', /header makes it/],
    ['a byte too many', concat(tinyModel(), new Uint8Array(1)), 'corrupt', /header makes it/],
  ])('that is %s is refused in words', async (_, model, code, message) => {
    await expect(open(model, TOKENIZER)).rejects.toEqual(failure(code, message));
  });

  it('never fails otherwise, and never reads more than there is', async () => {
    const key = fc.integer({ min: -1, max: 23 });
    const value = fc.oneof(
      fc.constantFrom(0, 1, 2, 3, 5, 6, 32, 64, 0xabcd00, 0xabcd01, 0xabcd02, 0x7fffffff, -1),
      fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(key, value), { maxLength: 24 }),
        fc.nat(60_000),
        fc.uint8Array({ maxLength: 40 }),
        async (pairs, size, tail) => {
          const start = header(MODEL_MAGIC, [...tiny(), ...pairs]);
          const bytes = concat(start, tail).subarray(0, Math.max(size, 4));
          await failsInWords(bytes, TOKENIZER);
        },
      ),
      { numRuns: 400, seed: 8 },
    );
  });
});

/** Opens and catalogues; anything but a ModelError is a fault of ours. */
async function failsInWords(model: Uint8Array, tokenizer: Uint8Array): Promise<void> {
  try {
    await catalogue(await readDistributedLlama(bytesSource(model, 'x.m'), bytesSource(tokenizer, 'x.t')));
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    expect(error.message.length).toBeGreaterThan(20);
    expect(error.message.length).toBeLessThan(400);
  }
}

describe('a .t file', () => {
  it('that is cut or changed anywhere is refused in words or is another tokenizer', async () => {
    const model = tinyModel();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(TOKENIZER.length - 1), fc.nat(255)), { maxLength: 4 }),
        fc.option(fc.nat(TOKENIZER.length)),
        async (changes, cut) => {
          const bytes = TOKENIZER.slice(0, cut ?? TOKENIZER.length);
          for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
          await failsInWords(model, bytes);
        },
      ),
      { numRuns: 400, seed: 8 },
    );
  });
});
