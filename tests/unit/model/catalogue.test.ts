import { describe, expect, it } from 'vitest';
import { catalogue, readVector } from '../../../web/model/catalogue.ts';
import type { MetadataValue, ModelFile, TensorInfo } from '../../../web/model/types.ts';
import { failure } from './failure.ts';
import { fixture, openModel, shared } from './golden.ts';

const llama = await openModel(fixture('tiny-llama.Q4_0.gguf'));
const qwen2 = await openModel(fixture('tiny-qwen2.Q4_K_M.gguf'));
const qwen3 = await openModel(fixture('tiny-qwen3.Q4_0.gguf'));

type Changes = {
  metadata?: Record<string, MetadataValue | undefined>;
  tensors?: Record<string, Partial<TensorInfo> | undefined>;
};

/** The file with some metadata and tensors changed; undefined removes them. */
function changed(file: ModelFile, changes: Changes): ModelFile {
  const metadata = new Map(file.metadata);
  for (const [key, value] of Object.entries(changes.metadata ?? {})) {
    if (value === undefined) metadata.delete(key);
    else metadata.set(key, value);
  }
  const tensors = new Map(file.tensors);
  for (const [name, change] of Object.entries(changes.tensors ?? {})) {
    const base = tensors.get(name) ?? file.tensors.get('output_norm.weight')!;
    if (change === undefined) tensors.delete(name);
    else tensors.set(name, { ...base, name, ...change });
  }
  return { ...file, metadata, tensors };
}

