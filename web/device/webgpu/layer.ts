/** One layer's share as recorded operations: pipelines, tables and bind groups, made once per share. */
import type { LayerShare } from '../backend.ts';
import { DeviceError } from '../backend.ts';
import type { LayerCache } from './cache.ts';
import { bufferWith, type CheckedDevice } from './gpu.ts';
import { BLOCK, GROUP } from './layout.ts';
import { headsTogether, type Pipelines, type Sizes, type Tuning } from './pipelines.ts';
import { gatedProduct, type Part, type ProductDispatch, product } from './product.ts';
import type { Recorder } from './recorder.ts';
import { type Scratch, stepSlot } from './scratch.ts';

/** What layers and the head are made with. */
export interface Workshop {
  checked: CheckedDevice;
  pipelines: Pipelines;
  scratch: Scratch;
  sizes: Sizes;
  tuning: Tuning;
}

/** Records an operation for `count` tokens. */
export type Command = (recorder: Recorder, count: number) => void;

export interface LayerCommands {
  /** `add`: the residual first takes the partial sums. */
  attention(recorder: Recorder, count: number, add: boolean): void;
  ffn(recorder: Recorder, count: number, add: boolean): void;
  bytes: number;
  destroy(): void;
}

/** Keeps what a share owns, to be destroyed with it. */
export function createOwner(device: GPUDevice) {
  const buffers: GPUBuffer[] = [];
  return {
    buffer(label: string, data: Uint32Array | Float32Array): GPUBuffer {
      const buffer = bufferWith(device, label, data);
      buffers.push(buffer);
      return buffer;
    },
    bytes: () => buffers.reduce((sum, buffer) => sum + buffer.size, 0),
    destroy: () => {
      for (const buffer of buffers) buffer.destroy();
    },
  };
}
export type Owner = ReturnType<typeof createOwner>;

/** RMS norm of the residual into the normed activations. */
export function normCommand(
  { pipelines, scratch }: Workshop,
  owner: Owner,
  weight: Float32Array,
  slot: 0 | 1,
): (recorder: Recorder, count: number, add: boolean) => void {
  const group = pipelines.group('norm', [
    stepSlot(scratch, slot),
    scratch.residual,
    scratch.partial,
    owner.buffer('norm', weight),
    scratch.normed,
  ]);
  const plain = pipelines.get('norm');
  const adding = pipelines.get('norm', { ADD: true });
  return (recorder, count, add) => recorder.dispatch(add ? adding : plain, group, count);
}

export interface ProductPlace {
  input: GPUBuffer;
  output: GPUBuffer;
  /** Values of the output a token. */
  stride: number;
  slot: 0 | 1;
}

/** y = W · x for any number of tokens. */
export function productCommand(shop: Workshop, owner: Owner, parts: Part[], place: ProductPlace): Command {
  const { dispatches, clear } = product(parts, place.stride, shop.tuning.bundle);
  const each = dispatches.map((dispatch) => {
    const group = productGroup(shop, owner, dispatch, place);
    const matvec = shop.pipelines.get('matvec', {}, dispatch.format);
    const matmul = shop.pipelines.get('matmul', {}, dispatch.format);
    return { group, matvec, matmul, bundles: dispatch.bundles };
  });
  const work = workOf(parts);
  const { matrix } = shop.tuning;
  const tokens = matrix.teams * matrix.tokens;
  return (recorder, count) => {
    if (clear || each.length === 0) recorder.clear(place.output, count * place.stride * 4);
    for (const { group, matvec, matmul, bundles } of each) {
      if (count === 1) recorder.dispatch(matvec, group, bundles, 1, work / each.length);
      else {
        recorder.dispatch(matmul, group, bundles, Math.ceil(count / tokens), (count * work) / each.length);
      }
    }
  };
}

function productGroup(
  { pipelines, scratch }: Workshop,
  owner: Owner,
  { chunk, table }: ProductDispatch,
  { input, output, slot }: Omit<ProductPlace, 'stride'>,
): GPUBindGroup {
  return pipelines.group('matvec', [
    stepSlot(scratch, slot),
    chunk.buffer,
    owner.buffer('table', table),
    input,
    output,
  ]);
}

function workOf(parts: Part[]): number {
  return parts.flatMap(({ tiles }) => tiles).reduce((sum, { tile }) => sum + tile.rows * tile.cols, 0);
}

