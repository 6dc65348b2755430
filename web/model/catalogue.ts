/** Which tensor plays which part. Whatever is not supported is refused here, by name, before weights are read. */
import { architectureOf, hyperParameters } from './hyper.ts';
import { BLOCKS, dequantize } from './quant.ts';
import {
  type Catalogue,
  type HyperParameters,
  type MatrixRole,
  ModelError,
  type ModelFile,
  type TensorInfo,
  type VectorRole,
} from './types.ts';

const LAYER_MATRICES: Readonly<Partial<Record<MatrixRole, string>>> = {
  q: 'attn_q.weight',
  k: 'attn_k.weight',
  v: 'attn_v.weight',
  o: 'attn_output.weight',
  gate: 'ffn_gate.weight',
  up: 'ffn_up.weight',
  down: 'ffn_down.weight',
};

const LAYER_VECTORS: Readonly<Partial<Record<VectorRole, string>>> = {
  attentionNorm: 'attn_norm.weight',
  ffnNorm: 'ffn_norm.weight',
  qBias: 'attn_q.bias',
  kBias: 'attn_k.bias',
  vBias: 'attn_v.bias',
  oBias: 'attn_output.bias',
  qNorm: 'attn_q_norm.weight',
  kNorm: 'attn_k_norm.weight',
};

const EMBEDDING = 'token_embd.weight';
const HEAD = 'output.weight';
const OUTPUT_NORM = 'output_norm.weight';
const ROPE_FACTORS = 'rope_freqs.weight';

/**
 * The catalogue of a model. Reads no weights but the few rope factors, where the file has them.
 * Rejects with ModelError: `unsupported` by the name of what is not supported, `corrupt` where tensors are missing or do
 * not fit their shapes, or as the source does.
 */
export async function catalogue(file: ModelFile, signal?: AbortSignal): Promise<Catalogue> {
  architectureOf(file.metadata);
  const embedding = file.tensors.get(EMBEDDING);
  if (!embedding)
    throw new ModelError('corrupt', `The file has no tensor ${EMBEDDING}: it holds no whole language model.`);
  const factors = file.tensors.get(ROPE_FACTORS);
  const { hyper, notes } = hyperParameters(file.metadata, {
    vocab: embedding.rows,
    tied: !file.tensors.has(HEAD),
    qkvBias: file.tensors.has(layerName(0, 'attn_q.bias')),
    ropeLayout: file.rope?.layout,
    ropeFactors: factors ? await readVector(file, factors, signal) : file.rope?.factors,
  });
  checkVocabulary(file, hyper);
  const { matrices, vectors } = placeAll(file, hyper);
  refuseStrangers(file, [...matrices.values(), ...vectors.values()]);
  return {
    hyper,
    notes: [...(file.notes ?? []), ...notes],
    matrix: (role, layer) => {
      const tensor = matrices.get(`${role} ${layer}`);
      if (!tensor) throw new ModelError('corrupt', `There is no ${role} matrix in layer ${layer}.`);
      return tensor;
    },
    vector: (role, layer) => vectors.get(`${role} ${layer}`),
  };
}

/** Reads a whole vector (norm, bias, rope factors) to f32. */
export async function readVector(file: ModelFile, tensor: TensorInfo, signal?: AbortSignal): Promise<Float32Array> {
  checkVector(tensor, tensor.cols);
  const raw = await file.source.read(tensor.offset, tensor.offset + tensor.bytes, signal);
  return dequantize(tensor.type, raw, tensor.cols);
}

const layerName = (layer: number, name: string) => `blk.${layer}.${name}`;

/** Rows × columns of each matrix. */
function matrixShape(role: MatrixRole, hyper: HyperParameters): [rows: number, cols: number] {
  const { dim, ffn, vocab, headDim } = hyper;
  switch (role) {
    case 'q':
      return [hyper.heads * headDim, dim];
    case 'k':
    case 'v':
      return [hyper.kvHeads * headDim, dim];
    case 'o':
      return [dim, hyper.heads * headDim];
    case 'gate':
    case 'up':
      return [ffn, dim];
    case 'down':
      return [dim, ffn];
    case 'embedding':
    case 'head':
      return [vocab, dim];
  }
}