describe('catalogue', () => {
  it('finds llama: pairs, rope factors as divisors, untied head', async () => {
    const { hyper, matrix, vector } = await catalogue(llama);
    expect(hyper).toMatchObject({
      architecture: 'llama',
      layers: 4,
      dim: 256,
      heads: 16,
      kvHeads: 8,
      headDim: 16,
      ffn: 768,
      vocab: 512,
      context: 1024,
      tied: false,
      qkvBias: false,
      qkNorm: false,
    });
    expect(hyper.normEpsilon).toBeCloseTo(1e-5, 10);
    expect(hyper.rope).toMatchObject({ layout: 'pairs', dims: 16, magnitude: 1 });
    const factors = await readVector(llama, llama.tensors.get('rope_freqs.weight')!);
    expect(factors.some((factor) => factor !== 1)).toBe(true);
    for (const [i, frequency] of hyper.rope.frequencies.entries()) {
      expect(frequency).toBeCloseTo(500_000 ** (-i / 8) / factors[i]!, 12);
    }
    expect(matrix('q', 3)).toMatchObject({ name: 'blk.3.attn_q.weight', rows: 256, cols: 256 });
    expect(matrix('k', 0)).toMatchObject({ rows: 128, cols: 256 });
    expect(matrix('down', 1)).toMatchObject({ rows: 256, cols: 768 });
    expect(matrix('head', 0).name).toBe('output.weight');
    expect(vector('ffnNorm', 2)!.name).toBe('blk.2.ffn_norm.weight');
    expect(vector('outputNorm', 0)!.name).toBe('output_norm.weight');
    expect(vector('qBias', 0)).toBeUndefined();
    expect(vector('qNorm', 0)).toBeUndefined();
  });

  it('finds qwen2: halves, biases, tied head', async () => {
    const { hyper, matrix, vector } = await catalogue(qwen2);
    expect(hyper).toMatchObject({ architecture: 'qwen2', tied: true, qkvBias: true, qkNorm: false, headDim: 32 });
    expect(hyper.rope.layout).toBe('halves');
    expect(matrix('head', 0)).toBe(matrix('embedding', 0));
    expect(vector('kBias', 2)).toMatchObject({ name: 'blk.2.attn_k.bias', cols: 64 });
  });

  it('finds qwen3: norms per head, heads wider than the model', async () => {
    const { hyper, matrix, vector } = await catalogue(qwen3);
    expect(hyper).toMatchObject({
      architecture: 'qwen3',
      qkNorm: true,
      qkvBias: false,
      headDim: 32,
      heads: 16,
      dim: 256,
    });
    expect(matrix('o', 0)).toMatchObject({ rows: 256, cols: 512 });
    expect(vector('kNorm', 1)).toMatchObject({ name: 'blk.1.attn_k_norm.weight', cols: 32 });
  });

  it.skipIf(shared('tiny').missing)('divides by a linear rope scale (skipped without ../shared/golden)', async () => {
    const { hyper } = await catalogue(await openModel(shared('tiny/tiny-llama-wide.Q4_0.gguf').path));
    for (const [i, frequency] of hyper.rope.frequencies.entries()) {
      expect(frequency).toBeCloseTo(10_000 ** (-i / 32) / 4, 12);
    }
  });

  it('scales by YaRN as llama.cpp: low frequencies divided, high ones kept, a ramp between, a larger magnitude', async () => {
    const { hyper } = await catalogue(
      changed(qwen3, {
        metadata: {
          'qwen3.rope.scaling.type': 'yarn',
          'qwen3.rope.scaling.factor': 4,
          'qwen3.rope.scaling.original_context_length': 4096,
          'qwen3.rope.freq_base': 10_000,
        },
      }),
    );
    const { frequencies, magnitude } = hyper.rope;
    const plain = (i: number) => 10_000 ** (-i / 16);
    expect(magnitude).toBeCloseTo(1 + 0.1 * Math.log(4), 12);
    // Pairs that turn 32 times and once over 4096 positions: 32·ln(4096/(turns·2π))/(2·ln 10000) = 5.2 and 11.3.
    expect(frequencies[5]).toBeCloseTo(plain(5), 12);
    expect(frequencies[12]).toBeCloseTo(plain(12) / 4, 12);
    const mix = 1 - (8 - 5) / (12 - 5);
    expect(frequencies[8]).toBeCloseTo((plain(8) / 4) * (1 - mix) + plain(8) * mix, 12);
  });

  it('limits the context to a sliding window and says so', async () => {
    const found = await catalogue(changed(llama, { metadata: { 'llama.attention.sliding_window': 256 } }));
    expect(found.hyper.context).toBe(256);
    expect(found.notes).toEqual([expect.stringMatching(/last 256 tokens/)]);
    const wide = await catalogue(changed(llama, { metadata: { 'llama.attention.sliding_window': 4096 } }));
    expect(wide.hyper.context).toBe(1024);
    expect(wide.notes).toEqual([]);
  });

  it('takes numbers given per layer where they are all the same, and biases in llama', async () => {
    const bias = { type: 'F32', rows: 1, bytes: 0 } as const;
    const biases = [0, 1, 2, 3].flatMap((layer) => [
      [`blk.${layer}.attn_q.bias`, { ...bias, cols: 256 }],
      [`blk.${layer}.attn_k.bias`, { ...bias, cols: 128 }],
      [`blk.${layer}.attn_v.bias`, { ...bias, cols: 128 }],
      [`blk.${layer}.attn_output.bias`, { ...bias, cols: 256 }],
    ]);
    const { hyper, vector } = await catalogue(
      changed(llama, {
        metadata: { 'llama.attention.head_count_kv': [8, 8, 8, 8] },
        tensors: Object.fromEntries(biases),
      }),
    );
    expect(hyper).toMatchObject({ kvHeads: 8, qkvBias: true });
    expect(vector('oBias', 3)).toMatchObject({ name: 'blk.3.attn_output.bias', cols: 256 });
  });

  it.each<[string, ModelFile, Changes, string, RegExp]>([
    ['an architecture by name', llama, { metadata: { 'general.architecture': 'gemma3' } }, 'unsupported', /gemma3/],
    ['no architecture', llama, { metadata: { 'general.architecture': undefined } }, 'corrupt', /architecture/],
    ['experts', llama, { metadata: { 'llama.expert_count': 8 } }, 'unsupported', /experts/],
    ['embedding models', llama, { metadata: { 'llama.pooling_type': 1 } }, 'unsupported', /embedding model/],
    [
      'attention without a mask',
      llama,
      { metadata: { 'llama.attention.causal': false } },
      'unsupported',
      /embedding model/,
    ],
    ['soft caps', llama, { metadata: { 'llama.attn_logit_softcapping': 50 } }, 'unsupported', /attn_logit_softcapping/],
    ['attention scales', llama, { metadata: { 'llama.attention.scale': 0.5 } }, 'unsupported', /scale of 0\.5/],
    ['LongRoPE', llama, { metadata: { 'llama.rope.scaling.type': 'longrope' } }, 'unsupported', /longrope/],
    [
      'values wider than keys',
      llama,
      { metadata: { 'llama.attention.value_length': 32 } },
      'unsupported',
      /16 and values of 32/,
    ],
    [
      'layers that differ',
      llama,
      { metadata: { 'llama.feed_forward_length': [768, 768, 512, 768] } },
      'unsupported',
      /layer to layer/,
    ],
    ['missing numbers', llama, { metadata: { 'llama.block_count': undefined } }, 'corrupt', /llama\.block_count/],
    ['texts for numbers', llama, { metadata: { 'llama.block_count': 'four' } }, 'corrupt', /block_count is four/],
    ['zero heads', llama, { metadata: { 'llama.attention.head_count': 0 } }, 'corrupt', /head_count is 0/],
    [
      'heads that do not group',
      llama,
      { metadata: { 'llama.attention.head_count_kv': 3 } },
      'corrupt',
      /16 query heads .* 3/,
    ],
    [
      'heads that do not divide',
      llama,
      { metadata: { 'llama.attention.head_count': 24 } },
      'corrupt',
      /24 heads .* 256/,
    ],
    [
      'heads that the kernels lack',
      llama,
      { metadata: { 'llama.attention.key_length': 20, 'llama.attention.value_length': 20 } },
      'unsupported',
      /head width 20/,
    ],
    ['odd rope', llama, { metadata: { 'llama.rope.dimension_count': 18 } }, 'corrupt', /18 rotating/],
    [
      'more layers than there are',
      llama,
      { metadata: { 'llama.block_count': 5 } },
      'corrupt',
      /lacks the tensor blk\.4\./,
    ],
    ['fewer layers than there are', llama, { metadata: { 'llama.block_count': 3 } }, 'unsupported', /blk\.3\./],
    ['another vocabulary', llama, { metadata: { 'tokenizer.ggml.tokens': ['a'] } }, 'corrupt', /1 tokens.* 512 rows/],
    ['no embedding', llama, { tensors: { 'token_embd.weight': undefined } }, 'corrupt', /token_embd\.weight/],
    [
      'a missing matrix',
      llama,
      { tensors: { 'blk.1.ffn_up.weight': undefined } },
      'corrupt',
      /lacks the tensor blk\.1\.ffn_up/,
    ],
    ['a missing bias', qwen2, { tensors: { 'blk.1.attn_k.bias': undefined } }, 'corrupt', /blk\.1\.attn_k\.bias/],
    ['a missing head norm', qwen3, { tensors: { 'blk.0.attn_q_norm.weight': undefined } }, 'corrupt', /attn_q_norm/],
    [
      'a matrix of the wrong shape',
      llama,
      { tensors: { 'blk.0.attn_v.weight': { rows: 96 } } },
      'corrupt',
      /96 × 256.*128 × 256/,
    ],
    [
      'a vector of the wrong length',
      llama,
      { tensors: { 'blk.0.attn_norm.weight': { cols: 64 } } },
      'corrupt',
      /256 values/,
    ],
    [
      'a quantized vector',
      llama,
      { tensors: { 'blk.0.attn_norm.weight': { type: 'Q8_0' } } },
      'unsupported',
      /vector of type Q8_0/,
    ],
    ['a tensor without a part', llama, { tensors: { 'blk.0.ssm_a': {} } }, 'unsupported', /ssm_a/],
    ['fused q, k, v', llama, { tensors: { 'blk.0.attn_qkv.weight': {} } }, 'unsupported', /attn_qkv/],
    [
      'rope factors of the wrong length',
      llama,
      { tensors: { 'rope_freqs.weight': { cols: 4, bytes: 16 } } },
      'corrupt',
      /4 rope factors/,
    ],
  ])('refuses %s', async (_, file, changes, code, message) => {
    let reads = 0;
    const watched = changed(file, changes);
    const source = {
      ...watched.source,
      read: (from: number, to: number) => {
        reads += to - from;
        return file.source.read(from, to);
      },
    };
    await expect(catalogue({ ...watched, source })).rejects.toEqual(failure(code, message));
    expect(reads).toBeLessThanOrEqual(32);
  });
});
