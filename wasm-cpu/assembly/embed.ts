import { count, field, fieldInt, take } from './layout';
import { BLOCK_BYTES, HALF_BYTES, TILE_F32, TILE_Q4, TILE_Q8, fourRows, headerQ8 } from './tiles';

/** Value of row `row` (0 to 3) of half a group at one column. */
// @ts-ignore: decorator
@inline
function q4Value(half: usize, row: usize, c: usize): f32 {
  const w = half + (c >> 5) * BLOCK_BYTES;
  const at = c & 31;
  const byte = load<u8>(w + 32 + ((at >> 3) << 4) + (row << 2) + (at & 3));
  const q = at & 4 ? byte >> 4 : byte & 15;
  return load<f32>(w + (row << 2)) * <f32>q + load<f32>(w + 16 + (row << 2));
}

/**
 * residual[t] = row ids[t] of the embedding, where this tile holds it. Fields: 2 tile, 3 first row, 4 rows, 5 cols,
 * 6 ids (u32[T]), 7 residual, 8 kind (0 f32, 1 f16, 2 bf16, 3 q4, 4 q8), 9: 1 = two scales a block, 10: 1 = has minima.
 */
export function embed(op: usize): void {
  const first = fieldInt(op, 3);
  const rows = fieldInt(op, 4);
  const cols = <usize>fieldInt(op, 5);
  const kind = fieldInt(op, 8);
  const halves = fieldInt(op, 9) != 0;
  const mins = fieldInt(op, 10) != 0;
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
      const half = field(op, 2) + <usize>(id >> 3) * blocks * BLOCK_BYTES + (id & 4 ? HALF_BYTES : 0);
      for (let c: usize = 0; c < cols; c++) store<f32>(out + (c << 2), q4Value(half, row, c));
    } else if (kind == TILE_Q8) {
      const header = headerQ8(halves, mins);
      const group = field(op, 2) + <usize>(id >> 2) * blocks * (header + 128);
      for (let c: usize = 0; c < cols; c++) {
        const w = group + (c >> 5) * (header + 128);
        const at = c & 31;
        const q = load<i8>(w + header + ((at >> 2) << 4) + (row << 2) + (at & 3));
        const scale = load<f32>(w + (halves && at >= 16 ? 16 : 0) + (row << 2));
        store<f32>(out + (c << 2), scale * <f32>q + (mins ? load<f32>(w + 16 + (row << 2)) : 0));
      }
    } else {
      const group = field(op, 2) + ((<usize>(id >> 2) * cols) << (kind == TILE_F32 ? 4 : 3));
      for (let c: usize = 0; c < cols; c++) {
        const four = fourRows(kind, group, c);
        const pair = row & 2 ? v128.shuffle<i32>(four, four, 2, 3, 2, 3) : four;
        store<f32>(out + (c << 2), row & 1 ? f32x4.extract_lane(pair, 1) : f32x4.extract_lane(pair, 0));
      }
    }
  }
}
