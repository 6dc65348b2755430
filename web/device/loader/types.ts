/** What a member holds of a model, in the model's own (global) coordinates; the Executor turns it into local shares. */

import type { VectorRole } from '../../model/types.ts';
import type { Member, Range } from '../../plan/types.ts';
import type { Tile } from '../backend.ts';
import type { ByteProgress } from '../store/types.ts';

export type LayerMatrixRole = 'q' | 'k' | 'v' | 'o' | 'gate' | 'up' | 'down';
export type LayerVectorRole = Exclude<VectorRole, 'outputNorm'>;

/** What one member is to hold. KV heads follow from the query heads. */
export interface Share extends Pick<Member, 'qHeads' | 'ffn' | 'vocab'> {
  layers: Range;
  /** The whole token embedding: members of the first stage. */
  embedding: boolean;
  /** The rows `vocab` of the output head and the output norm: members of the last stage. */
  head: boolean;
}

/** A tile in a backend and the rectangle of the tensor that it holds, in the tensor's rows and columns. */
export interface HeldTile {
  rows: Range;
  cols: Range;
  tile: Tile;
}

/** One layer's part. Tiles are ascending by row, then column, never overlap, and cover the share exactly. */
export interface LoadedLayer {
  tiles: Readonly<Record<LayerMatrixRole, readonly HeldTile[]>>;
  /** Whole vectors as the file has them, not cut to the share; absent where the architecture has none. */
  vectors: Readonly<Partial<Record<LayerVectorRole, Float32Array>>>;
}

/** Everything that one share needs. Immutable: a changed share makes a new value that reuses tiles of the old one. */
export interface LoadedWeights {
  share: Share;
  /** By global layer. */
  layers: ReadonlyMap<number, LoadedLayer>;
  /** The whole vocabulary, or undefined. A tied head's tiles are among these wherever both are held. */
  embedding: readonly HeldTile[] | undefined;
  /** Vocabulary rows of the output head, or undefined. */
  head: readonly HeldTile[] | undefined;
  outputNorm: Float32Array | undefined;
}

/**
 * A loaded set that may replace another one. Make before break: nothing of the old set has been dropped.
 * To commit, put `weights` to use; then the tiles in `released` are of no more use. To cancel, drop those in `added`.
 */
export interface LoadedChange {
  weights: LoadedWeights;
  added: readonly Tile[];
  released: readonly Tile[];
}

/** Called often, with sums over the whole load. */
export type LoadProgress = (progress: ByteProgress) => void;
