/** From a header's metadata to the numbers that define the computation; everything that would change them is refused. */
import { type Architecture, type HyperParameters, type Metadata, ModelError } from './types.ts';

/** What each architecture is, as llama.cpp computes it. */
const ARCHITECTURES: Readonly<Record<Architecture, { layout: 'pairs' | 'halves'; qkvBias: boolean; qkNorm: boolean }>> =
  {
    // The converter reorders the rows of q and k of `llama` files so that pairs lie side by side.
    llama: { layout: 'pairs', qkvBias: false, qkNorm: false },
    qwen2: { layout: 'halves', qkvBias: true, qkNorm: false },
    qwen3: { layout: 'halves', qkvBias: false, qkNorm: true },
  };

/** Columns that parts are cut on; widths must be multiples of it. */
const CUT = 32;
const DEFAULT_ROPE_BASE = 10_000;

/** What `hyperParameters` needs from the tensors, since the metadata do not say it. */
export interface TensorFacts {
  /** Rows of the token embedding. */
  vocab: number;
  tied: boolean;
  qkvBias: boolean;
  /** Where it is not the architecture's own. */
  ropeLayout?: 'pairs' | 'halves' | undefined;
  /** Divisors of the rope frequencies (Llama 3.1 and later): headDim/2 values of `rope_freqs.weight`. */
  ropeFactors?: Float32Array | undefined;
}

/** The architecture of a file, or ModelError `unsupported` with its name. */
export function architectureOf(metadata: Metadata): Architecture {
  const name = metadata.get('general.architecture');
  if (typeof name !== 'string') {
    throw new ModelError(
      'corrupt',
      'The file does not name its architecture (general.architecture): it is no language model.',
    );
  }
  if (!Object.hasOwn(ARCHITECTURES, name)) {
    throw new ModelError(
      'unsupported',
      `The architecture ${name.slice(0, 80)} is not supported. Supported are ${Object.keys(ARCHITECTURES).join(', ')}.`,
    );
  }
  return name as Architecture;
}

/**
 * The hyper-parameters of a file, and notes for people on what was limited.
 * Throws ModelError `unsupported` (by the name of the feature) or `corrupt` (missing or impossible numbers).
 */
export function hyperParameters(metadata: Metadata, facts: TensorFacts): { hyper: HyperParameters; notes: string[] } {
  const architecture = architectureOf(metadata);
  const read = readers(metadata, architecture);
  refuseFeatures(read, architecture);

  const layers = read.count('block_count');
  const dim = read.count('embedding_length');
  const heads = read.uniform('attention.head_count', layers);
  const kvHeads = read.has('attention.head_count_kv') ? read.uniform('attention.head_count_kv', layers) : heads;
  const headDim = read.has('attention.key_length') ? read.count('attention.key_length') : dim / heads;
  const valueDim = read.has('attention.value_length') ? read.count('attention.value_length') : headDim;
  const ffn = read.uniform('feed_forward_length', layers);
  if (!Number.isInteger(headDim)) {
    throw new ModelError('corrupt', `${heads} heads do not divide the width ${dim}.`);
  }
  if (valueDim !== headDim) {
    throw new ModelError(
      'unsupported',
      `Keys of ${headDim} and values of ${valueDim} per head are not supported: they must be equal.`,
    );
  }
  if (heads % kvHeads !== 0) {
    throw new ModelError('corrupt', `${heads} query heads cannot share ${kvHeads} key and value heads evenly.`);
  }
  for (const [what, width] of [
    ['model width', dim],
    ['feed-forward width', ffn],
    ['attention width', heads * headDim],
  ] as const) {
    if (width % CUT !== 0) throw new ModelError('unsupported', `The ${what} ${width} is not a multiple of ${CUT}.`);
  }
  // The kernels' vectors.
  if (headDim % 8 !== 0) throw new ModelError('unsupported', `The head width ${headDim} is not a multiple of 8.`);
  refuseAttentionScale(read, headDim);

  const notes: string[] = [];
  const trained = read.count('context_length');
  let context = trained;
  const window = read.optional('attention.sliding_window', 0);
  if (window > 0 && window < context) {
    // Inside the window, sliding and full attention are the same.
    notes.push(`The model attends to the last ${window} tokens only (sliding window); the context is limited to them.`);
    context = window;
  }
  const hyper: HyperParameters = {
    architecture,
    layers,
    dim,
    heads,
    kvHeads,
    headDim,
    ffn,
    vocab: facts.vocab,
    context,
    normEpsilon: read.positive('attention.layer_norm_rms_epsilon'),
    rope: rope(read, architecture, headDim, trained, facts),
    tied: facts.tied,
    qkvBias: facts.qkvBias || ARCHITECTURES[architecture].qkvBias,
    qkNorm: ARCHITECTURES[architecture].qkNorm,
  };
  return { hyper, notes };
}

