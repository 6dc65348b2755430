/**
 * The fixed grid over a tensor that stored pieces lie on. A piece is a run of units along one axis, whole across the
 * other: rows for most tensors, runs of columns for the two matrices that are split by columns. Units are as fine as a
 * share can be cut, and a piece never crosses a grid line, so shares of any history meet on the same pieces.
 */
import { BLOCKS } from '../../model/quant.ts';
import { ModelError, type TensorInfo } from '../../model/types.ts';
import type { Range } from '../../plan/types.ts';

/** Aim for the size of a piece in bytes: large enough to store fast, small enough to lose little. */
export const PIECE_BYTES = 1 << 20;

/** Shares are never cut finer than this many columns. */
const FINEST_CUT = 32;

/** Tensor parallelism gives a member columns of these matrices, and rows of all others. */
const SPLIT_BY_COLUMNS = /(?:attn_output|ffn_down)\.weight$/;

export type Axis = 'rows' | 'cols';

export interface Grid {
  axis: Axis;
  /** Length of the tensor along the axis: rows, or runs of columns. */
  units: number;
  /** Units between two grid lines. */
  spacing: number;
  /** Columns of one run: the type's own block, and never finer than shares are cut. */
  run: number;
  rows: number;
  cols: number;
  /** Bytes of one whole row. */
  rowBytes: number;
  /** Bytes of one run of columns in one row. */
  runBytes: number;
  /** Bytes of one unit: a row, or one run of every row. */
  unitBytes: number;
}

/** Lays the grid over a tensor. Throws ModelError `corrupt` when its size and shape disagree. */
export function gridOf(tensor: TensorInfo): Grid {
  const { rows, cols, bytes } = tensor;
  const rowBytes = bytes / rows;
  const run = Math.max(FINEST_CUT, BLOCKS[tensor.type].values);
  const whole = cols % run === 0;
  const runBytes = whole ? rowBytes / (cols / run) : rowBytes;
  if (!Number.isInteger(rowBytes) || !Number.isInteger(runBytes)) {
    throw new ModelError(
      'corrupt',
      `Tensor ${tensor.name} takes ${bytes} bytes, which does not fit its shape ${rows} × ${cols}. Get the model file again.`,
    );
  }
  const axis: Axis = whole && rows > 1 && SPLIT_BY_COLUMNS.test(tensor.name) ? 'cols' : 'rows';
  const unitBytes = axis === 'rows' ? rowBytes : runBytes * rows;
  return {
    axis,
    units: axis === 'rows' ? rows : cols / run,
    spacing: Math.max(1, Math.floor(PIECE_BYTES / unitBytes)),
    run,
    rows,
    cols,
    rowBytes,
    runBytes,
    unitBytes,
  };
}

/** Columns widened to whole runs, so that they can be cut from raw bytes. */
export function widen(grid: Grid, [from, to]: Range): Range {
  return [Math.floor(from / grid.run) * grid.run, Math.min(grid.cols, Math.ceil(to / grid.run) * grid.run)];
}

/** Bytes of some columns in one row; the columns must be widened. */
export function columnBytes(grid: Grid, [from, to]: Range): number {
  return (grid.rowBytes * (to - from)) / grid.cols;
}

/** The units that a rectangle touches. */
export function unitsOf(grid: Grid, rows: Range, widened: Range): Range {
  return grid.axis === 'rows' ? rows : [widened[0] / grid.run, widened[1] / grid.run];
}

/** Cuts a run of units at the grid lines: the pieces that it is fetched and stored as. */
export function cutAtGrid(grid: Grid, [from, to]: Range): Range[] {
  const pieces: Range[] = [];
  for (let start = from; start < to; ) {
    const line = (Math.floor(start / grid.spacing) + 1) * grid.spacing;
    const end = Math.min(to, line);
    pieces.push([start, end]);
    start = end;
  }
  return pieces;
}
