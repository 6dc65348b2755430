import type { ModelShape } from '../../web/plan/shape.ts';

export const SMOLLM2: ModelShape = {
  layers: 30,
  dim: 576,
  heads: 9,
  kvHeads: 3,
  headDim: 64,
  ffn: 1536,
  vocab: 49152,
};

/** Llama-3.2-3B */
export const LLAMA_3B: ModelShape = {
  layers: 28,
  dim: 3072,
  heads: 24,
  kvHeads: 8,
  headDim: 128,
  ffn: 8192,
  vocab: 128256,
};