/** Metadata that would change the computation in ways that are not built. */
function refuseFeatures(read: Readers, architecture: Architecture): void {
  if (read.optional('expert_count', 0) > 0) {
    throw new ModelError('unsupported', 'Mixture-of-experts models are not supported.');
  }
  if (read.flag('attention.causal') === false || read.optional('pooling_type', 0) > 0) {
    throw new ModelError('unsupported', 'This is an embedding model: it writes no text.');
  }
  for (const key of [
    'attn_logit_softcapping',
    'final_logit_softcapping',
    'logit_scale',
    'residual_scale',
    'embedding_scale',
    'attention.max_alibi_bias',
    'attention.clamp_kqv',
  ]) {
    if (read.optional(key, 0) !== 0)
      throw new ModelError('unsupported', `${architecture} with ${key} is not supported.`);
  }
}

function refuseAttentionScale(read: Readers, headDim: number): void {
  const scale = read.optional('attention.scale', 0);
  if (scale !== 0 && Math.abs(scale * Math.sqrt(headDim) - 1) > 1e-6) {
    throw new ModelError('unsupported', `An attention scale of ${scale} is not supported, only 1/√${headDim}.`);
  }
}

function rope(
  read: Readers,
  architecture: Architecture,
  headDim: number,
  context: number,
  { ropeLayout, ropeFactors: factors }: TensorFacts,
): HyperParameters['rope'] {
  const dims = read.has('rope.dimension_count') ? read.count('rope.dimension_count') : headDim;
  if (dims % 2 !== 0 || dims > headDim) {
    throw new ModelError('corrupt', `${dims} rotating values do not fit a head of ${headDim}.`);
  }
  const base = read.optional('rope.freq_base', DEFAULT_ROPE_BASE);
  if (!(base > 1)) throw new ModelError('corrupt', `A rope base of ${base} is not possible.`);
  const frequencies = Float64Array.from({ length: dims / 2 }, (_, i) => base ** ((-2 * i) / dims));
  if (factors) {
    if (factors.length !== frequencies.length) {
      throw new ModelError(
        'corrupt',
        `There are ${factors.length} rope factors for ${frequencies.length} frequencies.`,
      );
    }
    for (const [i, factor] of factors.entries()) {
      if (!(factor > 0)) throw new ModelError('corrupt', `A rope factor of ${factor} is not possible.`);
      frequencies[i] = frequencies[i]! / factor;
    }
  }
  const layout = ropeLayout ?? ARCHITECTURES[architecture].layout;
  return { layout, dims, ...scaleRope(read, frequencies, base, dims, context) };
}

