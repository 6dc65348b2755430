import type { HyperParameters, MatrixRole } from '../model/types.ts';

/** The numbers of a model that a plan depends on; `HyperParameters` fits. */
export type ModelShape = Pick<HyperParameters, 'layers' | 'dim' | 'heads' | 'kvHeads' | 'headDim' | 'ffn' | 'vocab'>;

/** A model's shape alone, of anything that has one. */
export function shapeOf({ layers, dim, heads, kvHeads, headDim, ffn, vocab }: ModelShape): ModelShape {
  return { layers, dim, heads, kvHeads, headDim, ffn, vocab };
}

/** Columns of a quantization block, the finest cut of any matrix's columns (`docs/arithmetic.md`). */
export const BLOCK = 32;

/** Query heads that share one KV head. */
export function groupSize(shape: ModelShape): number {
  return shape.heads / shape.kvHeads;
}

/**
 * How many neighbouring query heads are never cut apart: the fewest that fill whole blocks of the output projection's
 * columns. 1 for heads of 64 or 128, 2 for heads of 16 or 80, 4 for heads of 8.
 */
export function headUnit(shape: ModelShape): number {
  return BLOCK / gcd(shape.headDim, BLOCK);
}

/** Rows (outputs) and columns (inputs) of a whole weight matrix. */
export function matrixSize(role: MatrixRole, shape: ModelShape): { rows: number; cols: number } {
  const { dim, ffn, vocab } = shape;
  const queries = shape.heads * shape.headDim;
  const keys = shape.kvHeads * shape.headDim;
  switch (role) {
    case 'q':
      return { rows: queries, cols: dim };
    case 'k':
    case 'v':
      return { rows: keys, cols: dim };
    case 'o':
      return { rows: dim, cols: queries };
    case 'gate':
    case 'up':
      return { rows: ffn, cols: dim };
    case 'down':
      return { rows: dim, cols: ffn };
    case 'embedding':
    case 'head':
      return { rows: vocab, cols: dim };
  }
}

/** What makes a shape impossible to cut, in words; undefined when it can be cut. */
export function shapeFault(shape: ModelShape): string | undefined {
  for (const [name, value] of Object.entries({
    layers: shape.layers,
    dim: shape.dim,
    heads: shape.heads,
    'KV heads': shape.kvHeads,
    'head width': shape.headDim,
    'FFN width': shape.ffn,
    vocabulary: shape.vocab,
  })) {
    if (!Number.isInteger(value) || value < 1)
      return `The model's ${name} is ${value}; it must be a whole number above 0.`;
  }
  if (shape.heads % shape.kvHeads !== 0) {
    return `The model's ${shape.heads} query heads do not share its ${shape.kvHeads} KV heads evenly.`;
  }
  if (shape.ffn % BLOCK !== 0) return `The model's FFN width ${shape.ffn} is not a multiple of ${BLOCK}.`;
  return undefined;
}

export function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

export function lcm(a: number, b: number): number {
  return (a / gcd(a, b)) * b;
}
