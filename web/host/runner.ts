/** What to say of the logits after a forward pass. */
export interface Want {
  /** `last`: only the last position; `all`: one entry per position. */
  positions: 'last' | 'all';
  /** How many best candidates. */
  top: number;
  /** Temperature at which `logSumExp` is taken; 0 counts as 1. */
  temperature: number;
  /** Divides positive and multiplies negative logits of these tokens, before anything else. */
  penalty?: { ids: Uint32Array; factor: number };
  /** Also all logits of the last position, unpenalised. */
  full?: boolean;
}

/** The best tokens of one position. */
export interface Candidates {
  /** Best first; equal logits by ascending id. */
  ids: Uint32Array;
  logits: Float32Array;
  /** log Σ exp(logit / temperature) over the whole vocabulary, penalty applied. */
  logSumExp: number;
}

export interface Forwarded {
  candidates: Candidates[];
  full?: Float32Array;
}

/**
 * What the generation loop drives: one device alone, or a mesh. Holds the KV of one conversation; positions below
 * `position` must have been forwarded before, and those from `position` on are overwritten.
 */
export interface Runner {
  readonly context: number;
  /** Most tokens in one `forward`. */
  readonly maxBatch: number;
  readonly vocab: number;
  forward(ids: Uint32Array, position: number, want?: Want): Promise<Forwarded>;
  /** More candidates from the same logits as the last `forward` that had a `want`. */
  again(want: Want): Promise<Forwarded>;
}
