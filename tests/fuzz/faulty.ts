/** Targets with faults, to see that they are found: the fault stands in the module's query. */
import fc from 'fast-check';
import { target } from './target.ts';

const FAULTS: Record<string, () => void | Promise<void>> = {
  throws: () => {
    throw new TypeError('a fault');
  },
  hangs: () => {
    for (;;);
  },
  waits: () => new Promise(() => undefined),
  grows: () => {
    const kept: string[] = [];
    for (;;) kept.push(`${kept.length}`.repeat(1000));
  },
  'fails later': () => {
    setTimeout(() => {
      throw new Error('nobody catches this');
    }, 0);
    return new Promise((resolve) => setTimeout(resolve, 1000));
  },
};

export async function make() {
  const fault = FAULTS[decodeURIComponent(new URL(import.meta.url).searchParams.get('fault') ?? '')];
  return target({ cases: fc.nat(20), run: (value) => (value === 7 ? fault?.() : undefined) });
}
