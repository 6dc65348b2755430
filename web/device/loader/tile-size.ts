/** How large tiles are, and where a matrix is cut into several. */
import { BLOCKS } from '../../model/quant.ts';
import type { TensorInfo, TensorType } from '../../model/types.ts';
import type { Range } from '../../plan/types.ts';

/**
 * Bytes of a block of 32 values on the backend that takes more for it: where the scales of a type are halves, WASM keeps them
 * as such, WebGPU those of 4-bit weights. Tiles whose halves reach too far have f32, which is 4 bytes more a block of 4-bit ones.
 */
const DEVICE_BLOCK_BYTES: Readonly<Record<TensorType, number>> = {
  F32: 128,
  F16: 64,
  BF16: 64,
  Q4_0: 20,
  Q4_1: 20,
  Q4_K: 24,
  Q5_0: 36,
  Q8_0: 36,
  Q5_1: 40,
  Q5_K: 40,
  Q6_K: 40,
};

/**
 * Largest tile in device bytes. Well below WebGPU's default binding limit of 128 MiB, and small enough that the raw
 * bytes, the repacked ones and the backend's copy of one tile do not add up to much while a model loads.
 */
export const MAX_TILE_BYTES = 32 << 20;

/** Rows that backends interleave at most: tiles of one range have whole multiples of it, but for the last. */
const ROW_STEP = 32;

/** Device bytes of `values` weights of a type. */
export function deviceBytes(type: TensorType, values: number): number {
  return (values / 32) * DEVICE_BLOCK_BYTES[type];
}

/**
 * Cuts a range along one axis of a matrix, whole along the other, into ranges of one tile each. Columns are cut on whole
 * blocks of the type, so that no raw block is read for two tiles.
 */
export function cutIntoTiles(tensor: TensorInfo, axis: 'rows' | 'cols', [from, to]: Range, maxBytes: number): Range[] {
  const step = axis === 'rows' ? ROW_STEP : Math.max(32, BLOCKS[tensor.type].values);
  const unitBytes = deviceBytes(tensor.type, axis === 'rows' ? tensor.cols : tensor.rows);
  const longest = Math.max(step, Math.floor(maxBytes / unitBytes / step) * step);
  const count = Math.ceil((to - from) / longest);
  const length = Math.ceil((to - from) / count / step) * step;
  const tiles: Range[] = [];
  for (let start = from; start < to; ) {
    const target = start + length;
    const end = axis === 'rows' ? target : Math.floor(target / step) * step;
    tiles.push([start, Math.min(to, end)]);
    start = end;
  }
  return tiles;
}
