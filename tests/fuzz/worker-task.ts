/** What the thread of a target is told, and what it tells. */

/** Place in the shared memory: the number of the case under way, from 1 on; 0 between two of them. */
export const CASE = 0;

export interface WorkerTask {
  /** Address of a module that exports `make: MakeTarget`. */
  module: string;
  runs: number;
  seed: number;
  shared: SharedArrayBuffer;
  /** Print this case of the seed instead of running any. */
  show?: number;
}

export type WorkerReport = { ok: true; runs: number } | { ok: false; text: string } | { shown: string };
