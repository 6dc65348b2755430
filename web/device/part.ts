import type { TensorInfo } from '../model/types.ts';
import type { Range } from '../plan/types.ts';

/** A rectangle of a tensor. Columns fall on 32 (or are whole); a reader widens them to the type's own block. */
export interface TensorPart {
  tensor: TensorInfo;
  rows: Range;
  cols: Range;
}

/** Where raw weight bytes come from: the shard store, over HTTP, a picked file, or a peer. */
export interface PartReader {
  /**
   * Raw GGUF blocks of the rectangle, row after row, columns widened to whole blocks of the type
   * (`widened`, a multiple of 256 for K-quants). Rejects with ModelError.
   */
  read(part: TensorPart, signal?: AbortSignal): Promise<{ bytes: Uint8Array; widened: Range }>;
}
