/**
 * The header of distributed-llama's `.m` files: (key, value) pairs of int32, little-endian.
 * Source of the format: `loadLlmHeader` of b4rtaz/distributed-llama. Nothing that a header claims is believed before it is
 * bounded: counts here, sizes against the file in `model-file.ts`.
 */
import { type ByteSource, ModelError, type TensorType } from '../types.ts';

export const MODEL_MAGIC = 0x0a00abcd;
/** First bytes of formats from before there were keys. */
const OLD_MAGICS: readonly number[] = [0xabcd00, 0xabcd01];

/** Numbers of the keys, as the original's converters name them. */
const KEYS = {
  version: 0,
  architecture: 1,
  dim: 2,
  ffn: 3,
  layers: 4,
  heads: 5,
  kvHeads: 6,
  experts: 7,
  activeExperts: 8,
  vocab: 9,
  context: 10,
  activation: 11,
  ropeTheta: 12,
  weightType: 13,
  ropeFactor: 14,
  ropeLowFrequency: 15,
  ropeHighFrequency: 16,
  ropeOriginalContext: 17,
  ropeType: 18,
  headDim: 19,
  normEpsilon: 20,
  expertFfn: 21,
} as const;
type Key = keyof typeof KEYS;

/** Names of architectures by the header's number. */
const ARCHITECTURES: Readonly<Record<number, string>> = { 11259136: 'llama', 11259137: 'qwen3', 11259138: 'Qwen3-MoE' };
const WEIGHT_TYPES: readonly WeightType[] = ['F32', 'F16', 'Q4_0', 'Q8_0'];
const ROPE_TYPES = ['pairs', 'halves', 'llama3'] as const;
const SILU = 1;
/** Powers of ten that the original accepts: 1e-5 and 1e-6. */
const EPSILON_EXPONENTS: readonly number[] = [5, 6];
/** What the original assumes where the header does not say. */
const DEFAULTS = { ropeTheta: 10_000, normEpsilon: 5 };

/** Bytes: a header has at most a few dozen keys. */
const MAX_HEADER = 1 << 12;
/** Larger than any model; keeps products exact and lists bounded. */
const MAX_COUNT = 1 << 24;
const MAX_LAYERS = 1 << 10;

/** Types of the matrices; the embedding and the norms are always F32. `Q4_0` is its q40, `Q8_0` its q80. */
export type WeightType = Extract<TensorType, 'F32' | 'F16' | 'Q4_0' | 'Q8_0'>;

/** Llama 3.1's rescaling of rope frequencies by wavelength; whole numbers, since the header has no others. */
export interface RopeScaling {
  factor: number;
  lowFrequency: number;
  highFrequency: number;
  originalContext: number;
}

/** What a `.m` header says. */
export interface ModelHeader {
  architecture: 'llama' | 'qwen3';
  dim: number;
  ffn: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocab: number;
  /** Tokens. */
  context: number;
  weights: WeightType;
  normEpsilonExponent: number;
  ropeTheta: number;
  ropeLayout: 'pairs' | 'halves';
  ropeScaling?: RopeScaling;
}

/**
 * Reads the header of a `.m` file; resolves with its bytes, too. Rejects with ModelError `not-a-model`, `truncated`,
 * `corrupt` or `unsupported` (by the name of what is not supported), or as the source does.
 */
