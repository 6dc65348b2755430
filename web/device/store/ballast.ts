/**
 * Tells the garbage collector of memory that it does not see. A browser keeps its own copy of every value that goes to
 * IndexedDB or comes from it until the request is collected, and counts none of them: a load of 100 MB piles up as much.
 * What collectors do count are ArrayBuffers, even those that nobody has written to, which take no memory. So for each
 * stretch of values an untouched one is held for a while, long enough to count as old, and the browser collects in time.
 */

/** Untouched bytes for each byte of a value. */
const RATIO = 4;
/** Stretches of values for which they are held. */
const STRETCHES = 5;
/** They are let go when no value has come for so long, in milliseconds. */
const QUIET_MS = 1000;

/** Notes values of so many bytes, as a store puts or gets them. Never throws. */
export type Ballast = (bytes: number) => void;

export function createBallast(): Ballast {
  let held: ArrayBuffer[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  return (bytes) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      held = [];
    }, QUIET_MS);
    try {
      held.push(new ArrayBuffer(RATIO * bytes));
    } catch {
      // There is no address space for it: then the collector is at work already.
    }
    if (held.length > STRETCHES) held.shift();
  };
}
