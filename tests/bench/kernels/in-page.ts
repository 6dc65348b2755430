/** `measureKernels` on a page that Vite serves. */
import { createWasmBackend } from '../../../web/device/wasm/index.ts';
import type { HyperParameters } from '../../../web/model/types.ts';
import { type KernelsRequest, type KernelsTimes, measureKernels } from './measure.ts';

/** @param url address of the model's file */
export async function measureInPage(
  url: string,
  { plain, threads }: { plain: boolean; threads: number },
  request: KernelsRequest,
): Promise<{ hyper: HyperParameters; times: KernelsTimes }> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} gave ${response.status}.`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  return measureKernels(bytes, (options) => createWasmBackend({ ...options, plain, threads }), request);
}
