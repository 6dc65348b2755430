/** `measureKernels` in a Worker that Vite serves: kernels with threads wait, which a page may not. */
import { createWasmBackend } from '../../../web/device/wasm/index.ts';
import type { HyperParameters } from '../../../web/model/types.ts';
import { type KernelsRequest, type KernelsTimes, measureKernels } from './measure.ts';

export interface WorkerRequest extends KernelsRequest {
  /** Address of the model's file. */
  url: string;
  plain: boolean;
  threads: number;
}

export type WorkerAnswer = { hyper: HyperParameters; times: KernelsTimes } | { error: string };

async function measure({ url, plain, threads, ...request }: WorkerRequest): Promise<WorkerAnswer> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} gave ${response.status}.`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  return measureKernels(bytes, (options) => createWasmBackend({ ...options, plain, threads }), request);
}

self.onmessage = (event: MessageEvent<WorkerRequest>) => {
  measure(event.data).then(
    (answer) => self.postMessage(answer),
    (error: unknown) => self.postMessage({ error: String(error) } satisfies WorkerAnswer),
  );
};
