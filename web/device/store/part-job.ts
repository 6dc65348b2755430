/** How parts of one tensor are put together: held pieces are copied in, gaps are fetched, and each new piece is stored. */

import { freeBuffer } from '../../model/free.ts';
import type { SpareBuffers } from '../../model/spare.ts';
import type { ByteSource, TensorInfo } from '../../model/types.ts';
import type { Range } from '../../plan/types.ts';
import { deferred } from '../deferred.ts';
import { tokensFlow } from '../pace.ts';
import type { TensorPart } from '../part.ts';
import { cover, intersect } from './cover.ts';
import { type Fetcher, MAX_REQUEST_BYTES } from './fetcher.ts';
import { columnBytes, cutAtGrid, type Grid, gridOf, PIECE_BYTES, unitsOf, widen } from './grid.ts';
import { type BytesView, copyRectangle } from './rectangle.ts';
import type { PieceName, ShardStore } from './store.ts';

/** Stored bytes that are asked for in one transaction. */
const READ_BYTES = 4 << 20;
/** The same while tokens flow. */
const READ_BESIDE_TOKENS_BYTES = 512 << 10;

/** Parts of one tensor that are put together as one, since they need some of the same units. */
export interface PartGroup {
  tensor: TensorInfo;
  grid: Grid;
  want: Range;
  /** In the order in which they were asked for. */
  parts: TensorPart[];
  /** Bytes that the units take: whole rows, or whole columns where the grid runs along columns. */
  bytes: number;
}

/** Units of a tensor, whole across the other axis, in memory as they lie in the file. */
interface Canvas {
  grid: Grid;
  want: Range;
  bytes: Uint8Array<ArrayBuffer>;
  /** To be called once its parts have been taken: its memory may be used again. */
  release(): void;
}

interface JobOptions {
  group: PartGroup;
  digest: string;
  store: ShardStore | undefined;
  source: ByteSource;
  fetcher: Fetcher;
  buffers: SpareBuffers;
  report: (kind: 'stored' | 'fetched', bytes: number) => void;
  fail: (error: unknown) => void;
}

/** Groups neighbouring parts that overlap on the grid: two cuts of the same 256 columns read them once. */
export function groupParts(parts: readonly TensorPart[]): PartGroup[] {
  const groups: PartGroup[] = [];
  for (const part of parts) {
    const { tensor, rows, cols } = part;
    const last = groups.at(-1);
    const grid = last?.tensor === tensor ? last.grid : gridOf(tensor);
    const want = unitsOf(grid, rows, widen(grid, cols));
    if (last?.tensor === tensor && Math.max(last.want[0], want[0]) < Math.min(last.want[1], want[1])) {
      last.want = [Math.min(last.want[0], want[0]), Math.max(last.want[1], want[1])];
      last.parts.push(part);
    } else groups.push({ tensor, grid, want, parts: [part], bytes: 0 });
  }
  for (const group of groups) group.bytes = (group.want[1] - group.want[0]) * group.grid.unitBytes;
  return groups;
}

/** The bytes of one of a group's parts, once its canvas is whole; a view where that is possible. */
export function bytesOfPart(canvas: Canvas, { rows, cols }: TensorPart): { bytes: Uint8Array; widened: Range } {
  const { grid, want, bytes } = canvas;
  const widened = widen(grid, cols);
  const length = columnBytes(grid, widened);
  const byRows = grid.axis === 'rows';
  const stride = byRows ? grid.rowBytes : (want[1] - want[0]) * grid.runBytes;
  const offset =
    (rows[0] - (byRows ? want[0] : 0)) * stride + columnBytes(grid, [byRows ? 0 : want[0] * grid.run, widened[0]]);
  const count = rows[1] - rows[0];
  if (length === stride) return { bytes: bytes.subarray(offset, offset + length * count), widened };
  const out = new Uint8Array(count * length);
  copyRectangle({ bytes, offset, stride }, { bytes: out, offset: 0, stride: length }, length, count);
  return { bytes: out, widened };
}

/**
 * Starts everything that a group needs; all that is known to be missing is asked for before this returns.
 * The promise never rejects: failures go to `fail`.
 */
