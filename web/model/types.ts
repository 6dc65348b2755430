import type { TokenizerFile } from './distributed-llama/tokenizer-file.ts';

/** Bytes that can be read by ranges: a file on the server, a URL, a picked file, several files in a row. */
export interface ByteSource {
  /** For people: a file name or an address. */
  readonly name: string;
  readonly size: number;
  /**
   * Reads [from, to). Resolves with exactly `to - from` bytes or rejects with a ModelError
   * (codes `network`, `truncated`, `not-a-model`). Retries passing faults itself.
   */
  read(from: number, to: number, signal?: AbortSignal): Promise<Uint8Array>;
  /**
   * Reads `count` runs of `length` bytes, the first at `offset`, each starting `stride` bytes after the one before:
   * columns of a matrix, cut where the file lies. Resolves with the runs put together, `length · count` bytes.
   * Absent where only ranges can be read; then the caller reads whole rows. Rejects as `read` does.
   */
  readStrided?(
    offset: number,
    stride: number,
    length: number,
    count: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array>;
  /**
   * Reads runs of several places, at most `MAX_RUNS`, in one request: a move needs a little of every layer. Puts all of them
   * together into `into`, which has just as many bytes. Absent where each place costs a request of its own. Rejects as
   * `read` does.
   */
  readMany?(places: readonly Runs[], into: Uint8Array, signal?: AbortSignal): Promise<void>;
}

/** Runs of bytes at even distances, as `ByteSource.readStrided` has them. */
export interface Runs {
  offset: number;
  stride: number;
  length: number;
  count: number;
}

/** Bytes of some runs together. */
export const bytesOfRuns = (places: readonly Runs[]): number =>
  places.reduce((sum, { length, count }) => sum + length * count, 0);

/** Most `Runs` that `ByteSource.readMany` takes. */
export const MAX_RUNS = 128;

/** GGML tensor types that the engine computes with. */
export type TensorType = 'F32' | 'F16' | 'BF16' | 'Q4_0' | 'Q4_1' | 'Q5_0' | 'Q5_1' | 'Q8_0' | 'Q4_K' | 'Q5_K' | 'Q6_K';

/** A tensor as it lies in the file: `rows` rows (outputs) of `cols` values (inputs), row-major. */
export interface TensorInfo {
  name: string;
  type: TensorType;
  rows: number;
  cols: number;
  /** Absolute byte offset in the model's ByteSource. */
  offset: number;
  bytes: number;
}

export type Metadata = ReadonlyMap<string, MetadataValue>;
export type MetadataValue = string | number | bigint | boolean | MetadataValue[];

/** A parsed header: nothing of the tensors' data has been read. */
export interface ModelFile {
  source: ByteSource;
  metadata: Metadata;
  /** By GGUF name (`blk.0.attn_q.weight`). */
  tensors: ReadonlyMap<string, TensorInfo>;
  /** Stable name of the content: made of the header, the size and samples of the data; hex. */
  digest: string;
  /** What distributed-llama's header says of rope, for which GGUF has no metadata. */
  rope?: { layout: 'pairs' | 'halves'; factors?: Float32Array };
  /** distributed-llama's tokenizer, in place of metadata; `size`: rows of the embedding, not fewer than its tokens. */
  vocabulary?: { file: TokenizerFile; size: number };
  /** For people: what of the files is not as it should be, but can be lived with. */
  notes?: readonly string[];
}

export type Architecture = 'llama' | 'qwen2' | 'qwen3';

/** The numbers that define the computation. */
export interface HyperParameters {
  architecture: Architecture;
  layers: number;
  /** Width of the residual stream. */
  dim: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  ffn: number;
  vocab: number;
  /** Longest context that the model was made for, in tokens. */
  context: number;
  normEpsilon: number;
  rope: {
    /** `pairs`: (2i, 2i+1) rotate together; `halves`: (i, i + dims/2). */
    layout: 'pairs' | 'halves';
    /** Number of leading values of a head that rotate. */
    dims: number;
    /** Angle per position of each of the dims/2 pairs, frequency scaling already applied. */
    frequencies: Float64Array;
    /** Multiplies both sine and cosine (YaRN's attention factor; 1 otherwise). */
    magnitude: number;
  };
  /** The output head is the token embedding. */
  tied: boolean;
  qkvBias: boolean;
  /** RMS norm on every head of q and k before rope (qwen3). */
  qkNorm: boolean;
}

export type MatrixRole = 'q' | 'k' | 'v' | 'o' | 'gate' | 'up' | 'down' | 'embedding' | 'head';
export type VectorRole =
  | 'attentionNorm'
  | 'ffnNorm'
  | 'outputNorm'
  | 'qBias'
  | 'kBias'
  | 'vBias'
  | 'oBias'
  | 'qNorm'
  | 'kNorm';

/** Which tensor plays which part. For roles without a layer, `layer` is 0. A tied head gives the embedding's tensor. */
export interface Catalogue {
  hyper: HyperParameters;
  matrix(role: MatrixRole, layer: number): TensorInfo;
  /** Undefined where the architecture has no such vector. */
  vector(role: VectorRole, layer: number): TensorInfo | undefined;
  /** For people: what was limited, such as the context by a sliding window. */
  notes?: string[];
}

/**
 * A rectangular part of a weight matrix, rows × cols, row-major, in the form that both backends repack from.
 * - `q4`: w = scale·q + min, q in 0..15; 16 bytes per block of 32: byte j holds element j (low nibble) and j + 16 (high).
 * - `q8`: w = scale·q (+ min), q in -127..127 (or 0..31 with mins), one Int8 a value; block 32, or 16 for Q6_K.
 * - `f32`, `f16`, `bf16`: plain values (`f16` and `bf16` as their 16 bits), no scales.
 */
export type TileData = { rows: number; cols: number } & (
  | { kind: 'q4'; block: 32; quants: Uint8Array; scales: Float32Array; mins: Float32Array }
  | { kind: 'q8'; block: 16 | 32; quants: Int8Array; scales: Float32Array; mins?: Float32Array }
  | { kind: 'f32'; values: Float32Array }
  | { kind: 'f16' | 'bf16'; values: Uint16Array }
);

/**
 * Every failure that a person may see about a model. `code` is a short stable word, `message` says what to do.
 * Codes: `network`, `truncated`, `not-a-model`, `corrupt`, `unsupported`, `tokenizer`, `template`, `too-long`.
 */
export class ModelError extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'ModelError';
  }
}

/** Text to token ids and back, from a model's own vocabulary. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly bos: number | undefined;
  /** Ids that end a turn. */
  readonly endOfTurn: ReadonlySet<number>;
  /** Whether the model wants BOS before a text that does not start with it. */
  readonly addBos: boolean;
  /** `special`: control tokens written out in the text (`<|im_start|>`) become their ids. Adds no BOS. */
  encode(text: string, options: { special: boolean }): number[];
  /** Raw bytes of one token, for text that streams; control tokens (of a `.t` file: BOS and ends of text) give none. */
  bytes(id: number): Uint8Array;
  /** Whole ids to text; invalid UTF-8 becomes U+FFFD; control tokens are left out. */
  decode(ids: number[]): string;
  /** How a token is written, control tokens too (`<|im_end|>`). */
  piece(id: number): string;
}

export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** Renders messages to the prompt's text. Throws ModelError `template` with the template's own complaint. */
export type ChatTemplate = (messages: Message[], options: { generationPrompt: boolean }) => string;