/** Length of each vector, or undefined where the architecture has none. */
function vectorLength(role: VectorRole, hyper: HyperParameters): number | undefined {
  switch (role) {
    case 'attentionNorm':
    case 'ffnNorm':
    case 'outputNorm':
      return hyper.dim;
    case 'qBias':
      return hyper.qkvBias ? hyper.heads * hyper.headDim : undefined;
    case 'kBias':
    case 'vBias':
      return hyper.qkvBias ? hyper.kvHeads * hyper.headDim : undefined;
    case 'oBias':
      return hyper.dim;
    case 'qNorm':
    case 'kNorm':
      return hyper.qkNorm ? hyper.headDim : undefined;
  }
}

/** Finds and checks every tensor; keys are `role layer`. */
function placeAll(file: ModelFile, hyper: HyperParameters) {
  const matrices = new Map<string, TensorInfo>();
  const vectors = new Map<string, TensorInfo>();
  const need = (name: string): TensorInfo => {
    const tensor = file.tensors.get(name);
    if (!tensor)
      throw new ModelError('corrupt', `The file lacks the tensor ${name}, which ${hyper.architecture} needs.`);
    return tensor;
  };
  const addMatrix = (role: MatrixRole, layer: number, name: string) => {
    const tensor = need(name);
    const [rows, cols] = matrixShape(role, hyper);
    if (tensor.rows !== rows || tensor.cols !== cols) {
      throw new ModelError(
        'corrupt',
        `Tensor ${name} is ${tensor.rows} × ${tensor.cols}, but the model's numbers make it ${rows} × ${cols}.`,
      );
    }
    matrices.set(`${role} ${layer}`, tensor);
  };
  const addVector = (role: VectorRole, layer: number, name: string) => {
    const length = vectorLength(role, hyper);
    if (length === undefined) return;
    // The only vector that a layer may lack.
    if (role === 'oBias' && !file.tensors.has(name)) return;
    const tensor = need(name);
    checkVector(tensor, length);
    vectors.set(`${role} ${layer}`, tensor);
  };
  addMatrix('embedding', 0, EMBEDDING);
  addMatrix('head', 0, hyper.tied ? EMBEDDING : HEAD);
  addVector('outputNorm', 0, OUTPUT_NORM);
  for (let layer = 0; layer < hyper.layers; layer++) {
    for (const [role, name] of Object.entries(LAYER_MATRICES))
      addMatrix(role as MatrixRole, layer, layerName(layer, name));
    for (const [role, name] of Object.entries(LAYER_VECTORS))
      addVector(role as VectorRole, layer, layerName(layer, name));
  }
  return { matrices, vectors };
}

function checkVector(tensor: TensorInfo, length: number): void {
  if (tensor.rows !== 1 || tensor.cols !== length) {
    throw new ModelError(
      'corrupt',
      `Tensor ${tensor.name} is ${tensor.rows} × ${tensor.cols}, but must have ${length} values.`,
    );
  }
  if (BLOCKS[tensor.type].values !== 1) {
    throw new ModelError(
      'unsupported',
      `Tensor ${tensor.name} is a vector of type ${tensor.type}; only F32, F16, BF16 are supported.`,
    );
  }
}

/** A tensor that plays no part would change the answer of a model that we do not know. */
function refuseStrangers(file: ModelFile, known: readonly TensorInfo[]): void {
  const names = new Set([ROPE_FACTORS, ...known.map((tensor) => tensor.name)]);
  for (const name of file.tensors.keys()) {
    if (!names.has(name)) {
      throw new ModelError(
        'unsupported',
        `The tensor ${name.slice(0, 80)} belongs to a kind of model that is not supported.`,
      );
    }
  }
}

function checkVocabulary(file: ModelFile, hyper: HyperParameters): void {
  const tokens = file.metadata.get('tokenizer.ggml.tokens');
  if (Array.isArray(tokens) && tokens.length !== hyper.vocab) {
    throw new ModelError(
      'corrupt',
      `The vocabulary has ${tokens.length} tokens, but the embedding ${hyper.vocab} rows.`,
    );
  }
}
