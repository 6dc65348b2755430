/** What the page's address says about loading: defaults for `load()`, and the emulation that tests ask for. */
import { NUMBER_TYPES, type NumberType } from '../mesh/wire.ts';
import type { BackendChoice } from './backend.ts';

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
  /** Milliseconds that every message of the mesh is held back. */
  delayMs: number;
  /** As if the browser had no WebRTC. */
  noRtc: boolean;
}

export interface PageOptions {
  backend?: BackendChoice;
  threads?: number;
  context?: number;
  /** Name of a model to load at once. */
  model?: string;
  ratios?: string;
  wire?: NumberType;
  /** False: conduct without computing. */
  lend?: boolean;
  verify?: boolean;
  /** Time every operation, and show it. */
  profile?: boolean;
  /** How a contributing device calls itself. */
  name?: string;
  /** Bytes that a contributing device lends. */
  memory?: number;
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
  if (backend && !known) warn(`?backend=${shown(backend)} is not known: use auto, wasm or webgpu.`);
  const threads = positive(query, 'threads', warn);
  const context = positive(query, 'context', warn);
  const memory = positive(query, 'memory', warn);
  const wire = query.get('wire');
  if (wire && !isNumberType(wire)) warn(`?wire=${shown(wire)} is not known: use ${NUMBER_TYPES.join(', ')}.`);
  return {
    ...(known ? { backend } : {}),
    ...(threads ? { threads } : {}),
    ...(context ? { context } : {}),
    ...texts(query),
    ...(isNumberType(wire) ? { wire } : {}),
    ...(memory ? { memory: memory * BYTES_PER_MB } : {}),
    ...(query.has('lend') ? { lend: query.get('lend') !== '0' } : {}),
    ...(query.get('verify') === '1' ? { verify: true } : {}),
    ...(query.get('profile') === '1' ? { profile: true } : {}),
    emulation: emulation(query.get('emulate') ?? '', warn),
  };
}

/** Of a value that means nothing: links may be of any length. */
const MAX_SHOWN = 80;
const shown = (text: string): string => (text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text);

const isNumberType = (text: string | null): text is NumberType => NUMBER_TYPES.some((type) => type === text);

function texts(query: URLSearchParams): Pick<PageOptions, 'model' | 'ratios' | 'name'> {
  const [model, ratios, name] = ['model', 'ratios', 'name'].map((key) => query.get(key) || undefined);
  return { ...(model && { model }), ...(ratios && { ratios }), ...(name && { name }) };
}

function positive(query: URLSearchParams, name: string, warn: (text: string) => void): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  warn(`?${name}=${shown(text)} is not a whole number above 0.`);
  return undefined;
}

function emulation(list: string, warn: (text: string) => void): Emulation {
  const result: Emulation = { defaultLimits: false, noWebGpu: false, slowdown: 1, delayMs: 0, noRtc: false };
  for (const item of list.split(',').filter(Boolean)) {
    const [name, value] = item.split(':');
    const number = Number(value);
    if (name === 'limits' && value === 'default') result.defaultLimits = true;
    else if (name === 'nowebgpu') result.noWebGpu = true;
    else if (name === 'memory' && number > 0) result.memoryBytes = number * BYTES_PER_MB;
    else if (name === 'slow' && number >= 1) result.slowdown = number;
    else if (name === 'delay' && number >= 0) result.delayMs = number;
    else if (name === 'nortc') result.noRtc = true;
    else warn(`?emulate=${shown(item)} is not known.`);
  }
  return result;
}
