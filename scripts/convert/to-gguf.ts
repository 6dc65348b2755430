/** distributed-llama's `.m` and `.t` as a GGUF model. */
import { catalogue } from '../../web/model/catalogue.ts';
import { type ModelHeader, readModelHeader, type WeightType } from '../../web/model/distributed-llama/header.ts';
import { tensorLayout } from '../../web/model/distributed-llama/layout.ts';
import { countsOf, readDistributedLlama } from '../../web/model/distributed-llama/model-file.ts';
import { type ByteSource, ModelError, type ModelFile } from '../../web/model/types.ts';
import { type GgufEntry, type GgufTensor, ggufHeader, paddingOf, tensorBytes } from './gguf-header.ts';
import { toGgufVocabulary } from './gguf-vocabulary.ts';
import { convertTensor, sameValues } from './tensors.ts';

/** The file that is made, as a stream, and what a person should know of it. */
export interface GgufFile {
  bytes: number;
  /** Its bytes in order. */
  content(): AsyncGenerator<Uint8Array, void, void>;
  /** The head is the embedding, which is then written once, in the head's type. */
  tied: boolean;
  notes: string[];
}

/** llama.cpp's `general.file_type` of files that are mostly of one type. */
const FILE_TYPES: Readonly<Record<WeightType, number>> = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7 };
const QUANTIZATION_VERSION = 2;
const EMBEDDING = 'token_embd.weight';
const HEAD = 'output.weight';
const ROPE_FACTORS = 'rope_freqs.weight';

/**
 * Plans the conversion; embedding and head have been read once when it resolves, to see whether they are the same.
 * Rejects with ModelError as reading the two files does, or `unsupported` for what GGUF has no form for.
 * @param name `general.name`
 * @param pre the pre-tokenizer's name (`tokenizer.ggml.pre`); undefined: guessed
 */
export async function toGguf(
  model: ByteSource,
  tokenizer: ByteSource,
  { name, pre }: { name: string; pre?: string | undefined },
): Promise<GgufFile> {
  const file = await readDistributedLlama(model, tokenizer);
  await catalogue(file);
  const { header } = await readModelHeader(model);
  if (header.architecture === 'llama' && header.ropeLayout === 'halves') {
    throw new ModelError(
      'unsupported',
      `${model.name} rotates halves of heads, which a llama file in GGUF cannot say.`,
    );
  }
  const vocabulary = toGgufVocabulary(file.vocabulary!.file, header.vocab, pre);
  const tied = await sameValues(model, file.tensors.get(EMBEDDING)!, file.tensors.get(HEAD)!);
  const factors = file.rope?.factors;
  const tensors: GgufTensor[] = [
    ...(factors ? [{ name: ROPE_FACTORS, type: 'F32' as const, rows: 1, cols: factors.length }] : []),
    ...tensorLayout(header).flatMap((tensor) => {
      if (!tied) return [tensor];
      if (tensor.name === HEAD) return [];
      return [tensor.name === EMBEDDING ? { ...tensor, type: header.weights } : tensor];
    }),
  ];
  const start = ggufHeader([...modelEntries(header, name), ...vocabulary.entries], tensors);
  return {
    tied,
    notes: vocabulary.notes,
    bytes: tensors.reduce((sum, tensor) => sum + padded(tensorBytes(tensor)), start.length),
    async *content() {
      yield start;
      for (const tensor of tensors) {
        if (tensor.name === ROPE_FACTORS) yield new Uint8Array(factors!.slice().buffer);
        else yield* tensorContent(file, tensor.name === EMBEDDING && tied ? HEAD : tensor.name, tensor.type);
        const padding = paddingOf(tensorBytes(tensor));
        if (padding > 0) yield new Uint8Array(padding);
      }
    },
  };
}

const padded = (bytes: number): number => bytes + paddingOf(bytes);

function tensorContent(file: ModelFile, name: string, to: WeightType): AsyncGenerator<Uint8Array, void, void> {
  const tensor = file.tensors.get(name)!;
  return convertTensor({ source: file.source, tensor, to, rounding: { difference: 0, total: 0 } });
}

function modelEntries(header: ModelHeader, name: string): GgufEntry[] {
  const { architecture } = header;
  const counts: Record<string, number> = {
    ...countsOf(header),
    'attention.value_length': header.headDim,
    'rope.dimension_count': header.headDim,
    vocab_size: header.vocab,
  };
  return [
    { key: 'general.architecture', string: architecture },
    { key: 'general.name', string: name },
    { key: 'general.file_type', u32: FILE_TYPES[header.weights] },
    { key: 'general.quantization_version', u32: QUANTIZATION_VERSION },
    ...Object.entries(counts).map(([key, u32]) => ({ key: `${architecture}.${key}`, u32 })),
    { key: `${architecture}.attention.layer_norm_rms_epsilon`, f32: 10 ** -header.normEpsilonExponent },
    { key: `${architecture}.rope.freq_base`, f32: header.ropeTheta },
  ];
}
