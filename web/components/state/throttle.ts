/** Runs `work` at most once in `intervalMs`, soon after the first of the calls that wait for it. */
export interface Throttled {
  request(): void;
  /** Runs now what waits, if anything does. */
  flush(): void;
}

export const throttled = (intervalMs: number, work: () => void): Throttled => {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const run = (): void => {
    clearTimeout(timer);
    timer = undefined;
    work();
  };
  return {
    request() {
      timer ??= setTimeout(run, intervalMs);
    },
    flush() {
      if (timer !== undefined) run();
    },
  };
};
