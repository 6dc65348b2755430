/** Tensors from one file's type to another's, a few megabytes at a time. */
import type { WeightType } from '../../web/model/distributed-llama/header.ts';
import { dequantize } from '../../web/model/quant.ts';
import type { ByteSource, TensorInfo } from '../../web/model/types.ts';
import { encodeValues } from './quantize.ts';

/** Values that are worked on at once. */
const VALUES_AT_ONCE = 1 << 20;

/** How far weights moved where they were quantized again. */
export interface Rounding {
  /** Sums of magnitudes. */
  difference: number;
  total: number;
}

export interface TensorConversion {
  source: ByteSource;
  tensor: TensorInfo;
  to: WeightType;
  /** Row of the source for each row that is written; undefined where they stay as they are. */
  order?: ArrayLike<number> | undefined;
  rounding: Rounding;
}

/** The tensor's bytes in its new type, rows in the new order. Bytes of a type that stays are copied. */
export async function* convertTensor(conversion: TensorConversion): AsyncGenerator<Uint8Array, void, void> {
  const { source, tensor, to, order, rounding } = conversion;
  const rowBytes = tensor.bytes / tensor.rows;
  for (const [from, end] of runsOf(order, tensor.rows, Math.ceil(VALUES_AT_ONCE / tensor.cols))) {
    const raw = await source.read(tensor.offset + from * rowBytes, tensor.offset + end * rowBytes);
    yield tensor.type === to ? raw : convert(tensor, raw, (end - from) * tensor.cols, to, rounding);
  }
}

function convert({ type }: TensorInfo, raw: Uint8Array, count: number, to: WeightType, rounding: Rounding): Uint8Array {
  const values = dequantize(type, raw, count);
  const bytes = encodeValues(to, values);
  if (to !== 'F32') {
    const rounded = dequantize(to, bytes, count);
    for (let i = 0; i < count; i++) {
      rounding.difference += Math.abs(rounded[i]! - values[i]!);
      rounding.total += Math.abs(values[i]!);
    }
  }
  return bytes;
}

/** Neighbouring source rows in the order in which they are written, at most `most` at once. */
export function* runsOf(
  order: ArrayLike<number> | undefined,
  rows: number,
  most: number,
): Generator<[from: number, end: number], void, void> {
  const at = (row: number) => order?.[row] ?? row;
  for (let row = 0; row < rows; ) {
    const from = at(row);
    let count = 1;
    while (row + count < rows && count < most && at(row + count) === from + count) count++;
    yield [from, from + count];
    row += count;
  }
}

/** Whether two tensors of the same shape hold the same values, whatever their types. */
export async function sameValues(source: ByteSource, a: TensorInfo, b: TensorInfo): Promise<boolean> {
  const read = async (tensor: TensorInfo, from: number, end: number) => {
    const rowBytes = tensor.bytes / tensor.rows;
    const raw = await source.read(tensor.offset + from * rowBytes, tensor.offset + end * rowBytes);
    return dequantize(tensor.type, raw, (end - from) * tensor.cols);
  };
  for (const [from, end] of runsOf(undefined, a.rows, Math.ceil(VALUES_AT_ONCE / a.cols))) {
    const [left, right] = await Promise.all([read(a, from, end), read(b, from, end)]);
    if (!left.every((value, i) => value === right[i])) return false;
  }
  return true;
}
