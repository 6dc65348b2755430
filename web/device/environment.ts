/** What this browser offers for computing, under the conditions that tests may play (`&emulate=`). */

import type { BackendMakers } from './choose-backend.ts';
import type { Emulation } from './page-options.ts';
import { slowBackend } from './slow-backend.ts';
import { createWasmBackend } from './wasm/index.ts';
import { createWebGpuBackend, softwareAdapter } from './webgpu/index.ts';

/** Threads beyond the memory's bandwidth only take power. */
const MOST_THREADS = 8;
/** Part of a device's memory that one page may well use. */
const MEMORY_PART = 0.5;
/** Where the browser does not say: a phone of these years. */
const UNKNOWN_MEMORY_BYTES = 4 * 2 ** 30;

export interface MemoryLimit {
  bytes: number;
  /** A limit that must hold; otherwise an estimate, which may cap the context but never refuses a model. */
  hard: boolean;
}

/** Makers of both backends, and what is known of WebGPU without one. */
export function browserBackends(conditions: { threads?: number | undefined; emulation: Emulation }): BackendMakers {
  const { threads = Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1), emulation } = conditions;
  const { noWebGpu, defaultLimits, slowdown } = emulation;
  return {
    wasm: async (options) => slowBackend(await createWasmBackend({ ...options, threads }), slowdown),
    webgpu: async (options) =>
      slowBackend(await createWebGpuBackend({ ...options, noWebGpu, defaultLimits }), slowdown),
    softwareAdapter: () => softwareAdapter({ noWebGpu }),
  };
}

export function browserMemory({ memoryBytes }: Emulation): MemoryLimit {
  if (memoryBytes) return { bytes: memoryBytes, hard: true };
  // Chromium says it, in GiB and rounded; the others do not.
  const { deviceMemory } = navigator as { deviceMemory?: number };
  const bytes = deviceMemory ? deviceMemory * 2 ** 30 : UNKNOWN_MEMORY_BYTES;
  return { bytes: bytes * MEMORY_PART, hard: false };
}
