// Attention over cached keys and values: one position by `attendOne` and `combine`, several by `attendMany`. Query heads of
// one KV head go together: they share the conversion of its integers.
import { attendMany } from './attend-many';
import { attendOne } from './attend-one';
import { count } from './layout';

/**
 * Attention of every query head over the cached keys and values of every new position and all before it.
 * Fields: 2 q ([T][heads][headDim]), 3 heads, 4 parts, 5 runs (first head, heads, KV head: 3 × i32 each), 6 KV records,
 * 7 headDim (a multiple of 8), 8 log2(e)/sqrt(headDim), 9 scratch, 10 bytes of scratch a thread, 11 runs' number, 12 parts a
 * head, 13 record. One position gives parts; several give activations.
 */
export function attention(op: usize, thread: i32): void {
  if (count() == 1) attendOne(op, thread);
  else attendMany(op, thread);
}
