/** A GGUF model as distributed-llama's `.m` and `.t`. */
import { catalogue } from '../../web/model/catalogue.ts';
import { type ModelHeader, type WeightType, writeModelHeader } from '../../web/model/distributed-llama/header.ts';
import { layoutBytes, tensorLayout } from '../../web/model/distributed-llama/layout.ts';
import { findRopeScaling } from '../../web/model/distributed-llama/rope.ts';
import { writeTokenizerFile } from '../../web/model/distributed-llama/tokenizer-file.ts';
import { readModelFile } from '../../web/model/gguf.ts';
import { type ByteSource, type Catalogue, ModelError, type ModelFile } from '../../web/model/types.ts';
import { convertTensor, type Rounding } from './tensors.ts';
import { toTokenizerFile } from './vocabulary.ts';

/** Files that are made, as streams, and what a person should know of them. */
export interface DistributedLlamaFiles {
  tokenizer: Uint8Array;
  /** Size of the `.m` file. */
  modelBytes: number;
  /** Its bytes in order. */
  model(): AsyncGenerator<Uint8Array, void, void>;
  header: ModelHeader;
  /** Grows while `model()` is read. */
  rounding: Rounding;
  notes: string[];
}

/**
 * Plans the conversion; nothing but headers has been read when it resolves. Rejects with ModelError `unsupported` for what
 * distributed-llama cannot compute, by name, and otherwise as reading the GGUF file does.
 */
export async function toDistributedLlama(source: ByteSource, weights: WeightType): Promise<DistributedLlamaFiles> {
  const file = await readModelFile(source);
  const parts = await catalogue(file);
  const header = headerOf(file, parts, weights);
  const vocabulary = toTokenizerFile(file);
  const start = writeModelHeader(header);
  const rounding = { difference: 0, total: 0 };
  return {
    ...{ header, rounding },
    notes: [...(parts.notes ?? []), ...vocabulary.notes],
    tokenizer: writeTokenizerFile(vocabulary.file),
    modelBytes: start.length + layoutBytes(header),
    async *model() {
      yield start;
      for (const { name, type } of tensorLayout(header)) {
        const ofVocabulary = name === 'token_embd.weight' || name === 'output.weight';
        const tensor =
          name === 'output.weight' && parts.hyper.tied ? parts.matrix('embedding', 0) : file.tensors.get(name)!;
        const order = ofVocabulary ? vocabulary.order : undefined;
        yield* convertTensor({ source, tensor, to: type, order, rounding });
      }
    },
  };
}

/** Relative; GGUF's numbers are f32. */
const TOLERANCE = 1e-6;

function headerOf(file: ModelFile, parts: Catalogue, weights: WeightType): ModelHeader {
  const { hyper } = parts;
  const { architecture, rope } = hyper;
  const refuse = (what: string) => new ModelError('unsupported', `distributed-llama cannot run this model: ${what}.`);
  if (architecture !== 'llama' && architecture !== 'qwen3') throw refuse(`it has no architecture ${architecture}`);
  if (hyper.qkvBias || parts.vector('oBias', 0)) throw refuse('it has no biases');
  const normEpsilonExponent = [5, 6].find((power) => Math.abs(hyper.normEpsilon * 10 ** power - 1) < TOLERANCE);
  if (normEpsilonExponent === undefined) throw refuse(`it has no norm epsilon of ${hyper.normEpsilon}`);
  if (rope.dims !== hyper.headDim || rope.magnitude !== 1)
    throw refuse('it cannot rotate a part of a head, or scale it');
  const theta = file.metadata.get(`${architecture}.rope.freq_base`) ?? 10_000;
  if (typeof theta !== 'number' || !Number.isInteger(theta))
    throw refuse(`its rope base is a whole number, not ${theta}`);
  const factors = rope.frequencies.map((frequency, i) => theta ** ((-2 * i) / rope.dims) / frequency);
  const scaled = factors.some((factor) => Math.abs(factor - 1) > TOLERANCE);
  const ropeScaling = scaled ? findRopeScaling(theta, hyper.headDim, factors) : undefined;
  if (scaled && (!ropeScaling || architecture === 'qwen3'))
    throw refuse('it cannot scale rope frequencies in this way');
  return {
    ...{ architecture, weights, normEpsilonExponent, ropeTheta: theta },
    dim: hyper.dim,
    ffn: hyper.ffn,
    layers: hyper.layers,
    heads: hyper.heads,
    kvHeads: hyper.kvHeads,
    headDim: hyper.headDim,
    vocab: hyper.vocab,
    context: hyper.context,
    ropeLayout: rope.layout,
    ...(ropeScaling && { ropeScaling }),
  };
}
