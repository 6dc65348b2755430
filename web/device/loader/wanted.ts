/** Which rectangles of which tensors a share is made of. */
import type { Catalogue, MatrixRole, TensorInfo, VectorRole } from '../../model/types.ts';
import { kvHeadsOf } from '../../plan/inspect.ts';
import { each, normalize, scale } from '../../plan/ranges.ts';
import type { Range } from '../../plan/types.ts';
import type { LayerMatrixRole, LayerVectorRole, Share } from './types.ts';

/** Ranges of a matrix along one axis, whole along the other. */
export interface WantedMatrix {
  role: MatrixRole;
  /** Global; 0 outside the layers. */
  layer: number;
  tensor: TensorInfo;
  axis: 'rows' | 'cols';
  /** Ascending and disjoint. Two that touch are kept apart: no tile may reach over their border. */
  ranges: Range[];
}

export interface WantedVector {
  role: VectorRole;
  /** Global; 0 for the output norm. */
  layer: number;
  tensor: TensorInfo;
}

const LAYER_VECTORS: readonly LayerVectorRole[] = [
  'attentionNorm',
  'ffnNorm',
  'qBias',
  'kBias',
  'vBias',
  'oBias',
  'qNorm',
  'kNorm',
];

/** All matrices of a share. A tied head is wanted once, as part of the embedding where that is wanted too. */
export function wantedMatrices(catalogue: Catalogue, share: Share): WantedMatrix[] {
  const { hyper } = catalogue;
  const queries = normalize(scale(share.qHeads, hyper.headDim));
  const keys = normalize(scale(kvHeadsOf(share.qHeads, hyper), hyper.headDim));
  const ffn = normalize(share.ffn);
  const cuts: [LayerMatrixRole, 'rows' | 'cols', Range[]][] = [
    ['q', 'rows', queries],
    ['k', 'rows', keys],
    ['v', 'rows', keys],
    ['o', 'cols', queries],
    ['gate', 'rows', ffn],
    ['up', 'rows', ffn],
    ['down', 'cols', ffn],
  ];
  const wanted: WantedMatrix[] = [];
  for (const layer of each([share.layers])) {
    for (const [role, axis, ranges] of cuts) {
      wanted.push({ role, layer, tensor: catalogue.matrix(role, layer), axis, ranges });
    }
  }
  const vocab = share.head ? normalize(share.vocab) : [];
  if (share.embedding) {
    const whole: Range = [0, hyper.vocab];
    const ranges = hyper.tied ? splitAt(whole, vocab.flat()) : [whole];
    wanted.push({ role: 'embedding', layer: 0, tensor: catalogue.matrix('embedding', 0), axis: 'rows', ranges });
  }
  if (share.head && !(hyper.tied && share.embedding)) {
    wanted.push({ role: 'head', layer: 0, tensor: catalogue.matrix('head', 0), axis: 'rows', ranges: vocab });
  }
  return wanted;
}

/** All vectors of a share, whole. */
export function wantedVectors(catalogue: Catalogue, share: Share): WantedVector[] {
  const wanted: WantedVector[] = [];
  const add = (role: VectorRole, layer: number) => {
    const tensor = catalogue.vector(role, layer);
    if (tensor) wanted.push({ role, layer, tensor });
  };
  for (const layer of each([share.layers])) for (const role of LAYER_VECTORS) add(role, layer);
  if (share.head) add('outputNorm', 0);
  return wanted;
}

/** A range in pieces, cut at some of its numbers. */
function splitAt([from, to]: Range, cuts: readonly number[]): Range[] {
  const borders = [from, ...cuts.filter((cut) => cut > from && cut < to), to];
  return borders.slice(1).map((end, i): Range => [borders[i]!, end]);
}
