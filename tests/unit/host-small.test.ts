/** The host's small pure functions. */
import { describe, expect, it } from 'vitest';
import { browserName } from '../../web/device/browser-name.ts';
import { pageOptions } from '../../web/device/page-options.ts';
import { contextSize } from '../../web/host/context-size.ts';
import { checkEvaluate, checkGenerate, checkLoad } from '../../web/host/requests.ts';
import type { HyperParameters } from '../../web/model/types.ts';

describe('the size of the context', () => {
  const hyper = { context: 8192 } as HyperParameters;
  const kvBytes = 30 * 3 * (2 * 64 * 2 + 2 * 4);
  const needs = (bytes: number, hard: boolean) => ({
    ...{ name: 'this device', part: 'weights and context', weightBytes: 1e8, kvBytes },
    limit: { bytes, hard },
  });
  const plenty = [needs(8e9, false)];

  it('is 4096 unless the model has less or the caller wants another', () => {
    expect(contextSize(hyper, undefined, plenty)).toMatchObject({ context: 4096 });
    expect(contextSize(hyper, undefined, plenty).notes.join()).toMatch(/4096 of the model's 8192/);
    expect(contextSize({ ...hyper, context: 2048 }, undefined, plenty)).toEqual({ context: 2048, notes: [] });
    expect(contextSize(hyper, 8192, plenty)).toEqual({ context: 8192, notes: [] });
    expect(contextSize(hyper, 9000, plenty).notes.join()).toMatch(/made for 8192, not 9000/);
  });

  it('shrinks to what fits the smallest device, and says so', () => {
    const { context, notes } = contextSize(hyper, undefined, [...plenty, needs(1.5e8, true)]);
    expect(context).toBe(Math.floor((1.5e8 * 0.9 - 1e8) / kvBytes));
    expect(notes.join()).toMatch(/instead of 4096/);
  });

  it('is refused by a hard limit, saying how much is missing, but not by an estimate', () => {
    expect(() => contextSize(hyper, undefined, [needs(6e7, true)])).toThrow(/118 MB.*60 MB.*58 MB are missing/);
    expect(contextSize(hyper, undefined, [needs(6e7, false)]).context).toBe(256);
  });
});

describe("the page's options", () => {
  const read = (search: string) => {
    const warnings: string[] = [];
    return { ...pageOptions(search, (text) => warnings.push(text)), warnings };
  };

  it('are read from the query', () => {
    expect(
      read('?model=x&backend=wasm&threads=2&context=512&emulate=limits:default,nowebgpu,memory:60,slow:3,delay:5'),
    ).toEqual({
      ...{ backend: 'wasm', threads: 2, context: 512, model: 'x', warnings: [] },
      emulation: { defaultLimits: true, noWebGpu: true, memoryBytes: 60e6, slowdown: 3, delayMs: 5, noRtc: false },
    });
    expect(read('?ratios=2:3:3&wire=q80&lend=0&verify=1&profile=1&name=Phone&memory=200&emulate=nortc')).toMatchObject({
      ...{ ratios: '2:3:3', wire: 'q80', lend: false, verify: true, profile: true, name: 'Phone', memory: 200e6 },
      emulation: { noRtc: true },
    });
    expect(read('')).toEqual({
      emulation: { defaultLimits: false, noWebGpu: false, slowdown: 1, delayMs: 0, noRtc: false },
      warnings: [],
    });
  });

  it('that mean nothing are left out with a warning', () => {
    const { warnings, ...options } = read('?backend=cuda&threads=many&context=-1&emulate=slow:0,quick');
    expect(options).toEqual({
      emulation: { defaultLimits: false, noWebGpu: false, slowdown: 1, delayMs: 0, noRtc: false },
    });
    expect(warnings).toHaveLength(5);
    expect(warnings[0]).toMatch(/cuda.*auto, wasm or webgpu/);
  });
});

describe('requests', () => {
  const refused = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      return error;
    }
    throw new Error('it was accepted');
  };

  it('are passed on when right', () => {
    const request = { prompt: 'a', maxTokens: 3, temperature: 0.7, topK: 40, topP: 0.9, minP: 0.1, seed: 1 };
    expect(checkGenerate({ ...request, stop: ['x'], reuse: false, top: 3, repetitionPenalty: 1.1 })).toMatchObject(
      request,
    );
    expect(checkGenerate({ ids: [1], maxTokens: undefined })).toMatchObject({ ids: [1] });
    expect(checkEvaluate({ ids: [1, 2], from: 1, top: 8, full: true })).toMatchObject({ from: 1 });
    expect(checkLoad({ model: new URL('http://a/b.gguf') })).toHaveProperty('model');
  });

  it.each([
    [{ prompt: 'a', temperature: -1 }, 'temperature'],
    [{ prompt: 'a', temperature: Number.NaN }, 'temperature'],
    [{ prompt: 'a', topP: 2 }, 'topP'],
    [{ prompt: 'a', maxTokens: 1.5 }, 'maxTokens'],
    [{ prompt: 'a', stop: [''] }, 'stop.0'],
    [{ prompt: 'a', seed: 0.5 }, 'seed'],
    [{ prompt: 'a', temprature: 1 }, 'temprature'],
    [{ ids: [-1] }, 'ids.0'],
    [{ messages: [{ role: 'robot', content: '' }] }, 'messages.0.role'],
    [{ messages: [] }, 'messages'],
    [{}, 'exactly one'],
    [{ prompt: 'a', ids: [1] }, 'exactly one'],
    [undefined, 'generate()'],
  ])('%j names what is wrong: %s', (request, named) => {
    expect(refused(() => checkGenerate(request))).toMatchObject({
      code: 'bad-request',
      message: expect.stringContaining(named),
    });
  });

  it('refuse a model that is none of the three', () => {
    expect(refused(() => checkLoad({ model: 3 }))).toMatchObject({ code: 'bad-request' });
    expect(refused(() => checkLoad({ model: 'a', backend: 'cuda' }))).toMatchObject({ code: 'bad-request' });
    expect(refused(() => checkEvaluate({ ids: [] }))).toMatchObject({ code: 'bad-request' });
  });
});

describe('the name of a browser', () => {
  it.each([
    [
      'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36',
      'Chrome 156 on Linux',
    ],
    ['Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0', 'Firefox 153 on Linux'],
    [
      'Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36',
      'Chrome 140 on Android',
    ],
    [
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1',
      'Safari 18 on iOS',
    ],
    [
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0',
      'Edge 140 on Windows',
    ],
    ['curl/8', 'Unknown browser'],
  ])('%s', (userAgent, name) => {
    expect(browserName(userAgent)).toBe(name);
  });
});
