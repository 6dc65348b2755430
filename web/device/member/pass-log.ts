/** The last forward passes of a device: where time and bytes went, told when somebody asks. */
import type { RunStats } from './stage-run.ts';

/** Epoch, position, tokens, microseconds of computing and of waiting for other members, bytes sent and received. */
export type PassRecord = [
  epoch: number,
  position: number,
  batchSize: number,
  execUs: number,
  syncUs: number,
  sent: number,
  received: number,
];

/** Passes that are kept: an answer of usual length, at 56 bytes each. */
export const MOST_PASSES = 512;

/** Bytes over all links of a device, since it joined. */
export interface Carried {
  sent: number;
  received: number;
}

export interface PassLog {
  /** Oldest first. */
  readonly records: readonly PassRecord[];
  /** Of another model. */
  clear(): void;
  /** What was carried until now belongs to no pass. */
  begin(carried: Carried): void;
  /** A pass is over; what was carried since the one before counts as its own. */
  add(epoch: number, stats: Pick<RunStats, 'position' | 'batchSize' | 'execUs' | 'syncUs'>, carried: Carried): void;
}

export function createPassLog(): PassLog {
  const records: PassRecord[] = [];
  let before: Carried = { sent: 0, received: 0 };
  return {
    records,
    clear() {
      records.length = 0;
    },
    begin(carried) {
      before = carried;
    },
    add(epoch, { position, batchSize, execUs, syncUs }, carried) {
      const { sent, received } = carried;
      records.push([epoch, position, batchSize, execUs, syncUs, sent - before.sent, received - before.received]);
      if (records.length > MOST_PASSES) records.shift();
      before = carried;
    },
  };
}
