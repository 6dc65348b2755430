import type { Forwarded, Want } from '../device/want.ts';

export type { Candidates, Forwarded, Want } from '../device/want.ts';

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
