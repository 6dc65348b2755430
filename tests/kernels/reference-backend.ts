/**
 * The Backend in plain TypeScript and float64, written for reading: what the fast backends are compared with.
 * With `rounding: true` it rounds KV as docs/arithmetic.md says; without, it computes the exact answer.
 */
import type {
  Backend,
  BackendOptions,
  KvSlice,
  LayerShare,
  PlacedTile,
  Step,
  Tile,
  TileData,
} from '../../web/device/backend.ts';
import type { HyperParameters } from '../../web/model/types.ts';

interface ReferenceTile extends Tile {
  /** rows × cols, dequantized. */
  values: Float64Array;
}

interface KvHead {
  k: Float64Array;
  v: Float64Array;
  kInts: Int16Array;
  vInts: Int16Array;
  kScales: Float32Array;
  vScales: Float32Array;
}

const KV_LIMIT = 32767;

const bitsView = new DataView(new ArrayBuffer(4));

/** Ties to even, as `f32x4.nearest` and WGSL's `round` do. */
function roundTiesToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest < 0.5) return floor;
  if (rest > 0.5) return floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** All values of a tile, rows × cols. */
export function tileValues(data: TileData): Float64Array {
  const { rows, cols } = data;
  const out = new Float64Array(rows * cols);
  if (data.kind === 'q4' || data.kind === 'q8') {
    for (let i = 0; i < out.length; i++) {
      const block = Math.floor(i / data.block);
      const at = i % data.block;
      let q: number;
      if (data.kind === 'q4') {
        const byte = data.quants[block * 16 + (at & 15)];
        q = at < 16 ? byte & 15 : byte >> 4;
      } else {
        q = data.quants[i];
      }
      out[i] = data.scales[block] * q + (data.mins?.[block] ?? 0);
    }
  } else {
    for (let i = 0; i < out.length; i++) {
      const v = data.values[i];
      if (data.kind === 'f32') out[i] = v;
      else if (data.kind === 'f16') out[i] = halfToNumber(v);
      else {
        bitsView.setUint32(0, v << 16);
        out[i] = bitsView.getFloat32(0);
      }
    }
  }
  return out;
}

function rmsNorm(x: Float64Array, weight: Float32Array, epsilon: number): Float64Array {
  let sum = 0;
  for (const v of x) sum += v * v;
  const factor = 1 / Math.sqrt(sum / x.length + epsilon);
  return x.map((v, i) => v * factor * weight[i]);
}

function rope(head: Float64Array, position: number, hyper: HyperParameters): void {
  const { layout, dims, frequencies, magnitude } = hyper.rope;
  for (let i = 0; i < dims / 2; i++) {
    const a = layout === 'pairs' ? 2 * i : i;
    const b = layout === 'pairs' ? 2 * i + 1 : i + dims / 2;
    const cos = Math.cos(position * frequencies[i]) * magnitude;
    const sin = Math.sin(position * frequencies[i]) * magnitude;
    const [x, y] = [head[a], head[b]];
    head[a] = x * cos - y * sin;
    head[b] = x * sin + y * cos;
  }
}

export interface ReferenceOptions extends BackendOptions {
  rounding: boolean;
}