export async function readModelHeader(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<{ header: ModelHeader; bytes: Uint8Array }> {
  const { name } = source;
  if (source.size < 8) throw new ModelError('truncated', `${name} has only ${source.size} bytes: download it again.`);
  const start = viewOf(await source.read(0, 8, signal));
  const magic = start.getUint32(0, true);
  if (OLD_MAGICS.includes(magic)) {
    throw new ModelError(
      'unsupported',
      `${name} is in distributed-llama's old format, which its present versions do not read either. Convert the model again with its present converter.`,
    );
  }
  if (magic !== MODEL_MAGIC) throw new ModelError('not-a-model', `${name} is no model of distributed-llama.`);
  const size = start.getInt32(4, true);
  if (size < 8 || size > MAX_HEADER || size % 8 !== 0) {
    throw new ModelError('corrupt', `${name} claims a header of ${size} bytes, which is not possible.`);
  }
  if (size > source.size) {
    throw new ModelError('truncated', `${name} ends inside its header. The file is incomplete: download it again.`);
  }
  const bytes = await source.read(0, size, signal);
  return { header: interpret(readPairs(bytes, name), name), bytes };
}

function readPairs(bytes: Uint8Array, name: string): Partial<Record<Key, number>> {
  const names = new Map<number, Key>(Object.entries(KEYS).map(([key, number]) => [number, key as Key]));
  const view = viewOf(bytes);
  const values: Partial<Record<Key, number>> = {};
  for (let at = 8; at < bytes.length; at += 8) {
    const number = view.getInt32(at, true);
    const key = names.get(number);
    if (key === undefined) {
      throw new ModelError(
        'unsupported',
        `${name} has the header key ${number}, which is not known: it is damaged, or of a newer kind of model.`,
      );
    }
    values[key] = view.getInt32(at + 4, true);
  }
  return values;
}

function interpret(values: Partial<Record<Key, number>>, name: string): ModelHeader {
  const count = (key: Key, most = MAX_COUNT): number => {
    const value = values[key];
    if (value === undefined) throw new ModelError('corrupt', `The header of ${name} lacks ${key}.`);
    if (value < 1 || value > most) {
      throw new ModelError('corrupt', `The header of ${name} says ${key} = ${value}, which is not possible.`);
    }
    return value;
  };
  const architecture = architectureOf(values, name);
  const activation = values.activation ?? SILU;
  if (activation !== SILU) {
    throw new ModelError('unsupported', `${name} has the activation ${activation}; only SiLU (1) is supported.`);
  }
  const weightType = values.weightType;
  const weights = weightType === undefined ? undefined : WEIGHT_TYPES[weightType];
  if (!weights) {
    throw new ModelError(
      'unsupported',
      `${name} has weights of the type ${weightType ?? 'that is not named'}. Supported are f32, f16, q40 and q80.`,
    );
  }
  const normEpsilonExponent = values.normEpsilon ?? DEFAULTS.normEpsilon;
  if (!EPSILON_EXPONENTS.includes(normEpsilonExponent)) {
    throw new ModelError(
      'unsupported',
      `${name} has a norm epsilon of 1e-${normEpsilonExponent}; only 1e-5, 1e-6 are.`,
    );
  }
  const heads = count('heads');
  const dim = count('dim');
  const headDim = values.headDim === undefined ? dim / heads : count('headDim');
  if (!Number.isInteger(headDim)) {
    throw new ModelError('corrupt', `In ${name}, ${heads} heads do not divide the width ${dim}.`);
  }
  return {
    ...{ architecture, dim, heads, headDim, weights, normEpsilonExponent },
    ffn: count('ffn'),
    layers: count('layers', MAX_LAYERS),
    kvHeads: count('kvHeads'),
    vocab: count('vocab'),
    context: count('context', 2 ** 31),
    ropeTheta: values.ropeTheta === undefined ? DEFAULTS.ropeTheta : count('ropeTheta', 2 ** 31),
    ...ropeOf(values, architecture, name, count),
  };
}

function architectureOf(values: Partial<Record<Key, number>>, name: string): ModelHeader['architecture'] {
  const number = values.architecture;
  if (number === undefined) throw new ModelError('corrupt', `The header of ${name} names no architecture.`);
  const architecture = ARCHITECTURES[number] ?? `number ${number}`;
  if ((values.experts ?? 0) > 0 || architecture === 'Qwen3-MoE') {
    throw new ModelError('unsupported', `${name} is a mixture of experts (${architecture}), which is not supported.`);
  }
  if (architecture === 'llama' || architecture === 'qwen3') return architecture;
  throw new ModelError(
    'unsupported',
    `${name} has the architecture ${architecture}, which is not supported. Supported are llama and qwen3.`,
  );
}

function ropeOf(
  values: Partial<Record<Key, number>>,
  architecture: ModelHeader['architecture'],
  name: string,
  count: (key: Key) => number,
): Pick<ModelHeader, 'ropeLayout' | 'ropeScaling'> {
  // Whatever the header says: the original forces it.
  if (architecture === 'qwen3') return { ropeLayout: 'halves' };
  const type = ROPE_TYPES[values.ropeType ?? 0];
  if (!type) throw new ModelError('unsupported', `${name} has the rope type ${values.ropeType}, which is not known.`);
  if (type !== 'llama3') return { ropeLayout: type };
  const factor = values.ropeFactor ?? 1;
  if (factor === 1) return { ropeLayout: 'pairs' };
  const ropeScaling = {
    factor: count('ropeFactor'),
    lowFrequency: count('ropeLowFrequency'),
    highFrequency: count('ropeHighFrequency'),
    originalContext: count('ropeOriginalContext'),
  };
  if (ropeScaling.highFrequency <= ropeScaling.lowFrequency) {
    throw new ModelError('corrupt', `In ${name}, the rope scaling's high frequency is not above its low one.`);
  }
  return { ropeLayout: 'pairs', ropeScaling };
}

/** The bytes of a header that says this, in the order of the original's converter. */
export function writeModelHeader(header: ModelHeader): Uint8Array {
  const number = Object.keys(ARCHITECTURES).find((key) => ARCHITECTURES[Number(key)] === header.architecture);
  const { ropeScaling } = header;
  const pairs: [Key, number][] = [
    ['version', 0],
    ['architecture', Number(number)],
    ['activation', SILU],
    ['dim', header.dim],
    ['ffn', header.ffn],
    ['layers', header.layers],
    ['heads', header.heads],
    ['kvHeads', header.kvHeads],
    ['weightType', WEIGHT_TYPES.indexOf(header.weights)],
    ['context', header.context],
    ['vocab', header.vocab],
    ['experts', 0],
    ['activeExperts', 0],
    ['ropeTheta', header.ropeTheta],
    ...(ropeScaling
      ? ([
          ['ropeFactor', ropeScaling.factor],
          ['ropeLowFrequency', ropeScaling.lowFrequency],
          ['ropeHighFrequency', ropeScaling.highFrequency],
          ['ropeOriginalContext', ropeScaling.originalContext],
        ] satisfies [Key, number][])
      : []),
    ['ropeType', ROPE_TYPES.indexOf(ropeScaling ? 'llama3' : header.ropeLayout)],
    ['headDim', header.headDim],
    ['normEpsilon', header.normEpsilonExponent],
  ];
  const numbers = [MODEL_MAGIC, 8 + pairs.length * 8, ...pairs.flatMap(([key, value]) => [KEYS[key], value])];
  const bytes = new Uint8Array(numbers.length * 4);
  const view = viewOf(bytes);
  for (const [i, value] of numbers.entries()) view.setInt32(i * 4, value, true);
  return bytes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
