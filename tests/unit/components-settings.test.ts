import { describe, expect, test } from 'vitest';
import { capabilities, type Surroundings } from '../../web/components/capabilities.ts';
import { parseModelAddress, parseQuery } from '../../web/components/state/query.ts';
import { clampSetting, defaultSettings, SettingsStore } from '../../web/components/state/settings.ts';

const fakeStorage = (text?: string): Storage => {
  const items = new Map(text === undefined ? [] : [['edgevisor-settings', text]]);
  return {
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => void items.set(key, value),
  } as Storage;
};

describe('settings', () => {
  test('are kept from one visit to the next', () => {
    const storage = fakeStorage();
    new SettingsStore(storage).set({ temperature: 0, seed: 7, theme: 'dark' });
    expect(new SettingsStore(storage).value).toEqual({ ...defaultSettings(), temperature: 0, seed: 7, theme: 'dark' });
  });

  test('that make no sense fall back one by one', () => {
    const stored = '{"temperature":"hot","topK":12,"backend":"cuda","threads":0}';
    expect(new SettingsStore(fakeStorage(stored)).value).toEqual({ ...defaultSettings(), topK: 12 });
    expect(new SettingsStore(fakeStorage('not JSON')).value).toEqual(defaultSettings());
    expect(new SettingsStore(fakeStorage('[1]')).value).toEqual(defaultSettings());
  });

  test('of the address hold for this page only', () => {
    const storage = fakeStorage('{"threads":4}');
    const settings = new SettingsStore(storage);
    settings.set({ threads: 1, backend: 'wasm' }, { keep: false });
    settings.set({ topK: 5 });
    expect(settings.value).toMatchObject({ threads: 1, backend: 'wasm', topK: 5 });
    expect(new SettingsStore(storage).value).toMatchObject({ threads: 4, backend: 'auto', topK: 5 });
  });

  test('work without a storage, and with one that is full', () => {
    const alone = new SettingsStore(undefined);
    alone.set({ topK: 3 });
    expect(alone.value.topK).toBe(3);
    const full = fakeStorage();
    full.setItem = () => {
      throw new Error('QuotaExceededError');
    };
    const settings = new SettingsStore(full);
    settings.set({ topK: 3 });
    expect(settings.value.topK).toBe(3);
  });

  test('an emptied setting is forgotten', () => {
    const storage = fakeStorage('{"seed":5}');
    new SettingsStore(storage).set({ seed: undefined });
    expect(new SettingsStore(storage).value.seed).toBeUndefined();
  });

  test.each([
    ['temperature', '3', 2],
    ['temperature', '0.35', 0.35],
    ['topK', '-4', 0],
    ['topK', '3.6', 4],
    ['seed', '', undefined],
    ['threads', 'many', undefined],
  ] as const)('%s typed as %j is %j', (name, text, value) => expect(clampSetting(name, text)).toBe(value));
});

describe('the address of the page', () => {
  test('names model, backend, threads, context, and asks for the profile', () => {
    expect(parseQuery('?model=a.b&backend=webgpu&threads=3&context=512&profile=1')).toEqual({
      model: 'a.b',
      backend: 'webgpu',
      threads: 3,
      context: 512,
      profile: true,
    });
    expect(parseQuery('?model=&backend=cuda&threads=x')).toEqual({});
  });

  test('a model’s address must be a whole http address', () => {
    expect(parseModelAddress('  https://a.example/m.gguf ').href).toBe('https://a.example/m.gguf');
    for (const text of ['', 'a.example/m.gguf', 'file:///m.gguf', 'javascript:alert(1)']) {
      expect(() => parseModelAddress(text)).toThrow('https://');
    }
  });
});

describe('what a browser lacks is named with its reason', () => {
  const whole: Surroundings = {
    WebAssembly,
    SharedArrayBuffer,
    crossOriginIsolated: true,
    isSecureContext: true,
    indexedDB: {},
    navigator: { gpu: {}, hardwareConcurrency: 8 },
  };
  const levels = (around: Surroundings) => capabilities(around).map(({ level }) => level);
  const words = (around: Surroundings) => capabilities(around).map(({ text }) => text);

  test('nothing', () => expect(levels(whole)).toEqual(['good', 'good', 'good', 'good']));

  test('WebAssembly, or its SIMD', () => {
    expect(levels({ ...whole, WebAssembly: undefined })[0]).toBe('missing');
    const plain = { ...whole, WebAssembly: { validate: () => false } };
    expect(levels(plain)[0]).toBe('missing');
    expect(words(plain)[0]).toContain('SIMD');
  });

  test('isolation: by a server without headers, or by plain http', () => {
    const around = { ...whole, crossOriginIsolated: false };
    expect(words(around)[1]).toContain('COOP and COEP');
    expect(words({ ...around, isSecureContext: false })[1]).toContain('https');
  });

  test('WebGPU and IndexedDB', () => {
    const around = { ...whole, navigator: { hardwareConcurrency: 2 }, indexedDB: undefined };
    expect(levels(around)).toEqual(['good', 'good', 'limited', 'limited']);
    expect(words({ ...around, isSecureContext: false })[2]).toContain('https');
  });
});
