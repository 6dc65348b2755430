/**
 * What a backend is: storage for the tiles of weights and the KV cache of one member, and the arithmetic of
 * `docs/arithmetic.md` on them. It knows layers and local indices, but no plans, no network, no files, no tokens' text.
 * What it is not: it never decides what to own; the Executor tells it, and may change it between two steps.
 */
import type { HyperParameters, MatrixRole, TileData, VectorRole } from '../model/types.ts';
import type { Range } from '../plan/types.ts';
import type { Selection } from './best.ts';
import type { OperationTimer } from './run-timed.ts';

export type { TileData };

/** A tile that a backend holds. Opaque to everyone else. */
export interface Tile {
  readonly rows: number;
  readonly cols: number;
  /** Bytes of device memory that it takes. */
  readonly bytes: number;
}

/** A tile's place in a member's local matrix: outputs from `row`, inputs from `col`. Tiles of one matrix never overlap. */
export interface PlacedTile {
  tile: Tile;
  row: number;
  col: number;
}

/** One layer's share of one member, in local indices: owned heads and FFN columns are packed without gaps. */
export interface LayerShare {
  /** For every local query head, the local KV head (index into `kvHeads`) that it attends to. */
  qToKv: number[];
  /** Local KV heads, as global numbers: storage already held for a number is kept, as are its contents. */
  kvHeads: number[];
  /** Number of local FFN columns; a multiple of 32. */
  ffn: number;
  /** q: rows = local heads × headDim; k, v: local KV heads × headDim; gate, up: rows = ffn; o, down: cols likewise. */
  tiles: Record<'q' | 'k' | 'v' | 'o' | 'gate' | 'up' | 'down', PlacedTile[]>;
  /** Biases and head norms of this layer, already cut to the local rows. The norms are whole. */
  vectors: Partial<Record<VectorRole, Float32Array>>;
}

export type StepOp =
  /** residual[t] = row ids[t] of the embedding. */
  | { op: 'embed' }
  /** partial[t] = this member's part of the layer's attention output. */
  | { op: 'attention'; layer: number }
  /** partial[t] = this member's part of the layer's FFN output. */
  | { op: 'ffn'; layer: number }
  /** residual[t] += partial[t]: for a member that is alone in its stage. */
  | { op: 'merge' }
  /** Output norm and the owned rows of the head, for the last position, or all of them. */
  | { op: 'head'; positions: 'last' | 'all' };

/** A run of operations over `count` new positions from `position` on, between two exchanges with other members. */
export interface Step {
  position: number;
  /** 1 .. maxBatch. */
  count: number;
  ids?: Uint32Array;
  /** Replaces the residual stream before the first operation: count × dim. */
  residual?: Float32Array;
  /** Added to the residual stream before the first operation: count × dim. */
  add?: Float32Array;
  ops: StepOp[];
  /**
   * What to read back: partial and residual are count × dim, logits are positions × local vocabulary rows; best is what
   * `decodeBest` reads, of the one position that has logits.
   */
  output: 'none' | 'partial' | 'residual' | 'logits' | 'best';
  /** For output `best`: at most `selection.most` candidates. */
  best?: Selection;
  /** Told the time of every operation, where the backend `timesOperations`. That costs time, and changes no result. */
  timer?: OperationTimer;
}

export interface BackendOptions {
  hyper: HyperParameters;
  /** Positions that the KV cache holds. */
  context: number;
  /** Most positions in one step. */
  maxBatch: number;
  /** The times of operations will be asked for (`Step.timer`). */
  profile?: boolean;
}

/** KV of one head over some positions in the exchange format of `docs/arithmetic.md`. */
export interface KvSlice {
  /** positions × headDim */
  k: Int16Array;
  v: Int16Array;
  /** positions; value = scale × integer */
  kScales: Float32Array;
  vScales: Float32Array;
}

export interface Backend {
  readonly kind: 'wasm' | 'webgpu';
  readonly threads: number;
  /** In words: `WASM relaxed SIMD, 2 threads`, or the adapter's name. */
  readonly description: string;
  /** What is less than was asked for and why, for a person. */
  readonly note?: string | undefined;
  /** It can tell the times of single operations; a WebGPU adapter without timestamps cannot. */
  readonly timesOperations: boolean;
  /** Resolves when the backend can compute no more (device lost, out of memory), with the reason in words. */
  readonly lost: Promise<string>;

  /** Makes room for tiles of so many bytes, where memory is better had at once. A hint: never fails. */
  reserve?(bytes: number): void;
  /**
   * Copies and repacks. `layer`: whose it is, so that the backend may keep a layer together. Rejects with DeviceError
   * `memory` when it does not fit.
   */
  addTile(role: MatrixRole, data: TileData, layer?: number): Promise<Tile>;
  /**
   * A new tile of some rows and columns of a tile, counted from its own first, with the same bits, copied on the device.
   * Undefined where its layout cannot be cut there. Rejects with DeviceError `memory` when it does not fit.
   */
  cutTile(tile: Tile, rows: Range, cols: Range): Promise<Tile | undefined>;
  dropTile(tile: Tile): void;

  /** Replaces a layer's share; `undefined` drops it with its KV. Takes effect with the next step. */
  setLayer(layer: number, share: LayerShare | undefined): void;
  /** Embedding rows, over the whole vocabulary; the same tiles may serve the head. */
  setEmbedding(tiles: PlacedTile[] | undefined): void;
  /** Output head: local vocabulary rows. */
  setHead(tiles: PlacedTile[] | undefined, norm: Float32Array | undefined): void;

  /**
   * Runs a step. One step at a time. The result is a view that the next step may overwrite; for output `none`, empty.
   * Rejects with DeviceError `lost` when the device went away.
   */
  run(step: Step): Promise<Float32Array>;

  /** Of a backend that takes steps with output `best`, because reading all logits takes it time. */
  readonly selection?: {
    /** Most candidates of a step. */
    readonly most: number;
    /** All logits of the last step with output `best`. */
    readLogits(): Promise<Float32Array>;
  };

  readKv(layer: number, kvHead: number, from: number, to: number): Promise<KvSlice>;
  writeKv(layer: number, kvHead: number, from: number, slice: KvSlice): Promise<void>;

  /** Bytes of device memory in use, by purpose. */
  memory(): { weights: number; kv: number; scratch: number };
  destroy(): void;
}

/** What a person asks for; `auto` is whatever is measured to be faster. */
export type BackendChoice = 'auto' | 'wasm' | 'webgpu';

/** Failures of a computing device. Codes: `memory`, `lost`, `wrong-numbers`, `no-adapter`, `unsupported`. */
export class DeviceError extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'DeviceError';
  }
}
