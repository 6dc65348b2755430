/** How tests, acceptance runs and benchmarks start Chromium. */
import type { LaunchOptions } from '@playwright/test';
import { findBrowser } from '../../scripts/browsers.ts';

/** WebGPU on the processor, since test machines have no GPU. */
const SOFTWARE_ADAPTER = '--use-webgpu-adapter=swiftshader';

/** WebGPU; no calls home; addresses that resolve between processes. */
const FLAGS = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  SOFTWARE_ADAPTER,
  '--enable-features=Vulkan',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // Several tabs compute at once; those in the background must not be slowed down.
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
];

/**
 * For Playwright's `launch`; undefined where there is no Chromium.
 * @param gpu take the machine's GPU instead of the software adapter
 */
export function chromiumOptions({
  gpu = false,
} = {}): (LaunchOptions & { executablePath: string; args: string[] }) | undefined {
  const found = findBrowser('chromium');
  if (!found) return undefined;
  return { executablePath: found.path, args: FLAGS.filter((flag) => !gpu || flag !== SOFTWARE_ADAPTER) };
}
