/** Writes GGUF files for tests, right ones and wrong ones. */

export type GgufValue =
  | { type: 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64'; value: number }
  | { type: 'u64' | 'i64'; value: bigint }
  | { type: 'bool'; value: boolean }
  | { type: 'string'; value: string }
  | { type: 'array'; of: 'string'; values: readonly string[] }
  | { type: 'array'; of: 'i32' | 'u32' | 'f32'; values: readonly number[] };

export interface GgufTensor {
  name: string;
  /** Columns first, as in the file. */
  shape: readonly (number | bigint)[];
  /** GGML's number for the type. */
  type: number;
  /** Relative to the start of the data; undefined: after the tensor before. */
  offset?: number | bigint;
  data?: Uint8Array;
}

export interface Gguf {
  magic?: string;
  version?: number;
  metadata?: Record<string, GgufValue>;
  tensors?: readonly GgufTensor[];
  /** What the header claims, where it differs from the truth. */
  tensorCount?: bigint;
  metadataCount?: bigint;
}

const NUMBERS = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
};
export const ALIGNMENT = 32;

export const text = (value: string): GgufValue => ({ type: 'string', value });
export const u32 = (value: number): GgufValue => ({ type: 'u32', value });

/** The bytes of a file. */
export function writeGguf(gguf: Gguf): Uint8Array {
  const out = makeWriter();
  const entries = Object.entries(gguf.metadata ?? {});
  const tensors = gguf.tensors ?? [];
  out.raw(new TextEncoder().encode(gguf.magic ?? 'GGUF'));
  out.number('u32', gguf.version ?? 3);
  out.big(gguf.tensorCount ?? BigInt(tensors.length));
  out.big(gguf.metadataCount ?? BigInt(entries.length));
  for (const [key, value] of entries) {
    out.string(key);
    out.number('u32', NUMBERS[value.type]);
    writeValue(out, value);
  }
  let next = 0;
  for (const tensor of tensors) {
    out.string(tensor.name);
    out.number('u32', tensor.shape.length);
    for (const dimension of tensor.shape) out.big(BigInt(dimension));
    out.number('u32', tensor.type);
    out.big(BigInt(tensor.offset ?? next));
    next += Math.ceil((tensor.data?.length ?? 0) / ALIGNMENT) * ALIGNMENT;
  }
  out.pad(ALIGNMENT);
  for (const { data } of tensors) {
    if (data) out.raw(data);
    out.pad(ALIGNMENT);
  }
  return out.done();
}

type Writer = ReturnType<typeof makeWriter>;

function writeValue(out: Writer, value: GgufValue): void {
  switch (value.type) {
    case 'string':
      out.string(value.value);
      break;
    case 'bool':
      out.number('u8', value.value ? 1 : 0);
      break;
    case 'u64':
    case 'i64':
      out.big(value.value);
      break;
    case 'array':
      out.number('u32', NUMBERS[value.of]);
      out.big(BigInt(value.values.length));
      for (const each of value.values) {
        if (typeof each === 'string') out.string(each);
        else out.number(value.of as 'i32', each);
      }
      break;
    default:
      out.number(value.type, value.value);
  }
}

type NumberType = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64';

function makeWriter() {
  let bytes = new Uint8Array(1 << 12);
  let view = new DataView(bytes.buffer);
  let at = 0;
  const room = (count: number) => {
    if (at + count > bytes.length) {
      const grown = new Uint8Array(Math.max(bytes.length * 2, at + count));
      grown.set(bytes);
      bytes = grown;
      view = new DataView(bytes.buffer);
    }
    at += count;
    return at - count;
  };
  const put: Record<NumberType, (value: number) => void> = {
    u8: (value) => view.setUint8(room(1), value),
    i8: (value) => view.setInt8(room(1), value),
    u16: (value) => view.setUint16(room(2), value, true),
    i16: (value) => view.setInt16(room(2), value, true),
    u32: (value) => view.setUint32(room(4), value, true),
    i32: (value) => view.setInt32(room(4), value, true),
    f32: (value) => view.setFloat32(room(4), value, true),
    f64: (value) => view.setFloat64(room(8), value, true),
  };
  const writer = {
    number: (type: NumberType, value: number) => {
      // Room is made before the view is looked up, since growing replaces it.
      room(8);
      at -= 8;
      put[type](value);
    },
    big: (value: bigint) => {
      const to = room(8);
      view.setBigUint64(to, BigInt.asUintN(64, value), true);
    },
    raw: (data: Uint8Array) => {
      const to = room(data.length);
      bytes.set(data, to);
    },
    string: (value: string) => {
      const data = new TextEncoder().encode(value);
      writer.big(BigInt(data.length));
      writer.raw(data);
    },
    pad: (to: number) => {
      room((to - (at % to)) % to);
    },
    done: () => bytes.slice(0, at),
  };
  return writer;
}
