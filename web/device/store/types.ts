import type { Range } from '../../plan/types.ts';
import type { PartReader, TensorPart } from '../part.ts';

/** Bytes of weights on their way from the file to the backend. */
export interface ByteProgress {
  /** Wanted bytes that came from this device's store. */
  stored: number;
  /** Wanted bytes that came from the source (network, picked file, peer). */
  fetched: number;
  /** Bytes that the source was asked for; more than `fetched` where it cannot cut columns. */
  transferred: number;
  /** All wanted bytes. */
  total: number;
}

/** The bytes of one part: raw GGUF blocks, row after row, columns widened to whole blocks of the type. */
export interface PartBytes {
  part: TensorPart;
  bytes: Uint8Array;
  widened: Range;
}

/** A PartReader that reads many parts as one stream: large requests, read ahead, bounded memory. */
export interface StreamingPartReader extends PartReader {
  /**
   * Yields the parts in the order given (give them in file order), reading ahead while the caller works. The bytes of one
   * are valid until the next one is asked for.
   * Leaving the loop or aborting stops the reads. Rejects with ModelError, or with the signal's reason.
   */
  stream(
    parts: readonly TensorPart[],
    options?: { signal?: AbortSignal; onProgress?: (progress: ByteProgress) => void },
  ): AsyncGenerator<PartBytes, void, void>;
}
