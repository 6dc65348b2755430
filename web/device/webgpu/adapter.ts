import { DeviceError } from '../backend.ts';

/** Knobs of the adapter, most of them for tests (`&emulate=` of the pages). */
export interface AdapterOptions {
  /** Behave like a device that has only the specification's default limits and no optional feature. */
  defaultLimits?: boolean;
  /** Behave like a browser without WebGPU. */
  noWebGpu?: boolean;
  powerPreference?: GPUPowerPreference;
  /** Ask for timestamps too, where the adapter has them. */
  profile?: boolean;
}

/** A device that is ready for the backend. */
export interface WebGpuDevice {
  device: GPUDevice;
  /** In words, for people: `SwiftShader (software)`. */
  name: string;
  /** The adapter computes on the CPU. */
  software: boolean;
}

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|warp|basic render/i;

/**
 * Asks the browser for a WebGPU device with the limits that help: larger storage bindings, nothing else.
 * Rejects with DeviceError `no-adapter`, which says why there is none and what the person can do.
 */
export async function requestWebGpuDevice(options: AdapterOptions = {}): Promise<WebGpuDevice> {
  const adapter = await requestAdapter(options);
  const requiredLimits: Record<string, number> = options.defaultLimits
    ? {}
    : {
        maxStorageBufferBindingSize: adapter.limits.maxStorageBufferBindingSize,
        maxBufferSize: adapter.limits.maxBufferSize,
      };
  try {
    const timestamps = options.profile && !options.defaultLimits && adapter.features.has('timestamp-query');
    const requiredFeatures: GPUFeatureName[] = timestamps ? ['timestamp-query'] : [];
    const device = await adapter.requestDevice({ requiredLimits, requiredFeatures, label: 'edgevisor' });
    return { device, ...described(adapter) };
  } catch (cause) {
    throw new DeviceError('no-adapter', `The graphics adapter gave no WebGPU device: ${words(cause)}`, { cause });
  }
}

/**
 * The name of the adapter where it computes on the CPU, without making a device of it; undefined where it is a GPU, or where
 * there is none.
 */
export async function softwareAdapter(options: AdapterOptions = {}): Promise<string | undefined> {
  try {
    const { name, software } = described(await requestAdapter(options));
    return software ? name : undefined;
  } catch (error) {
    // Why there is none, `requestWebGpuDevice` says.
    if (error instanceof DeviceError) return undefined;
    throw error;
  }
}

async function requestAdapter(options: AdapterOptions): Promise<GPUAdapter> {
  const gpu = options.noWebGpu ? undefined : (globalThis.navigator as Navigator | undefined)?.gpu;
  if (!gpu) throw new DeviceError('no-adapter', whyNoWebGpu(options));
  let adapter: GPUAdapter | null;
  try {
    adapter = await gpu.requestAdapter({ powerPreference: options.powerPreference ?? 'high-performance' });
  } catch (cause) {
    throw new DeviceError('no-adapter', `The browser refused access to the GPU: ${words(cause)}`, { cause });
  }
  if (adapter) return adapter;
  throw new DeviceError(
    'no-adapter',
    'The browser has WebGPU but offers no graphics adapter: turn on hardware acceleration in its settings, ' +
      'update the graphics driver, or compute on the CPU (backend=wasm).',
  );
}

function described({ info }: GPUAdapter): Pick<WebGpuDevice, 'name' | 'software'> {
  const name = adapterName(info);
  const software = info.isFallbackAdapter || SOFTWARE.test(name);
  return { name: software ? `${name} (software)` : name, software };
}

function whyNoWebGpu(options: AdapterOptions): string {
  if (!options.noWebGpu && globalThis.isSecureContext === false) {
    return 'WebGPU exists only on https pages and on localhost: open the https address, or compute on the CPU (backend=wasm).';
  }
  return 'This browser has no WebGPU: use a current Chrome, Edge, Firefox or Safari, or compute on the CPU (backend=wasm).';
}

function adapterName(info: GPUAdapterInfo): string {
  const parts = [info.description, info.vendor, info.architecture, info.device].filter((part) => part !== '');
  return info.description || parts.join(' ') || 'unnamed adapter';
}

/** What an unknown error says. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