export function createReferenceBackend(options: ReferenceOptions): Backend {
  const { hyper, rounding, context } = options;
  const { dim, headDim } = hyper;
  const layers = new Map<number, LayerShare>();
  const kv = new Map<string, KvHead>();
  let embedding: PlacedTile[] = [];
  let head: PlacedTile[] = [];
  let headNorm: Float32Array = new Float32Array(dim);
  let residual = new Float64Array(0);
  let partial = new Float64Array(0);

  const kvHead = (layer: number, number: number): KvHead => {
    const found = kv.get(`${layer}/${number}`);
    if (!found) throw new Error(`layer ${layer} holds no KV head ${number}`);
    return found;
  };

  function product(tiles: PlacedTile[], x: Float64Array, rows: number): Float64Array {
    const y = new Float64Array(rows);
    for (const { tile, row, col } of tiles) {
      const { values, rows: tileRows, cols } = tile as ReferenceTile;
      for (let r = 0; r < tileRows; r++) {
        let sum = 0;
        for (let c = 0; c < cols; c++) sum += values[r * cols + c] * x[col + c];
        y[row + r] += sum;
      }
    }
    return y;
  }

  function storeKv(
    values: Float64Array,
    into: Float64Array,
    ints: Int16Array,
    scales: Float32Array,
    position: number,
  ): void {
    const amax = Math.fround(values.reduce((m, v) => Math.max(m, Math.abs(v)), 0));
    scales[position] = amax / KV_LIMIT;
    for (let d = 0; d < headDim; d++) {
      const at = position * headDim + d;
      const q = amax === 0 ? 0 : roundTiesToEven(values[d] * (KV_LIMIT / amax));
      ints[at] = Math.max(-KV_LIMIT, Math.min(KV_LIMIT, q));
      into[at] = rounding ? ints[at] * scales[position] : values[d];
    }
  }

  function attention(layer: number, x: Float64Array, position: number): Float64Array {
    const share = layers.get(layer);
    if (!share) throw new Error(`no share of layer ${layer}`);
    const { tiles, vectors, qToKv, kvHeads } = share;
    const normed = rmsNorm(x, vectors.attentionNorm ?? new Float32Array(), hyper.normEpsilon);
    const project = (role: 'q' | 'k' | 'v', heads: number) => {
      const y = product(tiles[role], normed, heads * headDim);
      const bias = vectors[`${role}Bias`];
      if (bias) for (let i = 0; i < y.length; i++) y[i] += bias[i];
      return y;
    };
    const q = project('q', qToKv.length);
    const k = project('k', kvHeads.length);
    const v = project('v', kvHeads.length);
    const eachHead = (y: Float64Array, norm: Float32Array | undefined) => {
      for (let start = 0; start < y.length; start += headDim) {
        let one: Float64Array = y.slice(start, start + headDim);
        if (norm) one = rmsNorm(one, norm, hyper.normEpsilon);
        rope(one, position, hyper);
        y.set(one, start);
      }
    };
    eachHead(q, vectors.qNorm);
    eachHead(k, vectors.kNorm);
    kvHeads.forEach((number, i) => {
      const slot = kvHead(layer, number);
      storeKv(k.subarray(i * headDim, (i + 1) * headDim), slot.k, slot.kInts, slot.kScales, position);
      storeKv(v.subarray(i * headDim, (i + 1) * headDim), slot.v, slot.vInts, slot.vScales, position);
    });
    const out = new Float64Array(q.length);
    qToKv.forEach((local, h) => {
      const slot = kvHead(layer, kvHeads[local]);
      const scores = new Float64Array(position + 1);
      for (let p = 0; p <= position; p++) {
        for (let d = 0; d < headDim; d++) scores[p] += q[h * headDim + d] * slot.k[p * headDim + d];
        scores[p] /= Math.sqrt(headDim);
      }
      const max = Math.max(...scores);
      let sum = 0;
      for (let p = 0; p <= position; p++) sum += scores[p] = Math.exp(scores[p] - max);
      for (let p = 0; p <= position; p++) {
        for (let d = 0; d < headDim; d++) out[h * headDim + d] += (scores[p] / sum) * slot.v[p * headDim + d];
      }
    });
    const y = product(tiles.o, out, dim);
    if (vectors.oBias) for (let i = 0; i < dim; i++) y[i] += vectors.oBias[i];
    return y;
  }

  function ffn(layer: number, x: Float64Array): Float64Array {
    const share = layers.get(layer);
    if (!share) throw new Error(`no share of layer ${layer}`);
    const normed = rmsNorm(x, share.vectors.ffnNorm ?? new Float32Array(), hyper.normEpsilon);
    const gate = product(share.tiles.gate, normed, share.ffn);
    const up = product(share.tiles.up, normed, share.ffn);
    const inner = gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
    return product(share.tiles.down, inner, dim);
  }

  const run = async (step: Step): Promise<Float32Array> => {
    const { count, position } = step;
    const size = count * dim;
    if (step.residual) residual = Float64Array.from(step.residual.subarray(0, size));
    if (residual.length < size) residual = new Float64Array(size);
    if (step.add) for (let i = 0; i < size; i++) residual[i] += step.add[i];
    let logits = new Float64Array(0);
    const row = (t: number) => residual.slice(t * dim, (t + 1) * dim);
    for (const op of step.ops) {
      if (op.op === 'embed') {
        residual = new Float64Array(size);
        for (let t = 0; t < count; t++) {
          const id = step.ids?.[t] ?? 0;
          for (const { tile, row: first, col } of embedding) {
            const { values, rows, cols } = tile as ReferenceTile;
            if (id < first || id >= first + rows) continue;
            residual.set(values.subarray((id - first) * cols, (id - first + 1) * cols), t * dim + col);
          }
        }
      } else if (op.op === 'merge') {
        for (let i = 0; i < size; i++) residual[i] += partial[i];
      } else if (op.op === 'head') {
        const rows = head.reduce((n, { tile, row: first }) => Math.max(n, first + tile.rows), 0);
        const from = op.positions === 'all' ? 0 : count - 1;
        logits = new Float64Array((count - from) * rows);
        for (let t = from; t < count; t++) {
          logits.set(product(head, rmsNorm(row(t), headNorm, hyper.normEpsilon), rows), (t - from) * rows);
        }
      } else {
        partial = new Float64Array(size);
        for (let t = 0; t < count; t++) {
          const y = op.op === 'attention' ? attention(op.layer, row(t), position + t) : ffn(op.layer, row(t));
          partial.set(y, t * dim);
        }
      }
    }
    if (step.output === 'none') return new Float32Array(0);
    if (step.output === 'logits') return Float32Array.from(logits);
    return Float32Array.from((step.output === 'partial' ? partial : residual).subarray(0, size));
  };

  return {
    kind: 'wasm',
    threads: 1,
    timesOperations: false,
    description: 'float64 reference',
    lost: new Promise(() => {}),
    async addTile(_role, data) {
      const tile: ReferenceTile = {
        rows: data.rows,
        cols: data.cols,
        bytes: data.rows * data.cols * 8,
        values: tileValues(data),
      };
      return tile;
    },
    async cutTile(whole, rows, cols) {
      const { values } = whole as ReferenceTile;
      const size = { rows: rows[1] - rows[0], cols: cols[1] - cols[0] };
      const part = new Float64Array(size.rows * size.cols);
      for (let row = 0; row < size.rows; row++) {
        const from = (rows[0] + row) * whole.cols + cols[0];
        part.set(values.subarray(from, from + size.cols), row * size.cols);
      }
      const tile: ReferenceTile = { ...size, bytes: part.length * 8, values: part };
      return tile;
    },
    dropTile() {},
    setLayer(layer, share) {
      const keep = new Set(share?.kvHeads ?? []);
      for (const key of kv.keys()) {
        const [l, number] = key.split('/').map(Number);
        if (l === layer && !keep.has(number)) kv.delete(key);
      }
      for (const number of keep) {
        if (kv.has(`${layer}/${number}`)) continue;
        const size = context * headDim;
        kv.set(`${layer}/${number}`, {
          k: new Float64Array(size),
          v: new Float64Array(size),
          kInts: new Int16Array(size),
          vInts: new Int16Array(size),
          kScales: new Float32Array(context),
          vScales: new Float32Array(context),
        });
      }
      if (share) layers.set(layer, share);
      else layers.delete(layer);
    },
    setEmbedding(tiles) {
      embedding = tiles ?? [];
    },
    setHead(tiles, norm) {
      head = tiles ?? [];
      headNorm = norm ?? new Float32Array(dim);
    },
    run,
    async readKv(layer, number, from, to): Promise<KvSlice> {
      const slot = kvHead(layer, number);
      return {
        k: slot.kInts.slice(from * headDim, to * headDim),
        v: slot.vInts.slice(from * headDim, to * headDim),
        kScales: slot.kScales.slice(from, to),
        vScales: slot.vScales.slice(from, to),
      };
    },
    async writeKv(layer, number, from, slice) {
      const slot = kvHead(layer, number);
      slot.kInts.set(slice.k, from * headDim);
      slot.vInts.set(slice.v, from * headDim);
      slot.kScales.set(slice.kScales, from);
      slot.vScales.set(slice.vScales, from);
      for (let i = 0; i < slice.k.length; i++) {
        const p = Math.floor(i / headDim);
        slot.k[from * headDim + i] = slice.k[i] * slice.kScales[p];
        slot.v[from * headDim + i] = slice.v[i] * slice.vScales[p];
      }
    },
    memory: () => ({ weights: 0, kv: 0, scratch: 0 }),
    destroy() {},
  };
}
