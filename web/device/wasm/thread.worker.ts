/** A helper thread of the kernels. */
import { nextTask } from '../pause.ts';
import { instantiateKernels } from './kernels.ts';

/**
 * Without work for so long, in milliseconds, a helper returns to its event loop for a moment. A browser that closes the page
 * asks there first, and keeps the memory of one that does not hear for two seconds, beside that of the page that comes next.
 */
const IDLE_MS = 100;
/** What `serve` returns in place of a ticket when the helper is to end. */
const ENOUGH = -1;

self.onmessage = async (
  event: MessageEvent<{ module: WebAssembly.Module; memory: WebAssembly.Memory; thread: number }>,
) => {
  const { module, memory, thread } = event.data;
  const kernels = instantiateKernels(module, memory);
  self.postMessage('ready');
  for (let ticket = 0; ticket !== ENOUGH; ticket = kernels.serve(thread, ticket, IDLE_MS)) await nextTask();
};
