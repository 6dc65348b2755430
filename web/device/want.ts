/** What is asked of the logits of a forward pass, and the answer. */

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
