/** The engine in its Worker: the world as it is in a browser, around `createEngine`. */
import { expose } from 'comlink';
import { openShardStore } from '../device/store/store.ts';
import { createWasmBackend } from '../device/wasm/index.ts';
import { createWebGpuBackend } from '../device/webgpu/index.ts';
import { browserName } from '../device/browser-name.ts';
import { createEngine } from './engine.ts';
import type { EngineMessage } from './engine-types.ts';
import { codeOf, messageOf } from '../device/errors.ts';
import { listModels } from './list-models.ts';
import { openModel } from './open-model.ts';
import { slowBackend } from '../device/slow-backend.ts';
import { carryErrorCodes } from '../device/transfer.ts';

/** Threads beyond the memory's bandwidth only take power. */
const MOST_THREADS = 8;
/** Part of a device's memory that one page may well use. */
const MEMORY_PART = 0.5;
/** Where the browser does not say: a phone of these years. */
const UNKNOWN_MEMORY_BYTES = 4 * 2 ** 30;

const send = (message: EngineMessage): void => self.postMessage(message);

carryErrorCodes();
self.addEventListener('unhandledrejection', (event) => {
  event.preventDefault();
  const text = `Something went wrong in the engine: ${messageOf(event.reason)}`;
  send({ event: 'log', detail: { level: 'error', text, code: codeOf(event.reason) } });
});

expose(
  createEngine({
    emit: (event, detail) => send({ event, detail }),
    openModel,
    listModels,
    openStore: (onNote) => openShardStore({ onNote }),
    browser: browserName(navigator.userAgent),
    backends({ threads = Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1), emulation }) {
      const { noWebGpu, defaultLimits, slowdown } = emulation;
      return {
        wasm: async (options) => slowBackend(await createWasmBackend({ ...options, threads }), slowdown),
        webgpu: async (options) =>
          slowBackend(await createWebGpuBackend({ ...options, noWebGpu, defaultLimits }), slowdown),
      };
    },
    memoryLimit({ emulation }) {
      if (emulation.memoryBytes) return { bytes: emulation.memoryBytes, hard: true };
      // Chromium says it, in GiB and rounded; the others do not.
      const { deviceMemory } = navigator as { deviceMemory?: number };
      const bytes = deviceMemory ? deviceMemory * 2 ** 30 : UNKNOWN_MEMORY_BYTES;
      return { bytes: bytes * MEMORY_PART, hard: false };
    },
  }),
);
