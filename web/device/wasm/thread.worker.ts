/** A helper thread of the kernels: never returns to its event loop while the backend lives. */
import { instantiateKernels } from './kernels.ts';

self.onmessage = (event: MessageEvent<{ module: WebAssembly.Module; memory: WebAssembly.Memory; thread: number }>) => {
  const { module, memory, thread } = event.data;
  const kernels = instantiateKernels(module, memory);
  self.postMessage('ready');
  kernels.serve(thread);
};
