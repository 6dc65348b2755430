/** Which backend computes a model: the person's choice, or the one that a measurement says is faster. */
import type { HyperParameters } from '../model/types.ts';
import { type BackendChoice, DeviceError } from './backend.ts';
import { messageOf } from './errors.ts';
import {
  checkAnswers,
  type MakeBackend,
  type Measurement,
  type Probed,
  probeBackend,
  tokenMs,
  withPatience,
} from './probe.ts';

export type BackendKind = 'wasm' | 'webgpu';

export interface Choice {
  kind: BackendKind;
  measurement: Measurement;
  notes: string[];
}

export interface BackendMakers extends Record<BackendKind, MakeBackend> {
  /** The name of the WebGPU adapter where it computes on the processor; undefined where it is a GPU, or none is there. */
  softwareAdapter?(): Promise<string | undefined>;
}

/** Probes each backend once and remembers what it found, also why WebGPU cannot be had. */
export interface BackendChooser {
  /**
   * Rejects with DeviceError: the failure of WASM, and, where WebGPU was asked for by name, `no-adapter`,
   * `wrong-numbers` or whatever else keeps it from working.
   */
  choose(wanted: BackendChoice, hyper: HyperParameters): Promise<Choice>;
  /** What was measured of a backend. */
  measure(kind: BackendKind): Promise<Measurement>;
}

/** @param make makers for both backends; WASM is the reference that WebGPU is held against */
export function createChooser(make: BackendMakers): BackendChooser {
  const probes = new Map<BackendKind, Promise<Probed>>();
  let software: Promise<string | undefined> | undefined;

  function probe(kind: BackendKind): Promise<Probed> {
    let probing = probes.get(kind);
    if (!probing) {
      probing = kind === 'wasm' ? probeWasm() : probeWebGpu();
      probes.set(kind, probing);
      // WASM fails only for passing reasons, such as kernels that could not be fetched.
      if (kind === 'wasm') probing.catch(() => probes.delete(kind));
    }
    return probing;
  }

  /** Threads that do not answer are lost once: the next backend does without them, and says so. */
  function probeWasm(): Promise<Probed> {
    return probeBackend(make.wasm).catch((error: unknown) => {
      if (error instanceof DeviceError && error.code === 'lost') return probeBackend(make.wasm);
      throw error;
    });
  }

  async function probeWebGpu(): Promise<Probed> {
    const reference = await probe('wasm');
    const probed = await probeBackend(make.webgpu);
    checkAnswers(reference, probed);
    return probed;
  }

  /**
   * Where WebGPU is not worth a measurement: on the processor it has no other cores than WASM, takes six times as long
   * there, and many seconds to compile.
   */
  function softwareAdapter(): Promise<string | undefined> {
    software ??= withPatience(async () => make.softwareAdapter?.());
    return software;
  }

  return {
    measure: probe,
    async choose(wanted, hyper) {
      const wasm = await probe('wasm');
      const told = wasm.note === undefined ? [] : [wasm.note];
      if (wanted === 'wasm') return { kind: 'wasm', measurement: wasm, notes: told };
      let webgpu: Probed;
      try {
        const name = wanted === 'auto' ? await softwareAdapter() : undefined;
        if (name !== undefined) {
          const why = `WASM computes: the only adapter that WebGPU has here, ${name}, is the processor too, and slower.`;
          return { kind: 'wasm', measurement: wasm, notes: [why, ...told] };
        }
        webgpu = await probe('webgpu');
      } catch (error) {
        if (wanted === 'webgpu') throw explained(error);
        const why = `WASM computes, since WebGPU cannot: ${messageOf(error)}`;
        return { kind: 'wasm', measurement: wasm, notes: [why, ...told] };
      }
      if (wanted === 'webgpu') return { kind: 'webgpu', measurement: webgpu, notes: [] };
      const times = { wasm: tokenMs(wasm, hyper), webgpu: tokenMs(webgpu, hyper) };
      const kind = times.webgpu < times.wasm ? 'webgpu' : 'wasm';
      const [faster, slower] = kind === 'webgpu' ? [webgpu, wasm] : [wasm, webgpu];
      return {
        kind,
        measurement: faster,
        notes: [
          ...(kind === 'wasm' ? told : []),
          `${named(faster)} computes, at an estimated ${rounded(times[faster.kind])} ms a token; ${named(slower)} would take ${rounded(times[slower.kind])} ms.`,
        ],
      };
    },
  };
}

/** Why the backend that was asked for by name cannot be had, and the way out. */
function explained(error: unknown): DeviceError {
  const code = error instanceof DeviceError ? error.code : 'unsupported';
  const message = `WebGPU was asked for, but cannot compute here. ${messageOf(error)}`;
  return new DeviceError(code, message, { cause: error });
}

const named = ({ kind, description }: Measurement): string =>
  kind === 'wasm' ? description : `WebGPU (${description})`;

const rounded = (ms: number): string => (ms < 10 ? ms.toFixed(1) : String(Math.round(ms)));
