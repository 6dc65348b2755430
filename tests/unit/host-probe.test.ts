import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Backend, type BackendOptions, DeviceError } from '../../web/device/backend.ts';
import { createChooser } from '../../web/device/choose-backend.ts';
import { createOwnBackend } from '../../web/device/own-backend.ts';
import {
  checkAnswers,
  disagreement,
  type MakeBackend,
  probeBackend,
  tokenMacs,
  tokenMs,
} from '../../web/device/probe.ts';
import type { HyperParameters } from '../../web/model/types.ts';
import { createReferenceBackend } from '../kernels/reference-backend.ts';

const reference = async (options: BackendOptions): Promise<Backend> =>
  createReferenceBackend({ ...options, rounding: true });

const MODEL = { dim: 64, heads: 4, kvHeads: 4, headDim: 16, ffn: 64, layers: 1, vocab: 64 } as HyperParameters;

describe('the probe', () => {
  it('measures a backend and believes one that agrees', async () => {
    const whole = await probeBackend(reference);
    expect(whole.gmacs).toBeGreaterThan(0);
    expect(whole.readbackMs).toBeGreaterThan(0);
    expect(whole.answers.map((values) => values.length)).toEqual([8 * 512, 512]);
    // Answers must be able to show a fault: neither zero nor constant.
    expect(new Set(whole.answers[1]).size).toBeGreaterThan(500);

    const altered = (spoil: (values: Float32Array) => Float32Array) => ({
      ...whole,
      answers: whole.answers.map(spoil),
    });
    const rounded = altered((values) => values.map((value, i) => value * (1 + 1e-5 * Math.sin(i))));
    expect(() => checkAnswers(whole, rounded)).not.toThrow();

    for (const spoil of [
      (values: Float32Array) => values.map((value, i) => (i % 64 === 0 ? value * 1.2 : value)),
      (values: Float32Array) => values.map(() => 0),
      (values: Float32Array) => values.map((value, i) => (i === 3 ? Number.NaN : value)),
    ]) {
      expect(() => checkAnswers(whole, altered(spoil))).toThrow(expect.objectContaining({ code: 'wrong-numbers' }));
    }
  });

  it('compares answers of the same shape only', () => {
    expect(disagreement([Float32Array.of(1, 2)], [Float32Array.of(1)])).toBe(Number.POSITIVE_INFINITY);
    expect(disagreement([Float32Array.of(1, 2)], [])).toBe(Number.POSITIVE_INFINITY);
    expect(disagreement([Float32Array.of(3, 4)], [Float32Array.of(3, 4)])).toBe(0);
  });

  it('estimates a token: SmolLM2-135M has 134.5 M multiplications', () => {
    const smollm2 = { dim: 576, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536, layers: 30, vocab: 49152 };
    const hyper = { ...smollm2, architecture: 'llama' as const } as Parameters<typeof tokenMacs>[0];
    expect(tokenMacs(hyper)).toBe(134_479_872);
    const slowReadback = { kind: 'webgpu' as const, description: '', threads: 1, gmacs: 100, readbackMs: 100 };
    expect(tokenMs(slowReadback, hyper)).toBeGreaterThan(tokenMs({ ...slowReadback, gmacs: 10, readbackMs: 0 }, hyper));
  });
});

describe('WebGPU that runs on the processor', () => {
  const softwareAdapter = vi.fn(async (): Promise<string | undefined> => 'Emulator (software)');

  it('is not measured, unless it is asked for by name', async () => {
    const webgpu = vi.fn<MakeBackend>(async (options) => Object.assign(await reference(options), { kind: 'webgpu' }));
    const chooser = createChooser({ wasm: reference, webgpu, softwareAdapter });
    const { kind, notes } = await chooser.choose('auto', MODEL);
    expect(kind).toBe('wasm');
    expect(notes.join()).toMatch(/WASM computes.*Emulator \(software\)/);
    await chooser.choose('wasm', MODEL);
    expect(webgpu).not.toHaveBeenCalled();
    expect((await chooser.choose('webgpu', MODEL)).kind).toBe('webgpu');
    expect(webgpu).toHaveBeenCalledTimes(1);
    expect(softwareAdapter).toHaveBeenCalledTimes(1);
  });

  it('a browser that does not say what it is computes with WASM, and so does one that never says it', async () => {
    const broken = vi.fn(() => Promise.reject(new TypeError('info is undefined')));
    const { kind, notes } = await createChooser({ wasm: reference, webgpu: reference, softwareAdapter: broken }).choose(
      'auto',
      MODEL,
    );
    expect([kind, notes.join()]).toEqual(['wasm', expect.stringContaining('info is undefined')]);

    const silent = createChooser({ wasm: reference, webgpu: reference, softwareAdapter: () => new Promise(() => {}) });
    await silent.measure('wasm');
    vi.useFakeTimers();
    try {
      const choosing = silent.choose('auto', MODEL);
      await vi.advanceTimersByTimeAsync(60_000);
      expect((await choosing).notes.join()).toContain('did not answer');
    } finally {
      vi.useRealTimers();
    }
  });

  it('a GPU is measured', async () => {
    softwareAdapter.mockResolvedValue(undefined);
    const webgpu = vi.fn<MakeBackend>(() => Promise.reject(new DeviceError('lost', 'asked for')));
    const { notes } = await createChooser({ wasm: reference, webgpu, softwareAdapter }).choose('auto', MODEL);
    expect(notes.join()).toContain('asked for');
  });
});