export function fillCanvas(options: JobOptions): Promise<Canvas> {
  const { group, digest, store, source, fetcher, buffers, report, fail } = options;
  const { tensor, grid, want } = group;
  const { use, gaps } = cover(store?.held(digest, tensor.name, grid.axis) ?? [], want);
  // What the store gets must be alone in its buffer: one piece goes there as it is, of several each is copied.
  const isPiece = store?.writable && use.length === 0 && cutAtGrid(grid, want).length === 1;
  const bytes = isPiece ? new Uint8Array(group.bytes) : buffers.take(group.bytes);
  let users = 1;
  const release = () => {
    users--;
    if (users > 0) return;
    if (isPiece) freeBuffer(bytes);
    else buffers.give(bytes);
  };
  const canvas: Canvas = { grid, want, bytes, release };
  const { promise, resolve } = deferred<Canvas>();

  let missing = want[1] - want[0];
  /** Counts units as in place; each wanted unit is counted once. */
  const arrived = (kind: 'stored' | 'fetched', units: number) => {
    missing -= units;
    report(kind, units * grid.unitBytes);
    if (missing === 0) resolve(canvas);
  };
  const nameOf = (range: Range): PieceName => ({
    digest,
    tensor: tensor.name,
    axis: grid.axis,
    range,
    bytes: (range[1] - range[0]) * grid.unitBytes,
  });
  const keep = (range: Range) => {
    if (!store?.writable) return;
    if (isPiece) {
      users++;
      store.write(nameOf(range), bytes, release);
      return;
    }
    for (const piece of cutAtGrid(grid, range)) {
      const copy = cut(canvas, piece);
      store.write(nameOf(piece), copy, () => freeBuffer(copy));
    }
  };
  const finish = (range: Range) => {
    keep(range);
    arrived('fetched', range[1] - range[0]);
  };
  const fetchGaps = (gaps: readonly Range[]) => {
    if (gaps.length === 0) return;
    if (grid.axis === 'rows') fetchRows(tensor, canvas, gaps, fetcher, finish);
    else if (source.readStrided && !isWhole(grid, gaps)) fetchStrides(tensor, canvas, gaps, fetcher, finish);
    else fetchWholeRows(tensor, canvas, gaps, fetcher, finish);
  };

  fetchGaps(gaps);
  if (store && use.length > 0) {
    readHeld(store, use.map(nameOf), wantedOf(use, want), (piece, wanted, bytes) => {
      if (!bytes) return fetchGaps([wanted]);
      place(canvas, piece, wanted, bytes);
      freeBuffer(bytes);
      arrived('stored', wanted[1] - wanted[0]);
    }).catch(fail);
  }
  if (missing === 0) resolve(canvas);
  return promise;
}

/** For each held piece the wanted units that it is used for: held pieces may overlap, wanted units count once. */
function wantedOf(use: readonly Range[], want: Range): Range[] {
  let position = want[0];
  return use.map((piece) => {
    const wanted = intersect(piece, [Math.max(position, piece[0]), want[1]]);
    position = wanted[1];
    return wanted;
  });
}

/** Reads stored pieces, a few MiB at a time, so that only little is in memory twice. */
async function readHeld(
  store: ShardStore,
  names: readonly PieceName[],
  wanted: readonly Range[],
  take: (piece: Range, wanted: Range, bytes: Uint8Array | undefined) => void,
): Promise<void> {
  for (let start = 0; start < names.length; ) {
    let end = start;
    let bytes = 0;
    const most = tokensFlow() ? READ_BESIDE_TOKENS_BYTES : READ_BYTES;
    while (end < names.length && (end === start || bytes + names[end]!.bytes <= most)) bytes += names[end++]!.bytes;
    const values = await store.read(names.slice(start, end));
    for (const [i, value] of values.entries()) take(names[start + i]!.range, wanted[start + i]!, value);
    start = end;
  }
}

const isWhole = (grid: Grid, [first]: readonly Range[]): boolean => first?.[0] === 0 && first[1] === grid.units;

/** Rows are ranges of the file: one span for each piece. */
function fetchRows(
  tensor: TensorInfo,
  canvas: Canvas,
  gaps: readonly Range[],
  fetcher: Fetcher,
  finish: (range: Range) => void,
): void {
  const { grid } = canvas;
  for (const piece of gaps.flatMap((gap) => cutAtGrid(grid, gap))) {
    fetcher.span({
      from: tensor.offset + piece[0] * grid.rowBytes,
      to: tensor.offset + piece[1] * grid.rowBytes,
      accept: (bytes) => {
        place(canvas, piece, piece, bytes);
        finish(piece);
      },
    });
  }
}

