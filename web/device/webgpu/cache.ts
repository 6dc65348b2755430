/** The KV cache on the GPU: one buffer of integers and one of scales a layer, k of all heads and then v of all heads. */
import { DeviceError, type KvSlice } from '../backend.ts';
import { type CheckedDevice, roundUp, STORAGE } from './gpu.ts';
import type { Readback } from './readback.ts';

const INT16_BYTES = 2;
const F32_BYTES = 4;

export interface LayerCache {
  /** Heads as global numbers, in the order of their slots. */
  heads: number[];
  /** 2 · heads × context × headDim Int16, two a word. */
  values: GPUBuffer;
  /** 2 · heads × context f32 */
  scales: GPUBuffer;
}

export interface Cache {
  /** Storage for these heads, with the contents of those that were there before. Undefined drops the layer. */
  setHeads(layer: number, heads: number[] | undefined): LayerCache | undefined;
  read(layer: number, head: number, from: number, to: number): Promise<KvSlice>;
  write(layer: number, head: number, from: number, slice: KvSlice): void;
  bytes(): number;
}

export function createCache(checked: CheckedDevice, context: number, headDim: number, readback: Readback): Cache {
  const { device } = checked;
  const layers = new Map<number, LayerCache>();
  const valueBytes = headDim * INT16_BYTES;
  const size = (heads: number, unit: number) => roundUp(Math.max(1, 2 * heads * context) * unit, 16);

  const make = (heads: number[]): LayerCache => {
    const values = size(heads.length, valueBytes);
    if (values > device.limits.maxStorageBufferBindingSize) {
      throw new DeviceError(
        'memory',
        `A context of ${context} positions needs ${Math.ceil(values / 2 ** 20)} MiB a layer, more than this GPU binds at once: use a shorter context.`,
      );
    }
    return checked.create('the KV cache', () => ({
      heads,
      values: device.createBuffer({ label: 'kv', size: values, usage: STORAGE() }),
      scales: device.createBuffer({ label: 'kv scales', size: size(heads.length, F32_BYTES), usage: STORAGE() }),
    }));
  };

  const move = (from: LayerCache, to: LayerCache) => {
    const encoder = device.createCommandEncoder({ label: 'move kv' });
    for (const head of to.heads) {
      if (!from.heads.includes(head)) continue;
      for (const part of ['k', 'v'] as const) {
        const source = rowOf(from, head, part);
        const target = rowOf(to, head, part);
        const copy = (a: GPUBuffer, b: GPUBuffer, unit: number) =>
          encoder.copyBufferToBuffer(a, source * unit, b, target * unit, context * unit);
        copy(from.values, to.values, valueBytes);
        copy(from.scales, to.scales, F32_BYTES);
      }
    }
    device.queue.submit([encoder.finish()]);
  };

  /** First cache row (vector) of a head. */
  const rowOf = ({ heads }: LayerCache, head: number, part: 'k' | 'v'): number =>
    (heads.indexOf(head) + (part === 'v' ? heads.length : 0)) * context;

  const place = (layer: number, head: number, from: number, positions: number) => {
    const cache = layers.get(layer);
    if (!cache?.heads.includes(head)) {
      throw new DeviceError('unsupported', `This device holds no KV of layer ${layer}, head ${head}.`);
    }
    if (from < 0 || from + positions > context) {
      throw new DeviceError(
        'unsupported',
        `Positions ${from} to ${from + positions} are outside the context of ${context}.`,
      );
    }
    return { cache, k: rowOf(cache, head, 'k') + from, v: rowOf(cache, head, 'v') + from };
  };

  const drop = (cache: LayerCache) => {
    cache.values.destroy();
    cache.scales.destroy();
  };

  return {
    setHeads(layer, heads) {
      const old = layers.get(layer);
      if (!heads) {
        layers.delete(layer);
        if (old) drop(old);
        return undefined;
      }
      if (old && old.heads.length === heads.length && old.heads.every((head, i) => head === heads[i])) return old;
      const cache = make([...heads]);
      if (old) {
        checked.create('moving the KV cache', () => move(old, cache));
        drop(old);
      }
      layers.set(layer, cache);
      return cache;
    },
    async read(layer, head, from, to) {
      const positions = to - from;
      const { cache, k, v } = place(layer, head, from, positions);
      const values = positions * valueBytes;
      const scales = positions * F32_BYTES;
      const bytes = await readback.copy([
        { buffer: cache.values, offset: k * valueBytes, size: values },
        { buffer: cache.values, offset: v * valueBytes, size: values },
        { buffer: cache.scales, offset: k * F32_BYTES, size: scales },
        { buffer: cache.scales, offset: v * F32_BYTES, size: scales },
      ]);
      return {
        k: new Int16Array(bytes, 0, values / INT16_BYTES),
        v: new Int16Array(bytes, values, values / INT16_BYTES),
        kScales: new Float32Array(bytes, 2 * values, positions),
        vScales: new Float32Array(bytes, 2 * values + scales, positions),
      };
    },
    write(layer, head, from, slice) {
      const { cache, k, v } = place(layer, head, from, slice.kScales.length);
      device.queue.writeBuffer(cache.values, k * valueBytes, slice.k as Int16Array<ArrayBuffer>);
      device.queue.writeBuffer(cache.values, v * valueBytes, slice.v as Int16Array<ArrayBuffer>);
      device.queue.writeBuffer(cache.scales, k * F32_BYTES, slice.kScales as Float32Array<ArrayBuffer>);
      device.queue.writeBuffer(cache.scales, v * F32_BYTES, slice.vScales as Float32Array<ArrayBuffer>);
    },
    bytes: () => [...layers.values()].reduce((sum, cache) => sum + cache.values.size + cache.scales.size, 0),
  };
}