/** Builds a layer. Throws DeviceError `unsupported` for shapes that the kernels cannot compute. */
export function createLayer(shop: Workshop, share: LayerShare, cache: LayerCache): LayerCommands {
  const owner = createOwner(shop.checked.device);
  const attention = attentionCommands(shop, owner, share, cache);
  const ffn = ffnCommands(shop, owner, share);
  return {
    attention,
    ffn,
    bytes: owner.bytes(),
    destroy: owner.destroy,
  };
}

/** Half a layer of which this member has no share: it adds nothing, but keeps its replica of the residual up to date. */
function nothing({ pipelines, scratch, sizes }: Workshop): LayerCommands['attention'] {
  const { dim } = sizes.hyper;
  const group = pipelines.group('merge', [stepSlot(scratch, 0), scratch.residual, scratch.partial]);
  const merge = pipelines.get('merge');
  return (recorder, count, add) => {
    recorder.mark('merge');
    if (add) recorder.dispatch(merge, group, rowWorkgroups(count, dim));
    recorder.clear(scratch.partial, count * dim * 4);
  };
}

function required(share: LayerShare, role: keyof LayerShare['vectors']): Float32Array {
  const vector = share.vectors[role];
  if (!vector) throw new DeviceError('unsupported', `The layer's share came without its ${role}.`);
  return vector;
}

function attentionCommands(
  shop: Workshop,
  owner: Owner,
  share: LayerShare,
  cache: LayerCache,
): LayerCommands['attention'] {
  const { pipelines, scratch, sizes } = shop;
  const { headDim, dim } = sizes.hyper;
  const heads = share.qToKv.length;
  const kvHeads = share.kvHeads.length;
  if ((heads * headDim) % BLOCK !== 0) {
    throw new DeviceError('unsupported', `${heads} heads of ${headDim} do not fall on blocks of ${BLOCK} columns.`);
  }
  if (heads === 0) return nothing(shop);

  const norm = normCommand(shop, owner, required(share, 'attentionNorm'), 0);
  const kRow = heads * headDim;
  const vRow = kRow + kvHeads * headDim;
  const project = productCommand(
    shop,
    owner,
    [
      { tiles: share.tiles.q, outRow: 0 },
      { tiles: share.tiles.k, outRow: kRow },
      { tiles: share.tiles.v, outRow: vRow },
    ],
    { input: scratch.normed, output: scratch.projected, stride: vRow + kvHeads * headDim, slot: 0 },
  );
  const teams = teamsOf(share.qToKv, headsTogether(sizes.hyper, shop.tuning));
  const headTable = owner.buffer('heads', Uint32Array.from([heads, kvHeads, 0, 0, ...teams.flat()]));
  const { vectors, biased } = headVectors(shop, share);
  const ropeGroup = pipelines.group('rope', [
    stepSlot(scratch, 0),
    headTable,
    scratch.projected,
    scratch.rotations,
    owner.buffer('head vectors', vectors),
    scratch.queries,
    cache.values,
    cache.scales,
  ]);
  const rope = pipelines.get('rope', { BIAS: biased });
  const attendGroup = pipelines.group('attention', [
    stepSlot(scratch, 0),
    headTable,
    scratch.queries,
    cache.values,
    cache.scales,
    scratch.mixed,
  ]);
  const attend = pipelines.get('attention');
  const out = productCommand(shop, owner, [{ tiles: share.tiles.o, outRow: 0 }], {
    input: scratch.mixed,
    output: scratch.partial,
    stride: dim,
    slot: 0,
  });
  const bias = biasCommand(shop, owner, share.vectors.oBias);
  return (recorder, count, add) => {
    recorder.mark('attentionNorm');
    norm(recorder, count, add);
    recorder.mark('qkv');
    project(recorder, count);
    recorder.mark('rope');
    recorder.dispatch(rope, ropeGroup, heads + 2 * kvHeads, count);
    recorder.mark('scores');
    recorder.dispatch(attend, attendGroup, teams.length, count);
    recorder.mark('o');
    out(recorder, count);
    bias?.(recorder, count);
  };
}

