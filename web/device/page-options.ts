/** What the page's address says about loading: defaults for `load()`, and the emulation that tests ask for. */
import type { BackendChoice } from '../api.ts';

/** Conditions played for tests (`&emulate=`); a mesh has more of them. */
export interface Emulation {
  /** WebGPU with the specification's default limits. */
  defaultLimits: boolean;
  /** As if the browser had no WebGPU. */
  noWebGpu: boolean;
  /** Bytes that this device may use. */
  memoryBytes?: number;
  /** Computes this many times slower. */
  slowdown: number;
}

export interface PageOptions {
  backend?: BackendChoice;
  threads?: number;
  context?: number;
  emulation: Emulation;
}

const BYTES_PER_MB = 1e6;

/**
 * Reads `?backend=…&threads=…&context=…&emulate=…`.
 * @param warn told about every value that means nothing; it is left out
 */
export function pageOptions(search: string, warn: (text: string) => void): PageOptions {
  const query = new URLSearchParams(search);
  const backend = query.get('backend');
  const known = backend === 'auto' || backend === 'wasm' || backend === 'webgpu';
  if (backend && !known) warn(`?backend=${backend} is not known: use auto, wasm or webgpu.`);
  const threads = positive(query, 'threads', warn);
  const context = positive(query, 'context', warn);
  return {
    ...(known ? { backend } : {}),
    ...(threads ? { threads } : {}),
    ...(context ? { context } : {}),
    emulation: emulation(query.get('emulate') ?? '', warn),
  };
}

function positive(query: URLSearchParams, name: string, warn: (text: string) => void): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  warn(`?${name}=${text} is not a whole number above 0.`);
  return undefined;
}

function emulation(list: string, warn: (text: string) => void): Emulation {
  const result: Emulation = { defaultLimits: false, noWebGpu: false, slowdown: 1 };
  for (const item of list.split(',').filter(Boolean)) {
    const [name, value] = item.split(':');
    const number = Number(value);
    if (name === 'limits' && value === 'default') result.defaultLimits = true;
    else if (name === 'nowebgpu') result.noWebGpu = true;
    else if (name === 'memory' && number > 0) result.memoryBytes = number * BYTES_PER_MB;
    else if (name === 'slow' && number >= 1) result.slowdown = number;
    // `delay` and `nortc` are the mesh's.
    else if (name !== 'delay' && name !== 'nortc') warn(`?emulate=${item} is not known.`);
  }
  return result;
}
