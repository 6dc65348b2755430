/** The backend that this device computes with: chosen by measuring, made anew when it fails, WASM when it fails again. */
import type { HyperParameters } from '../model/types.ts';
import { type Backend, type BackendChoice, type BackendOptions, DeviceError } from './backend.ts';
import type { BackendChooser, BackendKind } from './choose-backend.ts';
import { messageOf } from './errors.ts';
import { type MakeBackend, type Measurement, patiently } from './probe.ts';

export interface OwnBackendOptions {
  wanted: BackendChoice;
  chooser: BackendChooser;
  make: Record<BackendKind, MakeBackend>;
  /** Told when another backend than the chosen one computes. */
  note(text: string): void;
}

export interface OwnBackend {
  /** Chooses for a model, once. Rejects as the chooser does. */
  choose(hyper: HyperParameters): Promise<{ measurement: Measurement; notes: string[] }>;
  readonly measurement: Measurement | undefined;
  /** Makes the chosen backend, or WASM where WebGPU, which nobody asked for by name, cannot be made. */
  make(options: BackendOptions): Promise<Backend>;
  /**
   * Says what to try after a failure: the same backend once more where it went away, then WASM, then nothing.
   * Whoever asked for WebGPU by name gets WASM too, rather than no answer.
   */
  alternatives(failure: DeviceError): BackendKind[];
  use(kind: BackendKind): Promise<void>;
}

export function createOwnBackend({ wanted, chooser, make, note }: OwnBackendOptions): OwnBackend {
  let kind: BackendKind = 'wasm';
  let measurement: Measurement | undefined;
  let chosen: Promise<{ measurement: Measurement; notes: string[] }> | undefined;
  let again = true;

  async function use(next: BackendKind): Promise<void> {
    measurement = await chooser.measure(next);
    kind = next;
  }

  /** Says what became less since the measurement, once. */
  function tell(backend: Backend): Backend {
    if (backend.note !== undefined && backend.note !== measurement?.note) note(backend.note);
    if (measurement && kind === backend.kind && measurement.threads !== backend.threads) {
      measurement = { ...measurement, threads: backend.threads, description: backend.description, note: backend.note };
    }
    return backend;
  }

  return {
    get measurement() {
      return measurement;
    },
    choose(hyper) {
      chosen ??= chooser.choose(wanted, hyper).then((choice) => {
        kind = choice.kind;
        measurement = choice.measurement;
        return { measurement: choice.measurement, notes: choice.notes };
      });
      return chosen;
    },
    async make(options) {
      try {
        return tell(await patiently(make[kind])(options));
      } catch (error) {
        if (kind !== 'webgpu' || wanted === 'webgpu' || !(error instanceof DeviceError)) throw error;
        note(`WASM computes, since WebGPU could not be started: ${messageOf(error)}`);
        await use('wasm');
        return tell(await patiently(make.wasm)(options));
      }
    },
    alternatives(failure) {
      const order: BackendKind[] = again && failure.code === 'lost' ? [kind] : [];
      if (kind === 'webgpu') order.push('wasm');
      again = false;
      return order;
    },
    use,
  };
}
