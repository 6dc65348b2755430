export { type AdapterOptions, requestWebGpuDevice, type WebGpuDevice } from './adapter.ts';
export { createWebGpuBackend, type WebGpuOptions } from './backend.ts';
