export { type AdapterOptions, requestWebGpuDevice, softwareAdapter, type WebGpuDevice } from './adapter.ts';
export { createWebGpuBackend, type WebGpuOptions } from './backend.ts';
