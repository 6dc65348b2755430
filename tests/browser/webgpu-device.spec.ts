import type * as Device from './kernels/device.ts';
import { expect, test } from './support/test.ts';

/** Dispatches a layer and around them (embedding, last norm, head, candidates twice) that decoding may take. */
const DISPATCHES_PER_LAYER = 8;
const OTHER_DISPATCHES = 5;
/** Bytes of 40 candidates. */
const READ_BYTES = 400;
const LAYERS = 2;

type Check = Exclude<keyof typeof Device, 'default'>;

for (const [title, name, verify] of [
  [
    'one submit and one small readback a token, few dispatches',
    'countCalls',
    (found: Awaited<ReturnType<typeof Device.countCalls>>) => {
      expect(found.submits).toBe(10);
      expect(found.maps).toBe(10);
      expect(found.mappedBytes).toBeLessThanOrEqual(10 * READ_BYTES);
      // One token more is recorded than computed: from the third on, all but the look-up is there before the token is known.
      expect(found.dispatches).toBeLessThanOrEqual(11 * (LAYERS * DISPATCHES_PER_LAYER + OTHER_DISPATCHES));
      expect(found.late.slice(2)).toEqual(Array(8).fill(1));
    },
  ],
  [
    'commands recorded ahead are forgotten when shares change',
    'changedShares',
    (found: Awaited<ReturnType<typeof Device.changedShares>>) => {
      expect(found.after).toEqual(found.again);
      expect(found.after).not.toEqual(found.before);
    },
  ],
  [
    'a lost device rejects what runs and what follows',
    'loseDevice',
    (found: Awaited<ReturnType<typeof Device.loseDevice>>) => {
      expect(found.lost).toMatch(/closed|fault/);
      for (const failure of [found.running, found.run, found.readKv, found.addTile]) expect(failure.code).toBe('lost');
    },
  ],
  [
    'an error that no scope catches ends the backend',
    'uncapturedError',
    (found: Awaited<ReturnType<typeof Device.uncapturedError>>) => {
      expect(found.lost).toContain('fault');
      expect(found.run.code).toBe('lost');
    },
  ],
  [
    'a tile that does not fit says so and harms nothing',
    'outOfMemory',
    (found: Awaited<ReturnType<typeof Device.outOfMemory>>) => {
      expect(found.tooLarge).toEqual({ code: 'memory', message: expect.stringContaining('MiB') });
      expect(found.noMemory).toEqual({ code: 'memory', message: expect.stringContaining('too little memory') });
      expect(found.usable).toBe(true);
    },
  ],
  [
    'KV heads that stay keep their contents',
    'keepKv',
    (found: Awaited<ReturnType<typeof Device.keepKv>>) => {
      expect(found).toMatchObject({ swapped: true, shrunk: true, written: true, notZero: true });
      expect(found.gone.code).toBe('unsupported');
      const [before, grown, dropped] = found.kv;
      expect(grown!).toBeGreaterThan(before!);
      expect(dropped! * 2).toBe(before);
    },
  ],
  [
    'batches, single tokens and empty shares agree',
    'stepsAgree',
    (found: Awaited<ReturnType<typeof Device.stepsAgree>>) => {
      expect(found.difference / found.largest).toBeLessThan(3e-4);
      expect(found.silent).toBe(0);
      expect(found.empty).toBe(true);
    },
  ],
  [
    'no adapter is explained',
    'noAdapter',
    (found: Awaited<ReturnType<typeof Device.noAdapter>>) => {
      expect(found.off).toEqual({ code: 'no-adapter', message: expect.stringContaining('no WebGPU') });
      expect(found.none).toEqual({ code: 'no-adapter', message: expect.stringContaining('hardware acceleration') });
    },
  ],
  [
    'dropped tiles give their memory back',
    'tileMemory',
    (found: Awaited<ReturnType<typeof Device.tileMemory>>) => {
      expect(found.tileBytes).toBe((64 * 64 * 24) / 32);
      expect(found.refilled).toBe(found.full);
      expect(found.empty).toBe(0);
    },
  ],
] as const) {
  test(`WebGPU: ${title}`, async ({ sharedModulePage: page }) => {
    const found = await page.evaluate(async (name: Check) => {
      const path = '/tests/browser/kernels/device.ts';
      const device = (await import(path)) as typeof Device;
      return device[name]();
    }, name);
    verify(found as never);
  });
}