/** Columns that the source cuts: adjacent pieces together, up to the size of a request. */
function fetchStrides(
  tensor: TensorInfo,
  canvas: Canvas,
  gaps: readonly Range[],
  fetcher: Fetcher,
  finish: (range: Range) => void,
): void {
  const { grid } = canvas;
  for (const run of gaps.flatMap((gap) => joinPieces(grid, gap))) {
    fetcher.strides({
      offset: tensor.offset + run[0] * grid.runBytes,
      stride: grid.rowBytes,
      length: (run[1] - run[0]) * grid.runBytes,
      count: grid.rows,
      accept: (bytes) => {
        place(canvas, run, run, bytes);
        finish(run);
      },
    });
  }
}

function joinPieces(grid: Grid, gap: Range): Range[] {
  const runs: Range[] = [];
  for (const piece of cutAtGrid(grid, gap)) {
    const last = runs.at(-1);
    if (last && (piece[1] - last[0]) * grid.unitBytes <= MAX_REQUEST_BYTES) last[1] = piece[1];
    else runs.push([...piece]);
  }
  return runs;
}

/** All rows, whole, once; the wanted columns are cut out here. Pieces are complete when the last rows are there. */
function fetchWholeRows(
  tensor: TensorInfo,
  canvas: Canvas,
  gaps: readonly Range[],
  fetcher: Fetcher,
  finish: (range: Range) => void,
): void {
  const { grid } = canvas;
  const bandRows = Math.max(1, Math.floor(PIECE_BYTES / grid.rowBytes));
  let bands = Math.ceil(grid.rows / bandRows);
  for (let first = 0; first < grid.rows; first += bandRows) {
    const last = Math.min(grid.rows, first + bandRows);
    fetcher.span({
      from: tensor.offset + first * grid.rowBytes,
      to: tensor.offset + last * grid.rowBytes,
      accept: (bytes) => {
        for (const [from, to] of gaps) {
          const target = viewOf(canvas, from);
          copyRectangle(
            { bytes, offset: from * grid.runBytes, stride: grid.rowBytes },
            { ...target, offset: target.offset + first * target.stride },
            (to - from) * grid.runBytes,
            last - first,
          );
        }
        bands--;
        if (bands === 0) for (const gap of gaps) finish(gap);
      },
    });
  }
}

/** The canvas from some unit on. */
function viewOf({ grid, want, bytes }: Canvas, from: number): BytesView {
  if (grid.axis === 'rows') return { bytes, offset: (from - want[0]) * grid.rowBytes, stride: grid.rowBytes };
  return { bytes, offset: (from - want[0]) * grid.runBytes, stride: (want[1] - want[0]) * grid.runBytes };
}

/** A piece's own bytes, seen from one of its units on. */
function pieceView(grid: Grid, piece: Range, from: number, bytes: Uint8Array): BytesView {
  if (grid.axis === 'rows') return { bytes, offset: (from - piece[0]) * grid.rowBytes, stride: grid.rowBytes };
  return { bytes, offset: (from - piece[0]) * grid.runBytes, stride: (piece[1] - piece[0]) * grid.runBytes };
}

/** Length and number of the byte runs that some units are made of. */
function runsOf(grid: Grid, [from, to]: Range): [length: number, count: number] {
  return grid.axis === 'rows' ? [grid.rowBytes, to - from] : [(to - from) * grid.runBytes, grid.rows];
}

/** Copies the units `wanted` of a piece to their place. */
function place(canvas: Canvas, piece: Range, wanted: Range, bytes: Uint8Array): void {
  copyRectangle(
    pieceView(canvas.grid, piece, wanted[0], bytes),
    viewOf(canvas, wanted[0]),
    ...runsOf(canvas.grid, wanted),
  );
}

/** A copy of one piece, in a buffer of its own. */
function cut(canvas: Canvas, piece: Range): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array((piece[1] - piece[0]) * canvas.grid.unitBytes);
  copyRectangle(
    viewOf(canvas, piece[0]),
    pieceView(canvas.grid, piece, piece[0], bytes),
    ...runsOf(canvas.grid, piece),
  );
  return bytes;
}
