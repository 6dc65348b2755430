/** The header of a GGUF file, version 3, little-endian. Source: docs/gguf.md of ggml-org/ggml. */
import type { WeightType } from '../../web/model/distributed-llama/header.ts';
import { BLOCKS } from '../../web/model/quant.ts';

/** One of a header's metadata. */
export type GgufEntry = { key: string } & (
  | { u32: number }
  | { f32: number }
  | { bool: boolean }
  | { string: string }
  | { strings: readonly string[] }
  | { i32s: readonly number[] }
  | { f32s: readonly number[] }
);

export interface GgufTensor {
  name: string;
  type: WeightType;
  rows: number;
  /** One row: a vector. */
  cols: number;
}

/** Bytes that tensors are aligned to. */
const ALIGNMENT = 32;
const VERSION = 3;
const TYPES: Readonly<Record<WeightType, number>> = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 8 };
/** Numbers of value types. */
const U32 = 4;
const I32 = 5;
const F32 = 6;
const BOOL = 7;
const STRING = 8;
const ARRAY = 9;

/** Zeros behind a tensor (or the header) of so many bytes. */
export const paddingOf = (bytes: number): number => (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT;

export const tensorBytes = ({ type, rows, cols }: GgufTensor): number =>
  (cols / BLOCKS[type].values) * BLOCKS[type].bytes * rows;

/** The header with its padding; tensors follow in this order, each padded. */
export function ggufHeader(entries: readonly GgufEntry[], tensors: readonly GgufTensor[]): Uint8Array {
  const out = makeWriter();
  out.u32(0x46554747);
  out.u32(VERSION);
  out.u64(tensors.length);
  out.u64(entries.length);
  for (const entry of entries) {
    out.string(entry.key);
    writeValue(out, entry);
  }
  let offset = 0;
  for (const tensor of tensors) {
    const shape = tensor.rows === 1 ? [tensor.cols] : [tensor.cols, tensor.rows];
    out.string(tensor.name);
    out.u32(shape.length);
    shape.forEach(out.u64);
    out.u32(TYPES[tensor.type]);
    out.u64(offset);
    const bytes = tensorBytes(tensor);
    offset += bytes + paddingOf(bytes);
  }
  return out.done();
}

function writeValue(out: Writer, entry: GgufEntry): void {
  const array = <T>(type: number, values: readonly T[], write: (value: T) => void) => {
    out.u32(ARRAY);
    out.u32(type);
    out.u64(values.length);
    values.forEach(write);
  };
  if ('u32' in entry) {
    out.u32(U32);
    out.u32(entry.u32);
  } else if ('f32' in entry) {
    out.u32(F32);
    out.f32(entry.f32);
  } else if ('bool' in entry) {
    out.u32(BOOL);
    out.u8(entry.bool ? 1 : 0);
  } else if ('string' in entry) {
    out.u32(STRING);
    out.string(entry.string);
  } else if ('strings' in entry) array(STRING, entry.strings, out.string);
  else if ('i32s' in entry) array(I32, entry.i32s, out.u32);
  else array(F32, entry.f32s, out.f32);
}

type Writer = ReturnType<typeof makeWriter>;

function makeWriter() {
  let bytes = new Uint8Array(1 << 16);
  let view = new DataView(bytes.buffer);
  let at = 0;
  /** Makes room for more bytes; gives the place where they begin. */
  const grow = (count: number): number => {
    if (at + count > bytes.length) {
      const larger = new Uint8Array(Math.max(2 * bytes.length, at + count));
      larger.set(bytes);
      bytes = larger;
      view = new DataView(bytes.buffer);
    }
    at += count;
    return at - count;
  };
  const writer = {
    // The place first: making room replaces the view.
    u8: (value: number) => {
      const place = grow(1);
      view.setUint8(place, value);
    },
    u32: (value: number) => {
      const place = grow(4);
      view.setUint32(place, value, true);
    },
    f32: (value: number) => {
      const place = grow(4);
      view.setFloat32(place, value, true);
    },
    u64: (value: number) => {
      const place = grow(8);
      view.setBigUint64(place, BigInt(value), true);
    },
    string: (text: string) => {
      const data = new TextEncoder().encode(text);
      writer.u64(data.length);
      const place = grow(data.length);
      bytes.set(data, place);
    },
    done: () => {
      grow(paddingOf(at));
      return bytes.slice(0, at);
    },
  };
  return writer;
}
