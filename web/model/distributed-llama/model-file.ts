/**
 * A model of distributed-llama, `.m` and `.t` together, as a `ModelFile`: another header over the same kinds of tensors
 * (its q40 is GGML's Q4_0, its q80 Q8_0; rows of q and k of its llama files lie as in GGUF files), so that everything
 * behind the catalogue is the same as for GGUF.
 */
import { contentDigest } from '../digest.ts';
import { sha256Hex } from '../hash.ts';
import { toText } from '../tokenizer/text.ts';
import { type ByteSource, type MetadataValue, ModelError, type ModelFile, type TensorInfo } from '../types.ts';
import { templateOf } from './chat.ts';
import { type ModelHeader, readModelHeader } from './header.ts';
import { bytesOf, layoutBytes, tensorLayout } from './layout.ts';
import { ropeFactors } from './rope.ts';
import { readTokenizerFile, type TokenizerFile } from './tokenizer-file.ts';

/**
 * Reads both headers, and the tokenizer whole; nothing of the weights but the digest's samples. Rejects with ModelError
 * `not-a-model`, `truncated`, `corrupt`, `unsupported`, `tokenizer`, or as the sources do.
 */
export async function readDistributedLlama(
  model: ByteSource,
  tokenizer: ByteSource,
  signal?: AbortSignal,
): Promise<ModelFile> {
  const { header, bytes } = await readModelHeader(model, signal);
  const tensors = placeTensors(header, model, bytes.length);
  const file = await readTokenizerFile(tokenizer, signal);
  if (file.tokens.length > header.vocab) {
    throw new ModelError(
      'tokenizer',
      `${tokenizer.name} has ${file.tokens.length} tokens, but ${model.name} only ${header.vocab}: they do not belong together.`,
    );
  }
  const metadata = new Map([...modelMetadata(header), ...tokenizerMetadata(file, header.vocab)]);
  const { template, note } = templateOf(file, metadata);
  if (template !== undefined) metadata.set('tokenizer.chat_template', template);
  const { ropeScaling, ropeLayout, ropeTheta, headDim } = header;
  return {
    ...{ source: model, metadata, tensors },
    digest: await contentDigest(model, [sha256Hex(bytes)], signal),
    rope: {
      layout: ropeLayout,
      ...(ropeScaling && { factors: ropeFactors(ropeTheta, headDim, ropeScaling) }),
    },
    vocabulary: { file, size: header.vocab },
    notes: [...(note ? [note] : []), ...regularNotes(file, tokenizer.name)],
  };
}

function placeTensors(header: ModelHeader, source: ByteSource, start: number): Map<string, TensorInfo> {
  const need = start + layoutBytes(header);
  if (need !== source.size) {
    const short = need > source.size;
    throw new ModelError(
      short ? 'truncated' : 'corrupt',
      `${source.name} has ${source.size} bytes, but its header makes it ${need}. The file is ${short ? 'incomplete' : 'damaged'}: download it again.`,
    );
  }
  let offset = start;
  return new Map(
    tensorLayout(header).map((tensor) => {
      const placed = { ...tensor, offset, bytes: bytesOf(tensor) };
      offset += placed.bytes;
      return [tensor.name, placed];
    }),
  );
}

/** The header's counts under GGUF's names, without the architecture before them. */
export function countsOf(header: ModelHeader): Record<string, number> {
  return {
    block_count: header.layers,
    context_length: header.context,
    embedding_length: header.dim,
    feed_forward_length: header.ffn,
    'attention.head_count': header.heads,
    'attention.head_count_kv': header.kvHeads,
    'attention.key_length': header.headDim,
  };
}

/** The header in GGUF's words. */
function modelMetadata(header: ModelHeader): [string, MetadataValue][] {
  const { architecture } = header;
  const values: Record<string, number> = {
    ...countsOf(header),
    // The original computes with it as an f32.
    'attention.layer_norm_rms_epsilon': Math.fround(10 ** -header.normEpsilonExponent),
    'rope.freq_base': header.ropeTheta,
  };
  const named = Object.entries(values).map(([key, value]): [string, number] => [`${architecture}.${key}`, value]);
  return [['general.architecture', architecture], ...named];
}

/** What chat templates are given, in GGUF's words; text is cut into tokens by the file itself. */
function tokenizerMetadata({ tokens, bos, eos }: TokenizerFile, vocab: number): [string, MetadataValue][] {
  const padding = Array.from({ length: vocab - tokens.length }, () => '');
  return [
    ['tokenizer.ggml.tokens', [...tokens.map(toText), ...padding]],
    ['tokenizer.ggml.bos_token_id', bos],
    ...(eos[0] === undefined ? [] : ([['tokenizer.ggml.eos_token_id', eos[0]]] satisfies [string, number][])),
  ];
}

/** Of a byte-level vocabulary, the bytes alone are so many. */
const BYTE_TOKENS = 256;

function regularNotes({ tokens, bos }: TokenizerFile, name: string): string[] {
  if (bos >= Math.min(BYTE_TOKENS, tokens.length / 2)) return [];
  return [
    `In ${name} only ${bos} of ${tokens.length} tokens lie below the beginning of text (BOS), and distributed-llama takes no others for text: answers will be poor, as they are there. Convert the tokenizer so that its special tokens come last.`,
  ];
}
