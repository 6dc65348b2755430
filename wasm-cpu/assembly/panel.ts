// Activations of several positions in panels: [⌈T/4⌉][n][4], the four positions of a column side by side.
import { PANEL } from './layout';

/** Address of column `c` of position `t`; the next column is 16 bytes on. */
// @ts-ignore: decorator
@inline
export function panelColumn(values: usize, n: i32, t: i32, c: i32): usize {
  return values + (((<usize>(t / PANEL) * <usize>n + <usize>c) * PANEL + <usize>(t % PANEL)) << 2);
}

/** Four columns of one position. */
// @ts-ignore: decorator
@inline
export function putPanel(at: usize, v: v128): void {
  v128.store_lane<i32>(at, v, 0);
  v128.store_lane<i32>(at, v, 1, 16);
  v128.store_lane<i32>(at, v, 2, 32);
  v128.store_lane<i32>(at, v, 3, 48);
}
