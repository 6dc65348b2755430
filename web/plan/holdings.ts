/** What a plan makes each device hold: parts of weight matrices and KV of heads, and how many bytes that is. */
import type { MatrixRole } from '../model/types.ts';
import { kvHeadsOf } from './inspect.ts';
import { nodeOfDevice, nodesOf } from './nodes.ts';
import { count, each, scale, subtract } from './ranges.ts';
import { type ModelShape, matrixSize } from './shape.ts';
import type { Plan, Range } from './types.ts';

/** A rectangle of a weight matrix; `layer` is 0 for embedding and head. */
export interface Part {
  role: MatrixRole;
  layer: number;
  rows: Range;
  cols: Range;
}

/** The KV cache of one head in one layer. */
export interface KvPart {
  layer: number;
  kvHead: number;
}

/** Who looks tokens up in the embedding. `tied`: the same bytes are the output head, and count once there. */
export interface Embedding {
  device: number;
  tied: boolean;
}

/** What sizes in bytes depend on. */
export interface Sizes {
  /** Bytes of a whole matrix, in the file or in a device's own layout, as the caller wants to count. */
  matrixBytes(role: MatrixRole, layer: number): number;
  /** Positions for which KV is held or copied. */
  positions: number;
  embedding?: Embedding;
}

/** What one device holds: the same cuts of every layer of its stage, and matrices outside the layers. */
export interface Holding {
  layers: Range;
  perLayer: Cut[];
  outside: Cut[];
  kvHeads: Range[];
}

/** Rows or columns of a matrix; the other side is whole. */
interface Cut {
  role: MatrixRole;
  axis: 'rows' | 'cols';
  ranges: Range[];
}

const NOTHING: Holding = { layers: [0, 0], perLayer: [], outside: [], kvHeads: [] };

/** What `device` holds under a plan; nothing for a device that the plan does not use (or no plan yet). */
export function holdingOf(plan: Plan | undefined, device: number, shape: ModelShape, embedding?: Embedding): Holding {
  const outside: Cut[] = [];
  if (plan && embedding?.device === device)
    outside.push({ role: 'embedding', axis: 'rows', ranges: [[0, shape.vocab]] });
  const node = plan && nodeOfDevice(plan, device);
  if (!node) return { ...NOTHING, outside };

  const { qHeads, ffn, vocab } = node.member;
  const kvHeads = kvHeadsOf(qHeads, shape);
  const queries = scale(qHeads, shape.headDim);
  const keys = scale(kvHeads, shape.headDim);
  const headIsEmbedding = embedding?.tied && embedding.device === device;
  if (!headIsEmbedding) outside.push({ role: 'head', axis: 'rows', ranges: vocab });
  const perLayer: Cut[] = [
    { role: 'q', axis: 'rows', ranges: queries },
    { role: 'k', axis: 'rows', ranges: keys },
    { role: 'v', axis: 'rows', ranges: keys },
    { role: 'o', axis: 'cols', ranges: queries },
    { role: 'gate', axis: 'rows', ranges: ffn },
    { role: 'up', axis: 'rows', ranges: ffn },
    { role: 'down', axis: 'cols', ranges: ffn },
  ];
  return { layers: plan.stages[node.stage].layers, perLayer, outside, kvHeads };
}

/** Parts of matrices that belong to `wanted` and not to `held`. */
export function partsBeyond(held: Holding, wanted: Holding, shape: ModelShape): Part[] {
  const parts: Part[] = [];
  const add = (layer: number, cuts: Cut[], from: Cut[]) => {
    for (const { role, axis, ranges } of cuts) {
      const had = from.find((cut) => cut.role === role)?.ranges ?? [];
      const { rows, cols } = matrixSize(role, shape);
      for (const range of subtract(ranges, had)) {
        parts.push({
          role,
          layer,
          rows: axis === 'rows' ? range : [0, rows],
          cols: axis === 'cols' ? range : [0, cols],
        });
      }
    }
  };
  for (const layer of each([wanted.layers])) add(layer, wanted.perLayer, within(layer, held) ? held.perLayer : []);
  add(0, wanted.outside, held.outside);
  return parts;
}

/** KV that belongs to `wanted` and not to `held`. */
export function kvBeyond(held: Holding, wanted: Holding): KvPart[] {
  const parts: KvPart[] = [];
  for (const layer of each([wanted.layers])) {
    const lacking = within(layer, held) ? subtract(wanted.kvHeads, held.kvHeads) : wanted.kvHeads;
    for (const kvHead of each(lacking)) parts.push({ layer, kvHead });
  }
  return parts;
}

/** Whether a device holds the KV of a head in a layer. */
export function holdsKv(holding: Holding, { layer, kvHead }: KvPart): boolean {
  return within(layer, holding) && holding.kvHeads.some(([from, to]) => kvHead >= from && kvHead < to);
}

function within(layer: number, { layers }: Holding): boolean {
  return layer >= layers[0] && layer < layers[1];
}

/** Bytes of KV heads over some positions: K and V, each an f32 scale and headDim 16-bit integers (`docs/arithmetic.md`). */
export function kvBytes(shape: ModelShape, heads: number, positions: number): number {
  return heads * positions * 2 * (4 + 2 * shape.headDim);
}

/** Bytes of a part: its share of the whole matrix. Cuts on 32 columns share a K-quant's superblock scales evenly. */
export function partBytes(
  { role, layer, rows, cols }: Part,
  shape: ModelShape,
  sizes: Pick<Sizes, 'matrixBytes'>,
): number {
  const whole = matrixSize(role, shape);
  return (sizes.matrixBytes(role, layer) * (rows[1] - rows[0]) * (cols[1] - cols[0])) / (whole.rows * whole.cols);
}

/** Bytes that one device holds, by purpose. Norms and biases, which every member holds, are not counted. */
export interface DeviceBytes {
  device: number;
  /** q, k, v, o */
  attention: number;
  /** gate, up, down */
  ffn: number;
  head: number;
  embedding: number;
  /** Sum of the four above. */
  weightBytes: number;
  kvBytes: number;
}

/** Bytes of every device of a plan, in node order; the embedding's device comes last when it is no member. */
export function planBytes(plan: Plan, shape: ModelShape, sizes: Sizes): DeviceBytes[] {
  const devices = new Set(nodesOf(plan).map(({ member }) => member.device));
  if (sizes.embedding) devices.add(sizes.embedding.device);
  return [...devices].map((device) =>
    holdingBytes(device, holdingOf(plan, device, shape, sizes.embedding), shape, sizes),
  );
}

function holdingBytes(device: number, holding: Holding, shape: ModelShape, sizes: Sizes): DeviceBytes {
  const bytes: DeviceBytes = { device, attention: 0, ffn: 0, head: 0, embedding: 0, weightBytes: 0, kvBytes: 0 };
  for (const part of partsBeyond(NOTHING, holding, shape)) {
    const size = partBytes(part, shape, sizes);
    bytes[PURPOSE[part.role]] += size;
    bytes.weightBytes += size;
  }
  const layers = holding.layers[1] - holding.layers[0];
  bytes.kvBytes = kvBytes(shape, layers * count(holding.kvHeads), sizes.positions);
  return bytes;
}

const PURPOSE: Record<MatrixRole, 'attention' | 'ffn' | 'head' | 'embedding'> = {
  q: 'attention',
  k: 'attention',
  v: 'attention',
  o: 'attention',
  gate: 'ffn',
  up: 'ffn',
  down: 'ffn',
  head: 'head',
  embedding: 'embedding',
};