/** (KV head, first q head, q heads, 0) of every team of attention.wgsl: neighbours that attend to the same KV head. */
function teamsOf(qToKv: number[], most: number): [number, number, number, number][] {
  const teams: [number, number, number, number][] = [];
  qToKv.forEach((kvHead, head) => {
    const team = teams.at(-1);
    if (team && team[0] === kvHead && team[2] < most) team[2]++;
    else teams.push([kvHead, head, 1, 0]);
  });
  return teams;
}

/** The vectors of rope.wgsl: head norms, then biases of all rows. */
function headVectors({ sizes }: Workshop, share: LayerShare): { vectors: Float32Array; biased: boolean } {
  const { headDim, qkNorm } = sizes.hyper;
  const norms = qkNorm ? [required(share, 'qNorm'), required(share, 'kNorm')] : [];
  const { qBias, kBias, vBias } = share.vectors;
  const biased = qBias !== undefined || kBias !== undefined || vBias !== undefined;
  const kvRows = share.kvHeads.length * headDim;
  const biases = biased
    ? [
        qBias ?? new Float32Array(share.qToKv.length * headDim),
        kBias ?? new Float32Array(kvRows),
        vBias ?? new Float32Array(kvRows),
      ]
    : [];
  const all = [...norms, ...biases];
  const vectors = new Float32Array(all.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of all) {
    vectors.set(part, at);
    at += part.length;
  }
  return { vectors, biased };
}

function biasCommand(
  { pipelines, scratch, sizes }: Workshop,
  owner: Owner,
  bias: Float32Array | undefined,
): Command | undefined {
  if (!bias) return undefined;
  const group = pipelines.group('bias', [stepSlot(scratch, 0), scratch.partial, owner.buffer('bias', bias)]);
  const pipeline = pipelines.get('bias');
  return (recorder, count) => recorder.dispatch(pipeline, group, rowWorkgroups(count, sizes.hyper.dim));
}

/** Workgroups of merge.wgsl and bias.wgsl: 64 invocations with a vec4 each. */
export function rowWorkgroups(count: number, dim: number): number {
  return Math.ceil((count * dim) / 4 / 64);
}

function ffnCommands(shop: Workshop, owner: Owner, share: LayerShare): LayerCommands['ffn'] {
  const { pipelines, scratch, sizes } = shop;
  const { dim } = sizes.hyper;
  const { ffn } = share;
  if (ffn % BLOCK !== 0) throw new DeviceError('unsupported', `${ffn} FFN columns do not fall on blocks of ${BLOCK}.`);
  if (ffn === 0) return nothing(shop);

  const norm = normCommand(shop, owner, required(share, 'ffnNorm'), 0);
  const gateUp = productCommand(
    shop,
    owner,
    [
      { tiles: share.tiles.gate, outRow: 0 },
      { tiles: share.tiles.up, outRow: ffn },
    ],
    { input: scratch.normed, output: scratch.gateUp, stride: 2 * ffn, slot: 0 },
  );
  const swigluGroup = pipelines.group('swiglu', [
    stepSlot(scratch, 0),
    owner.buffer('shape', Uint32Array.from([ffn, 0, 0, 0])),
    scratch.gateUp,
    scratch.mixed,
  ]);
  const swiglu = pipelines.get('swiglu');
  const swigluWorkgroups = Math.ceil(ffn / GROUP / shop.tuning.rowThreads);
  const fused = gatedProduct(share.tiles.gate, share.tiles.up, shop.tuning.bundle)?.map((dispatch, _, all) => ({
    group: productGroup(shop, owner, dispatch, { input: scratch.normed, output: scratch.mixed, slot: 0 }),
    pipeline: pipelines.get('gated', {}, dispatch.format),
    bundles: dispatch.bundles,
    work: (2 * ffn * dim) / all.length,
  }));
  const down = productCommand(shop, owner, [{ tiles: share.tiles.down, outRow: 0 }], {
    input: scratch.mixed,
    output: scratch.partial,
    stride: dim,
    slot: 0,
  });
  return (recorder, count, add) => {
    recorder.mark('ffnNorm');
    norm(recorder, count, add);
    recorder.mark('gateUp');
    if (fused && count === 1) {
      for (const { pipeline, group, bundles, work } of fused) recorder.dispatch(pipeline, group, bundles, 1, work);
    } else {
      gateUp(recorder, count);
      recorder.mark('act');
      recorder.dispatch(swiglu, swigluGroup, swigluWorkgroups, count);
    }
    recorder.mark('down');
    down(recorder, count);
  };
}