const NOTE = 'One thread computes, since a helper thread did not start.';
/** A device that has less than was asked for. */
const lesser: MakeBackend = async (options) => Object.assign(await reference(options), { note: NOTE, threads: 1 });
const never: MakeBackend = () => new Promise(() => {});
const OPTIONS: BackendOptions = { hyper: MODEL, context: 8, maxBatch: 1 };

describe('a device that has less than was asked for', () => {
  it('says so when it was chosen', async () => {
    const chooser = createChooser({ wasm: lesser, webgpu: () => Promise.reject(new Error('none here')) });
    expect((await chooser.choose('wasm', MODEL)).notes).toEqual([NOTE]);
    expect((await chooser.choose('auto', MODEL)).notes).toEqual([expect.stringContaining('none here'), NOTE]);
  });

  it('is measured again when it lost threads while it was measured', async () => {
    let made = 0;
    const wasm: MakeBackend = async (options) => {
      const backend = await lesser(options);
      if (made++ > 0) return backend;
      return { ...backend, run: () => Promise.reject(new DeviceError('lost', 'a helper thread does not answer')) };
    };
    expect((await createChooser({ wasm, webgpu: never }).choose('wasm', MODEL)).notes).toEqual([NOTE]);
    expect(made).toBe(2);

    const refuse = vi.fn(() => Promise.reject(new DeviceError('unsupported', 'no SIMD')));
    await expect(createChooser({ wasm: refuse, webgpu: never }).choose('wasm', MODEL)).rejects.toThrow('no SIMD');
    expect(refuse).toHaveBeenCalledTimes(1);
  });

  it('says so when it became less afterwards, and its threads are counted anew', async () => {
    let wasm = reference;
    const make = { wasm: (options: BackendOptions) => wasm(options), webgpu: never };
    const notes: string[] = [];
    const own = createOwnBackend({
      ...{ wanted: 'wasm', chooser: createChooser(make), make, note: (text) => notes.push(text) },
    });
    expect((await own.choose(MODEL)).notes).toEqual([]);
    const { threads } = await own.make(OPTIONS);
    expect(own.measurement?.threads).toBe(threads);
    expect(notes).toEqual([]);
    wasm = async (options) => Object.assign(await lesser(options), { kind: 'wasm', threads: threads + 1 });
    await own.make(OPTIONS);
    await own.make(OPTIONS);
    expect(notes).toEqual([NOTE]);
    expect(own.measurement?.threads).toBe(threads + 1);
  });
});

describe('a device that never answers', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('does not hold up the measurement', async () => {
    vi.useFakeTimers();
    const probing = probeBackend(never);
    const refused = expect(probing).rejects.toMatchObject({ code: 'lost' });
    await vi.advanceTimersByTimeAsync(60_000);
    await refused;
  });

  it('does not hold up the load: WASM computes, and what comes too late is destroyed', async () => {
    const webgpu = vi.fn<MakeBackend>(async (options) => Object.assign(await reference(options), { kind: 'webgpu' }));
    const make = { wasm: reference, webgpu };
    const notes: string[] = [];
    const own = createOwnBackend({
      ...{ wanted: 'auto', make, note: (text) => notes.push(text) },
      // As if WebGPU were the faster one.
      chooser: {
        measure: (kind) => probeBackend(make[kind]),
        choose: async () => ({ kind: 'webgpu', measurement: await probeBackend(webgpu), notes: [] }),
      },
    });
    await own.choose(MODEL);
    let late: (backend: Backend) => void = () => {};
    webgpu.mockImplementation(() => new Promise((resolve) => (late = resolve)));
    vi.useFakeTimers();
    const making = own.make(OPTIONS);
    await vi.advanceTimersByTimeAsync(60_000);
    vi.useRealTimers();
    expect((await making).kind).not.toBe('webgpu');
    expect(notes).toEqual([expect.stringMatching(/^WASM computes, since WebGPU could not be started: .*60 seconds/)]);
    const destroy = vi.fn();
    late({ ...(await reference(OPTIONS)), destroy });
    await vi.waitFor(() => expect(destroy).toHaveBeenCalledTimes(1));
  });
});
