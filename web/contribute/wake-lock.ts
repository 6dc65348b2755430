/** Keeps the screen awake while a device lends: a phone that sleeps computes nothing. */
export interface WakeLock {
  readonly held: boolean;
  hold(): void;
  release(): void;
}

/** Does nothing where the browser has no wake lock (plain http, older ones). */
export function createWakeLock(): WakeLock {
  let wanted = false;
  let sentinel: WakeLockSentinel | undefined;

  async function ask(): Promise<void> {
    if (!wanted || sentinel || document.visibilityState !== 'visible' || !('wakeLock' in navigator)) return;
    try {
      const got = await navigator.wakeLock.request('screen');
      sentinel = got;
      got.addEventListener('release', () => {
        if (sentinel === got) sentinel = undefined;
      });
      if (!wanted) void got.release();
    } catch {
      // Refused (low battery): lending goes on without.
    }
  }
  // The browser takes the lock away from a hidden page; it must be asked for again.
  document.addEventListener('visibilitychange', () => void ask());

  return {
    get held() {
      return sentinel !== undefined;
    },
    hold() {
      wanted = true;
      void ask();
    },
    release() {
      wanted = false;
      void sentinel?.release();
    },
  };
}
