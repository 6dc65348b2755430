/** The compiled kernels: which variant this engine can run, and their instantiation. */
import { StuckError, within } from '../within.ts';

/** (module (func (param v128 v128) (result v128) local.get 0 local.get 1 i16x8.relaxed_dot_i8x16_i7x16_s)) */
const RELAXED_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 123, 123, 1, 123, 3, 2, 1, 0, 10, 11, 1, 9, 0, 32, 0, 32, 1, 253, 146, 2,
  11,
]);
/** (module (func (result v128) i32.const 0 i8x16.splat)) */
const SIMD_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]);

export interface WasmFeatures {
  simd: boolean;
  relaxed: boolean;
  /** Shared memory: only on cross-origin isolated pages. */
  threads: boolean;
}

export function wasmFeatures(): WasmFeatures {
  return {
    simd: WebAssembly.validate(SIMD_PROBE),
    relaxed: WebAssembly.validate(RELAXED_PROBE),
    threads: typeof SharedArrayBuffer !== 'undefined' && globalThis.crossOriginIsolated !== false,
  };
}

export interface KernelExports {
  /** Runs the program named by the control block, as thread 0. */
  run(): void;
  /**
   * Part of a helper thread's life: walks every program that comes after the ticket `last`. Returns the ticket of the last
   * one when none has come for `idleMs`, and -1 when the control block names program 0.
   */
  serve(thread: number, last: number, idleMs: number): number;
}

export const MAXIMUM_PAGES = 65536;
export const INITIAL_PAGES = 2;

const URLS = {
  plain: new URL('../../../wasm-cpu/build/plain.wasm', import.meta.url),
  relaxed: new URL('../../../wasm-cpu/build/relaxed.wasm', import.meta.url),
  'plain-threads': new URL('../../../wasm-cpu/build/plain-threads.wasm', import.meta.url),
  'relaxed-threads': new URL('../../../wasm-cpu/build/relaxed-threads.wasm', import.meta.url),
};

/** Longest wait for the kernels, a few kilobytes, in milliseconds. */
const PATIENCE_MS = 30_000;

/** Fetches and compiles one variant. Rejects when the file is missing or does not come, or the engine refuses it. */
export async function compileKernels(relaxed: boolean, threads: boolean): Promise<WebAssembly.Module> {
  const url = URLS[`${relaxed ? 'relaxed' : 'plain'}${threads ? '-threads' : ''}`];
  return WebAssembly.compile(await within(PATIENCE_MS, fetchKernels(url)).catch(explained));
}

async function fetchKernels(url: URL): Promise<ArrayBuffer> {
  const response = await fetch(url);
  if (response.ok) return response.arrayBuffer();
  throw new Error(`The WASM kernels are missing on the server (${response.status} for ${url.pathname}).`);
}

function explained(error: unknown): never {
  if (!(error instanceof StuckError)) throw error;
  throw new Error('The server did not send the WASM kernels in time: check the connection, and load again.', {
    cause: error,
  });
}

export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): KernelExports {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  return instance.exports as unknown as KernelExports;
}
