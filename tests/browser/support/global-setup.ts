import { ensureKernels } from '../../../scripts/build.ts';

/** Once before all browser tests: every server that they start needs the WASM kernels. */
export default function globalSetup(): Promise<void> {
  return ensureKernels();
}
