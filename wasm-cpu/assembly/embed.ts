import { UP_WEIGHT, count, field, fieldInt, take } from './layout';
import {
  PLAIN_MINS, PLAIN_TWICE, SHORT, SHORT_MINS, TILE_F32, TILE_Q4, TILE_Q8,
  blockBytesQ4, blockBytesQ8, fourBytes, fourRows, fourScales, fourSeconds, headBytes,
} from './tiles';

/** One lane of 4. */
// @ts-ignore: decorator
@inline
function lane(four: v128, row: usize): f32 {
  const pair = row & 2 ? v128.shuffle<i32>(four, four, 2, 3, 2, 3) : four;
  return row & 1 ? f32x4.extract_lane(pair, 1) : f32x4.extract_lane(pair, 0);
}

/** One of 4 scales or minima, as it is meant. */
// @ts-ignore: decorator
@inline
function meant(four: v128, row: usize): f32 {
  return lane(four, row) * UP_WEIGHT;
}

/** Value of row `row` (0 to 7) of a group at one column. */
// @ts-ignore: decorator
@inline
function q4Value(form: i32, group: usize, row: usize, c: usize): f32 {
  const w = group + (c >> 5) * blockBytesQ4(form);
  const at = c & 31;
  const half = row >> 2;
  const byte = load<u8>(w + 2 * headBytes(form) + (half << 6) + ((at >> 3) << 4) + ((row & 3) << 2) + (at & 3));
  const q = <f32>(at & 4 ? byte >> 4 : byte & 15);
  const numbers = w + half * fourBytes(form);
  const scale = meant(fourScales(form, numbers), row);
  return scale * q + (form == SHORT ? -8 * scale : meant(fourSeconds(form, numbers, 2), row));
}

/** Value of row `row` (0 to 3) of a group at one column. */
// @ts-ignore: decorator
@inline
function q8Value(form: i32, group: usize, row: usize, c: usize): f32 {
  const w = group + (c >> 5) * blockBytesQ8(form);
  const at = c & 31;
  const q = <f32>load<i8>(w + headBytes(form) + ((at >> 2) << 4) + (row << 2) + (at & 3));
  if (form == PLAIN_TWICE && at >= 16) return meant(fourSeconds(form, w, 1), row) * q;
  const product = meant(fourScales(form, w), row) * q;
  return form == PLAIN_MINS || form == SHORT_MINS ? product + meant(fourSeconds(form, w, 1), row) : product;
}

/**
 * residual[t] = row ids[t] of the embedding, where this tile holds it. Fields: 2 tile, 3 first row, 4 rows, 5 cols,
 * 6 ids (u32[T]), 7 residual, 8 kind and 14 form of scales as in tiles.ts.
 */
export function embed(op: usize): void {
  const first = fieldInt(op, 3);
  const rows = fieldInt(op, 4);
  const cols = <usize>fieldInt(op, 5);
  const kind = fieldInt(op, 8);
  const form = fieldInt(op, 14);
  const total = count();
  for (;;) {
    const t = take(op, 1);
    if (t >= total) break;
    const id = load<i32>(field(op, 6) + (<usize>t << 2)) - first;
    if (id < 0 || id >= rows) continue;
    const out = field(op, 7) + ((<usize>t * cols) << 2);
    const row = <usize>(id & 3);
    const blocks = cols >> 5;
    if (kind == TILE_Q4) {
      const group = field(op, 2) + <usize>(id >> 3) * blocks * blockBytesQ4(form);
      for (let c: usize = 0; c < cols; c++) store<f32>(out + (c << 2), q4Value(form, group, <usize>(id & 7), c));
    } else if (kind == TILE_Q8) {
      const group = field(op, 2) + <usize>(id >> 2) * blocks * blockBytesQ8(form);
      for (let c: usize = 0; c < cols; c++) store<f32>(out + (c << 2), q8Value(form, group, row, c));
    } else {
      const group = field(op, 2) + ((<usize>(id >> 2) * cols) << (kind == TILE_F32 ? 4 : 3));
      for (let c: usize = 0; c < cols; c++) store<f32>(out + (c << 2), lane(fourRows(kind, group, c), row));
    }
  }
}
