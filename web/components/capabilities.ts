/** What this browser, as it stands, can and cannot do for us, in words. */

export interface Capability {
  name: string;
  /** `missing`: no model can run; `limited`: it works, with the loss that `text` names. */
  level: 'good' | 'limited' | 'missing';
  text: string;
}

/** What `capabilities` looks at; the page gives `globalThis`. */
export interface Surroundings {
  WebAssembly?: Pick<typeof WebAssembly, 'validate'>;
  SharedArrayBuffer?: unknown;
  crossOriginIsolated?: boolean;
  isSecureContext?: boolean;
  indexedDB?: unknown;
  navigator?: { gpu?: unknown; hardwareConcurrency?: number };
}

/** `(func (result v128) i32.const 0, i8x16.splat, i8x16.popcnt)`: valid only where SIMD is. */
const SIMD_MODULE = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x0a, 0x0a, 0x01, 0x08, 0x00, 0x41, 0x00, 0xfd, 0x0f, 0xfd, 0x62, 0x0b],
);

const processor = (around: Surroundings): Capability => {
  const name = 'Processor';
  if (!around.WebAssembly) {
    return {
      name,
      level: 'missing',
      text: 'WebAssembly is switched off or missing, and models cannot run without it. Lockdown and enhanced security modes switch it off; allow this site, or use another browser.',
    };
  }
  if (!around.WebAssembly.validate(SIMD_MODULE)) {
    return {
      name,
      level: 'missing',
      text: 'WebAssembly SIMD is missing, and models cannot run without it. Update this browser (Chrome 91, Firefox 89, Safari 16.4 or later), or turn on its just-in-time compiler.',
    };
  }
  return { name, level: 'good', text: 'WebAssembly with SIMD.' };
};

const threads = (around: Surroundings): Capability => {
  const name = 'Threads';
  if (around.crossOriginIsolated && around.SharedArrayBuffer) {
    const cores = around.navigator?.hardwareConcurrency ?? 1;
    return { name, level: 'good', text: cores === 1 ? 'One processor core.' : `${cores} processor cores.` };
  }
  return {
    name,
    level: 'limited',
    text: around.isSecureContext
      ? 'One thread only, because the server did not isolate this page (it must send the COOP and COEP headers). Answers are slower.'
      : 'One thread only, because this page came over plain http. Open it by its https address, or as localhost, for full speed.',
  };
};

const graphics = (around: Surroundings): Capability => {
  const name = 'Graphics';
  if (around.navigator?.gpu) return { name, level: 'good', text: 'WebGPU is there; it is measured before it is used.' };
  return {
    name,
    level: 'limited',
    text: around.isSecureContext
      ? 'No WebGPU in this browser, so the processor does all the work.'
      : 'No WebGPU, because browsers offer it only over https or on localhost. The processor does all the work.',
  };
};

const storage = (around: Surroundings): Capability => {
  const name = 'Storage';
  return around.indexedDB
    ? { name, level: 'good', text: 'Models and chats can be kept in this browser.' }
    : {
        name,
        level: 'limited',
        text: 'No IndexedDB: models are loaded anew each time, and chats are forgotten when the page closes.',
      };
};

/** One entry each for processor, threads, graphics and storage. */
export const capabilities = (around: Surroundings): Capability[] => [
  processor(around),
  threads(around),
  graphics(around),
  storage(around),
];
