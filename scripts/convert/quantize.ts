/** Floats to the types of a `.m` file, bit for bit as distributed-llama's converter (`writer.py`) rounds them. */
import { halfBits } from '../../web/mesh/wire.ts';
import type { WeightType } from '../../web/model/distributed-llama/header.ts';
import { BLOCKS, bytesOfValues } from '../../web/model/quant.ts';

/** Adding and taking away this rounds a double below 2^51 to the nearest integer, ties to even. */
const ROUND = 6755399441055744;
const { fround } = Math;

const float = new Float32Array(1);
const floatBits = new Uint32Array(float.buffer);

function half(value: number): number {
  float[0] = value;
  return halfBits(floatBits[0]!);
}

/** The bytes of these values, which are whole blocks of the type. */
export function encodeValues(type: WeightType, values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(bytesOfValues(type, values.length));
  const view = new DataView(bytes.buffer);
  const block = BLOCKS[type];
  const write = WRITERS[type];
  for (let i = 0; i < values.length / block.values; i++) {
    write(view, i * block.bytes, values.subarray(i * block.values, (i + 1) * block.values));
  }
  return bytes;
}

const WRITERS: Readonly<Record<WeightType, (view: DataView, at: number, values: Float32Array) => void>> = {
  F32: (view, at, [value]) => view.setFloat32(at, value!, true),
  F16: (view, at, [value]) => view.setUint16(at, half(value!), true),
  // The scale comes from the value of largest magnitude, with its sign, which becomes -8 exactly.
  Q4_0: (view, at, values) => {
    const { least, most } = extremes(values);
    const scale = fround((-least > most ? least : most) / -8);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    const quant = (value: number) => Math.min(15, Math.max(0, Math.trunc(fround(fround(value * inverse) + 8.5)))) || 0;
    view.setUint16(at, half(scale), true);
    for (let i = 0; i < 16; i++) view.setUint8(at + 2 + i, quant(values[i]!) | (quant(values[i + 16]!) << 4));
  },
  Q8_0: (view, at, values) => {
    const { least, most } = extremes(values);
    const scale = fround(Math.max(-least, most) / 127);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    view.setUint16(at, half(scale), true);
    for (let i = 0; i < 32; i++) view.setInt8(at + 2 + i, fround(values[i]! * inverse) + ROUND - ROUND);
  },
};

function extremes(values: Float32Array): { least: number; most: number } {
  let least = values[0]!;
  let most = least;
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return { least, most };
}
