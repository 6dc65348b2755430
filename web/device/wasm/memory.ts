/** First-fit allocation in a WebAssembly.Memory that grows on demand. */
import { DeviceError } from '../backend.ts';

const PAGE = 65536;
/** One cache line, so that two allocations never share one. */
const ALIGN = 64;
/** Grow by at least this much, to grow seldom. */
const GROW_STEP = 4 * 1024 * 1024;

interface Block {
  at: number;
  bytes: number;
}

export interface WasmMemory {
  readonly memory: WebAssembly.Memory;
  /** Address of `bytes` zeroed bytes. Throws DeviceError `memory` when the memory cannot grow. */
  allocate(bytes: number): number;
  /** Grows once for `bytes` that will be allocated, where growing step by step may copy each time. Where it cannot, allocating will tell. */
  reserve(bytes: number): void;
  free(at: number): void;
  u8(): Uint8Array;
  u32(): Uint32Array;
  i32(): Int32Array;
  f32(): Float32Array;
  i16(): Int16Array;
  /** Bytes handed out. */
  used(): number;
  /** End of what was ever handed out: beyond lie zeros, which take no memory of the device yet. */
  touched(): number;
  /** From here on every call but `used` and `touched` throws DeviceError `lost`: the memory belongs to somebody else. */
  close(): void;
}

/**
 * @param base first address that may be handed out; below lie the kernels' own data and the control block
 * @param dirty end of what somebody else has written; beyond lie zeros
 */
export function createMemory(memory: WebAssembly.Memory, base: number, dirty = 0): WasmMemory {
  let end = Math.ceil(base / ALIGN) * ALIGN;
  const free: Block[] = [];
  const sizes = new Map<number, number>();
  let used = 0;
  let touched = dirty;
  let closed = false;
  let buffer: ArrayBufferLike | undefined;
  let views: { u8: Uint8Array; u32: Uint32Array; i32: Int32Array; f32: Float32Array; i16: Int16Array } | undefined;

  function current() {
    if (closed) throw new DeviceError('lost', 'This device has ended.');
    // Growing detaches the buffer of an unshared memory and leaves a shared one too short: make the views again.
    if (!views || buffer !== memory.buffer) {
      buffer = memory.buffer;
      views = {
        u8: new Uint8Array(buffer),
        u32: new Uint32Array(buffer),
        i32: new Int32Array(buffer),
        f32: new Float32Array(buffer),
        i16: new Int16Array(buffer),
      };
    }
    return views;
  }

  function ensure(bytes: number): void {
    const missing = bytes - memory.buffer.byteLength;
    if (missing <= 0) return;
    const grow = (extra: number) => memory.grow(Math.ceil(extra / PAGE));
    try {
      grow(Math.max(missing, GROW_STEP));
    } catch {
      try {
        grow(missing);
      } catch (cause) {
        const mib = Math.ceil(bytes / 1048576);
        throw new DeviceError(
          'memory',
          `This browser tab cannot have ${mib} MiB of memory for the model. Choose a smaller model or context.`,
          { cause },
        );
      }
    }
  }

  function release(block: Block): void {
    const index = free.findIndex((other) => other.at > block.at);
    const place = index < 0 ? free.length : index;
    free.splice(place, 0, block);
    for (const i of [place, place - 1]) {
      const here = free[i];
      const next = free[i + 1];
      if (here && next && here.at + here.bytes === next.at) {
        here.bytes += next.bytes;
        free.splice(i + 1, 1);
      }
    }
    const last = free.at(-1);
    if (last && last.at + last.bytes === end) {
      end = last.at;
      free.pop();
    }
  }

  return {
    memory,
    allocate(wanted) {
      current();
      const bytes = Math.max(ALIGN, Math.ceil(wanted / ALIGN) * ALIGN);
      const index = free.findIndex((block) => block.bytes >= bytes);
      let at: number;
      if (index >= 0) {
        const block = free[index];
        at = block.at;
        block.at += bytes;
        block.bytes -= bytes;
        if (block.bytes === 0) free.splice(index, 1);
      } else {
        ensure(end + bytes);
        at = end;
        end += bytes;
      }
      sizes.set(at, bytes);
      used += bytes;
      // What nobody has touched is zero, and writing zeros to it would make the system find memory for it.
      if (at < touched) current().u8.fill(0, at, Math.min(at + bytes, touched));
      touched = Math.max(touched, at + bytes);
      return at;
    },
    reserve(bytes) {
      current();
      try {
        ensure(end + bytes);
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
      }
    },
    free(at) {
      const bytes = sizes.get(at);
      if (bytes === undefined) throw new Error(`no allocation at ${at}`);
      sizes.delete(at);
      used -= bytes;
      release({ at, bytes });
    },
    u8: () => current().u8,
    u32: () => current().u32,
    i32: () => current().i32,
    f32: () => current().f32,
    i16: () => current().i16,
    used: () => used,
    touched: () => touched,
    close() {
      closed = true;
      views = undefined;
    },
  };
}
