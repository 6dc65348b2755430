/** Half-open interval [from, to). */
export type Range = [from: number, to: number];

/** What one device owns of every layer of its stage. KV heads follow from the query heads. */
export interface Member {
  /** Index of the device in the room; 0 is the host. */
  device: number;
  /** Query heads, ascending and disjoint. */
  qHeads: Range[];
  /** FFN columns (hidden units), in multiples of 32. */
  ffn: Range[];
  /** Vocabulary rows of the output head; only the last stage computes them. */
  vocab: Range[];
}

/** Devices that compute the same run of layers together, by tensor parallelism. */
export interface Stage {
  layers: Range;
  members: Member[];
}

/** Who computes what. Immutable; only the host makes a new one, with the next epoch. */
export interface Plan {
  epoch: number;
  stages: Stage[];
}
