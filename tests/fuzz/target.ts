import type fc from 'fast-check';

/** One thing that is given hostile input. */
export interface Target<T = unknown> {
  cases: fc.Arbitrary<T>;
  /**
   * Gives one case to what is tested. Resolves where it is taken, or refused by the right class of error; throws or
   * rejects otherwise.
   */
  run(value: T): void | Promise<void>;
}

/** How a target comes about: some need a server or a model first. */
export type MakeTarget = () => Promise<Target>;

/** Keeps the value's type to the target; the table has targets of all types. */
export function target<T>(made: Target<T>): Target {
  return made as Target;
}

/** Takes the errors that hostile input may end in; throws any other on. */
export function allow(error: unknown, ...classes: (abstract new (...args: never[]) => Error)[]): void {
  if (!classes.some((each) => error instanceof each)) throw error;
}

/** Fails a case, with what was wrong. */
export function check(right: boolean, wrong: string): asserts right {
  if (!right) throw new Error(wrong);
}
