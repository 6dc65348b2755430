/** One after another: work that must not overlap waits for its turn. */
export interface Turns {
  /** Runs `work` when everything that came before is over; gives what it gives. */
  take<T>(work: () => Promise<T>): Promise<T>;
}

export function createTurns(): Turns {
  let last: Promise<unknown> = Promise.resolve();
  return {
    take(work) {
      const mine = last.then(work);
      last = mine.catch(() => undefined);
      return mine;
    },
  };
}