/** Applies the scaling that the metadata name, as llama.cpp does: none, linear or YaRN. */
function scaleRope(
  read: Readers,
  frequencies: Float64Array,
  base: number,
  dims: number,
  context: number,
): { frequencies: Float64Array; magnitude: number } {
  const type = read.text('rope.scaling.type') ?? 'linear';
  const factor = read.optional('rope.scaling.factor', read.optional('rope.scale_linear', 0)) || 1;
  if (!(factor > 0)) throw new ModelError('corrupt', `A rope scaling factor of ${factor} is not possible.`);
  const attention = read.optional('rope.scaling.attn_factor', 1) || 1;
  if (type === 'none') return { frequencies, magnitude: attention };
  if (type === 'linear')
    return { frequencies: frequencies.map((frequency) => frequency / factor), magnitude: attention };
  if (type !== 'yarn' || read.optional('rope.scaling.yarn_log_multiplier', 0) !== 0) {
    throw new ModelError('unsupported', `Rope scaling of the kind ${type.slice(0, 80)} is not supported.`);
  }
  const original = read.optional('rope.scaling.original_context_length', context) || context;
  /** Index of the pair that turns `turns` times over the original context. */
  const pairOf = (turns: number) => (dims * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const fast = Math.max(0, Math.floor(pairOf(read.optional('rope.scaling.yarn_beta_fast', 32))));
  const slow = Math.min(dims - 1, Math.ceil(pairOf(read.optional('rope.scaling.yarn_beta_slow', 1))));
  const extrapolation = read.optional('rope.scaling.yarn_ext_factor', 1);
  const mixed = frequencies.map((frequency, pair) => {
    const ramp = 1 - Math.min(1, Math.max(0, (pair - fast) / Math.max(0.001, slow - fast)));
    const mix = ramp * extrapolation;
    return (frequency / factor) * (1 - mix) + frequency * mix;
  });
  const growth = extrapolation === 0 || factor <= 1 ? 1 : 1 + 0.1 * Math.log(factor);
  return { frequencies: mixed, magnitude: attention * growth * read.optional('rope.scaling.yarn_attn_factor', 1) };
}

/** Typed reading of `<architecture>.<key>`. */
interface Readers {
  has(key: string): boolean;
  /** A number, or `fallback` where the key is missing. */
  optional(key: string, fallback: number): number;
  /** A whole number of at least 1 that must be there. */
  count(key: string): number;
  positive(key: string): number;
  flag(key: string): boolean | undefined;
  text(key: string): string | undefined;
  /** A count that may be given once or for every layer, where it must be the same. */
  uniform(key: string, layers: number): number;
}

/** Larger counts than any model has; keeps products exact. */
const MAX_COUNT = 1 << 24;

function readers(metadata: Metadata, architecture: Architecture): Readers {
  const value = (key: string) => metadata.get(`${architecture}.${key}`);
  const impossible = (key: string, found: unknown) => {
    const shown = Array.isArray(found) ? 'a list' : String(found).slice(0, 80);
    return new ModelError('corrupt', `${architecture}.${key} is ${shown}, which is not possible.`);
  };
  const checkCount = (key: string, found: unknown): number => {
    if (found === undefined) {
      throw new ModelError(
        'corrupt',
        `The file lacks ${architecture}.${key}: it is incomplete or not a language model.`,
      );
    }
    if (typeof found !== 'number' || !Number.isInteger(found) || found < 1 || found > MAX_COUNT)
      throw impossible(key, found);
    return found;
  };
  const read: Readers = {
    has: (key) => value(key) !== undefined,
    optional(key, fallback) {
      const found = value(key) ?? fallback;
      if (typeof found !== 'number' || !Number.isFinite(found)) throw impossible(key, found);
      return found;
    },
    count: (key) => checkCount(key, value(key)),
    positive(key) {
      const found = value(key);
      if (typeof found !== 'number' || !(found > 0 && Number.isFinite(found))) throw impossible(key, found);
      return found;
    },
    flag(key) {
      const found = value(key);
      if (found !== undefined && typeof found !== 'boolean') throw impossible(key, found);
      return found;
    },
    text(key) {
      const found = value(key);
      if (found !== undefined && typeof found !== 'string') throw impossible(key, found);
      return found;
    },
    uniform(key, layers) {
      const found = value(key);
      if (!Array.isArray(found)) return checkCount(key, found);
      const first = checkCount(key, found[0]);
      if (found.length !== layers || found.some((each) => each !== first)) {
        throw new ModelError(
          'unsupported',
          `${architecture}.${key} differs from layer to layer, which is not supported.`,
        );
      }
      return first;
    },
  };
  return read;
}
