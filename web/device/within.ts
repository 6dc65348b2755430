/** Waits that end. */
import { deferred } from './deferred.ts';

/** What was waited for gave no answer in time. */
export class StuckError extends Error {
  override readonly name = 'StuckError';
}

/** The wait is made of so many timers: a page that was frozen for an hour has only missed one of them. */
const SLICES = 5;

/** Rejects with StuckError when `work` takes longer than `ms` milliseconds of the page being awake. */
export function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const { promise, resolve, reject } = deferred<T>();
  let left = SLICES;
  let timer: ReturnType<typeof setTimeout>;
  const wait = () => {
    if (left-- === 0) reject(new StuckError(`No answer in ${ms / 1000} s.`));
    else timer = setTimeout(wait, ms / SLICES);
  };
  wait();
  work.then(resolve, reject);
  return promise.finally(() => clearTimeout(timer));
}
