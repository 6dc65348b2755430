import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { PhaseProfile } from '../../web/api.ts';
import { formatShare, formatTime, layerTableOf, linesOf } from '../../web/components/profile/profile-lines.ts';
import { ProfileSession } from '../../web/components/state/profile-session.ts';

const PHASE: PhaseProfile = {
  ...{ batches: 2, tokens: 2, totalMs: 40 },
  layers: [
    { layer: 4, ms: { down: 4, qkv: 8, wait: 2 } },
    { layer: 5, ms: { qkv: 6, down: 4 } },
  ],
  rest: { head: 10, embed: 1 },
};

describe('lines', () => {
  test('a line an operation in the order of a step, a token’s time, shares of the whole, and what is left', () => {
    expect(linesOf(PHASE)).toEqual([
      { name: 'embed', ms: 0.5, share: 0.025 },
      { name: 'qkv', ms: 7, share: 0.35 },
      { name: 'down', ms: 4, share: 0.2 },
      { name: 'wait', ms: 1, share: 0.05 },
      { name: 'head', ms: 5, share: 0.25 },
      { name: 'other', ms: 2.5, share: 0.125 },
    ]);
    expect(linesOf(PHASE).reduce((sum, { share }) => sum + share, 0)).toBe(1);
  });

  test('operations of another clock never leave less than nothing', () => {
    expect(linesOf({ ...PHASE, totalMs: 30 }).at(-1)).toEqual({ name: 'other', ms: 0, share: 0 });
  });

  test('none before there was a token', () => {
    expect(linesOf({ batches: 0, tokens: 0, totalMs: 0, layers: [], rest: {} })).toEqual([]);
  });
});

test('a row a layer, a column an operation that any layer had, with sums', () => {
  expect(layerTableOf(PHASE)).toEqual({
    columns: ['qkv', 'down', 'wait'],
    layers: [
      { layer: 4, all: 7, ms: [4, 2, 1] },
      { layer: 5, all: 5, ms: [3, 2, undefined] },
    ],
    sums: { all: 12, ms: [7, 4, 1] },
  });
});

test('times and shares keep about three digits', () => {
  expect([123.4, 12.34, 1.234, 0.1234, 0].map(formatTime)).toEqual(['123', '12.3', '1.23', '0.123', '0.000']);
  expect([1, 0.123, 0.0456, 0.0996].map(formatShare)).toEqual(['100 %', '12 %', '4.6 %', '10 %']);
});

describe('the profile while somebody looks', () => {
  const setUp = () => {
    let say: (state: string) => void = () => undefined;
    let state = 'ready';
    const profile = vi.fn(async () => [{ device: 0, timesOperations: true, prefill: PHASE, decode: PHASE }]);
    const session = new ProfileSession({
      profile,
      status: async () => ({ state, devices: [], moves: [] }),
      on(_event, listener) {
        say = listener as (state: string) => void;
        return () => undefined;
      },
    });
    const become = async (next: string) => {
      state = next;
      say(next);
      await vi.advanceTimersByTimeAsync(0);
    };
    return { session, profile, become };
  };

  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test('is read now and then during an answer, once after it, and not without a watcher', async () => {
    const { session, profile, become } = setUp();
    await become('decode');
    await vi.advanceTimersByTimeAsync(5000);
    expect(profile).not.toHaveBeenCalled();
    await become('ready');
    expect(profile).not.toHaveBeenCalled();

    const end = session.watch();
    await vi.advanceTimersByTimeAsync(0);
    expect(profile).toHaveBeenCalledTimes(1);
    await become('prefill');
    await become('decode');
    await vi.advanceTimersByTimeAsync(3500);
    expect(profile).toHaveBeenCalledTimes(4);
    await become('ready');
    expect(profile).toHaveBeenCalledTimes(5);
    await vi.advanceTimersByTimeAsync(5000);
    expect(profile).toHaveBeenCalledTimes(5);
    expect(session.profiles).toHaveLength(1);
    await become('idle');
    expect(session.profiles).toBeUndefined();
    end();
    await become('ready');
    expect(profile).toHaveBeenCalledTimes(5);
  });

  test('a failure is said, and gone when the next look succeeds', async () => {
    const { session, profile, become } = setUp();
    profile.mockRejectedValueOnce(new Error('no model'));
    session.watch();
    await vi.advanceTimersByTimeAsync(0);
    expect(session.failure).toMatchObject({ message: 'no model' });
    await become('ready');
    expect(session.failure).toBeUndefined();
  });
});
