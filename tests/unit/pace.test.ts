import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { asTokens, giveWay, restAfter, tokensFlow, untilQuiet } from '../../web/device/pace.ts';

let later = 0;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  // The clock begins anew in every test, but what the module remembers stays: whatever was computed before is long over.
  later += 10_000;
  vi.advanceTimersByTime(later);
});
afterEach(() => void vi.useRealTimers());

/** Whether a promise has resolved by now, timers aside. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let over = false;
  void promise.then(() => {
    over = true;
  });
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  return over;
}

/** Tokens that are computed until the function is called. */
function tokens(): () => void {
  let end: () => void = () => undefined;
  void asTokens(
    () =>
      new Promise<void>((resolve) => {
        end = resolve;
      }),
  );
  return end;
}

describe('work beside tokens', () => {
  test('tokens flow while one is computed, for a while after it, and after one that failed', async () => {
    expect(tokensFlow()).toBe(false);
    tokens()();
    await Promise.resolve();
    expect(tokensFlow()).toBe(true);
    vi.advanceTimersByTime(1000);
    expect(tokensFlow()).toBe(false);
    await expect(asTokens(() => Promise.reject(new Error('lost')))).rejects.toThrow('lost');
    expect(tokensFlow()).toBe(true);
    vi.advanceTimersByTime(1000);
    expect(tokensFlow()).toBe(false);
  });

  test('rests after a slice, made of several pieces of work, where tokens flow; else only lets messages through', async () => {
    expect(await settled(giveWay(50))).toBe(true);
    const end = tokens();
    expect(await settled(giveWay(1.5))).toBe(true);
    const rest = giveWay(1.5);
    expect(await settled(rest)).toBe(false);
    vi.advanceTimersByTime(100);
    expect(await settled(rest)).toBe(true);
    end();
  });

  test('rests after work of others in proportion to its size', async () => {
    expect(await settled(restAfter(2 ** 20, 50))).toBe(true);
    const end = tokens();
    expect(await settled(restAfter(2 ** 10, 50))).toBe(true);
    const rest = restAfter(2 ** 20, 50);
    vi.advanceTimersByTime(40);
    expect(await settled(rest)).toBe(false);
    vi.advanceTimersByTime(40);
    expect(await settled(rest)).toBe(true);
    end();
  });

  test('waits for quiet with what can wait, and no longer than that', async () => {
    const end = tokens();
    let pressing = false;
    const first = untilQuiet(() => pressing);
    vi.advanceTimersByTime(150);
    expect(await settled(first)).toBe(false);
    pressing = true;
    vi.advanceTimersByTime(150);
    expect(await settled(first)).toBe(true);
    const second = untilQuiet(() => false);
    end();
    await settled(Promise.resolve());
    for (let i = 0; i < 10; i++) {
      vi.advanceTimersByTime(150);
      await settled(Promise.resolve());
    }
    expect(await settled(second)).toBe(true);
  });
});
