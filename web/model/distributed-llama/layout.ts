/** The order of tensors in a `.m` file. They follow each other without gaps, and without a table that names them. */
import { BLOCKS } from '../quant.ts';
import { ModelError, type TensorInfo } from '../types.ts';
import type { ModelHeader, WeightType } from './header.ts';

/** A tensor by its GGUF name, before its place is known. */
export interface LayoutTensor extends Pick<TensorInfo, 'name' | 'rows' | 'cols'> {
  type: WeightType;
}

/** All tensors in the file's order, rows × columns. Throws ModelError `unsupported` where rows are not whole blocks. */
export function tensorLayout(header: ModelHeader): LayoutTensor[] {
  const { dim, vocab, weights } = header;
  const tensors: LayoutTensor[] = [{ name: 'token_embd.weight', type: 'F32', rows: vocab, cols: dim }];
  for (let layer = 0; layer < header.layers; layer++) {
    tensors.push(...layerLayout(header).map((tensor) => ({ ...tensor, name: `blk.${layer}.${tensor.name}` })));
  }
  tensors.push({ name: 'output_norm.weight', type: 'F32', rows: 1, cols: dim });
  tensors.push({ name: 'output.weight', type: weights, rows: vocab, cols: dim });
  return tensors;
}

/** Bytes of all tensors together, found without making a list of them. */
export function layoutBytes(header: ModelHeader): number {
  const sum = (tensors: readonly LayoutTensor[]) => tensors.reduce((bytes, tensor) => bytes + bytesOf(tensor), 0);
  return sum(tensorLayout({ ...header, layers: 0 })) + header.layers * sum(layerLayout(header));
}

export function bytesOf({ name, type, rows, cols }: LayoutTensor): number {
  const block = BLOCKS[type];
  if (cols % block.values !== 0) {
    throw new ModelError('unsupported', `${name} has rows of ${cols} values, which are not whole blocks of ${type}.`);
  }
  return (cols / block.values) * block.bytes * rows;
}

function layerLayout(header: ModelHeader): LayoutTensor[] {
  const { dim, ffn, headDim, weights } = header;
  const queries = header.heads * headDim;
  const keys = header.kvHeads * headDim;
  const matrix = (name: string, rows: number, cols: number) => ({ name: `${name}.weight`, type: weights, rows, cols });
  const norm = (name: string, cols: number) => ({ name: `${name}.weight`, type: 'F32' as const, rows: 1, cols });
  return [
    matrix('attn_q', queries, dim),
    matrix('attn_k', keys, dim),
    matrix('attn_v', keys, dim),
    matrix('attn_output', dim, queries),
    matrix('ffn_gate', ffn, dim),
    matrix('ffn_down', dim, ffn),
    matrix('ffn_up', ffn, dim),
    ...(header.architecture === 'qwen3' ? [norm('attn_q_norm', headDim), norm('attn_k_norm', headDim)] : []),
    norm('attn_norm', dim),
    norm('ffn_norm', dim),
  ];
}
