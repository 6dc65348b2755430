import { ensureKernels } from '../../../scripts/build.ts';
import { removeAbandonedScratch } from './scratch.ts';

/** Once before all browser tests: every server that they start needs the WASM kernels. */
export default function globalSetup(): Promise<void> {
  removeAbandonedScratch();
  return ensureKernels();
}
