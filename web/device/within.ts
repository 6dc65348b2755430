/** Waits that end. */
import { deferred } from './deferred.ts';

/** What was waited for gave no answer in time. */
export class StuckError extends Error {
  override readonly name = 'StuckError';
}

/** Longest until a Worker answers for the first time, in milliseconds: its script may come over a slow line. */
const START_PATIENCE_MS = 60_000;

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

/**
 * Rejects with StuckError when a Worker has not answered its first question in time: a script that never comes gives neither
 * an answer nor an error. Any answer will do.
 */
export async function started(answer: Promise<unknown>): Promise<void> {
  const answered = answer.then(
    () => undefined,
    () => undefined,
  );
  await within(START_PATIENCE_MS, answered).catch(() => {
    throw new StuckError(`has not started in ${START_PATIENCE_MS / 1000} s`);
  });
}
