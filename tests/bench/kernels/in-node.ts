/** `measureKernels` in node, one thread. A process of its own, since Node 20 has relaxed SIMD only behind a flag. */
import { readFileSync } from 'node:fs';
import { createWasmBackend } from '../../../web/device/wasm/index.ts';
import { kernelModule } from '../../support/node-model.ts';
import { type KernelsRequest, measureKernels } from './measure.ts';

export interface NodeRequest extends KernelsRequest {
  path: string;
  plain: boolean;
}

process.once('message', async ({ path, plain, ...request }: NodeRequest) => {
  const module = kernelModule(plain ? 'plain' : 'relaxed');
  const measured = await measureKernels(
    new Uint8Array(readFileSync(path)),
    (options) => createWasmBackend({ ...options, plain, threads: 1, module }),
    request,
  );
  process.send?.(measured, () => process.disconnect());
});
