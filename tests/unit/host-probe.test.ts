import { describe, expect, it } from 'vitest';
import type { Backend, BackendOptions } from '../../web/device/backend.ts';
import { checkAnswers, disagreement, probeBackend, tokenMacs, tokenMs } from '../../web/device/probe.ts';
import { createReferenceBackend } from '../kernels/reference-backend.ts';

const reference = async (options: BackendOptions): Promise<Backend> =>
  createReferenceBackend({ ...options, rounding: true });

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
