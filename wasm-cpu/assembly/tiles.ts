// Device layouts of tiles (see the matmul files) and how any of them becomes plain values.

// Kinds of tile, as web/device/wasm/program.ts numbers them.
// @ts-ignore: decorator
@inline export const TILE_F32: i32 = 0;
// @ts-ignore: decorator
@inline export const TILE_F16: i32 = 1;
// @ts-ignore: decorator
@inline export const TILE_BF16: i32 = 2;
// @ts-ignore: decorator
@inline export const TILE_Q4: i32 = 3;
// @ts-ignore: decorator
@inline export const TILE_Q8: i32 = 4;

/** 4-bit tiles: half a block (4 rows), and a block (8 rows) of 32 columns. */
// @ts-ignore: decorator
@inline export const HALF_BYTES: usize = 96;
// @ts-ignore: decorator
@inline export const BLOCK_BYTES: usize = 192;

/** 8-bit tiles: bytes before a block's 128 quants. */
// @ts-ignore: decorator
@inline
export function headerQ8(halves: bool, mins: bool): usize {
  return halves || mins ? 32 : 16;
}

/** Four halves in the low 16 bits of each lane → f32: exponent moved by multiplying with 2^112, exact for subnormals too. */
// @ts-ignore: decorator
@inline
function halves4(bits: v128): v128 {
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  return v128.or(f32x4.mul(magnitude, f32x4.splat(5192296858534827628530496329220096.0)), sign);
}

/** Values of 4 rows at column `c` of a group of a tile of plain values. */
// @ts-ignore: decorator
@inline
export function fourRows(kind: i32, group: usize, c: usize): v128 {
  if (kind == TILE_F32) return v128.load(group + (c << 4));
  const bits = v128.load16x4_u(group + (c << 3));
  return kind == TILE_F16 ? halves4(bits) : i32x4.shl(bits, 16);
}

/** Columns of the weight panels that matrix products unpack into, and bytes of a column: 8 rows of f32. */
// @ts-ignore: decorator
@inline export const PANEL_BLOCKS: i32 = 2;
// @ts-ignore: decorator
@inline const COLUMN: usize = 32;

function unpackQ4(half: usize, blocks: i32, out: usize): void {
  for (let b = 0; b < blocks; b++) {
    const scale = v128.load(half);
    const min = v128.load(half, 16);
    for (let j: usize = 0; j < 4; j++) {
      const v = v128.load(half + (j << 4), 32);
      for (let c = 0; c < 4; c++) {
        const low = v128.and(i32x4.shr_u(v, c << 3), i32x4.splat(15));
        const high = v128.and(i32x4.shr_u(v, (c << 3) + 4), i32x4.splat(15));
        const to = out + ((j << 3) + <usize>c) * COLUMN;
        v128.store(to, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(low), scale), min));
        v128.store(to + 4 * COLUMN, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(high), scale), min));
      }
    }
    half += BLOCK_BYTES;
    out += 32 * COLUMN;
  }
}

function unpackQ8(group: usize, blocks: i32, halves: bool, mins: bool, out: usize): void {
  const header = headerQ8(halves, mins);
  for (let b = 0; b < blocks; b++) {
    let scale = v128.load(group);
    const min = mins ? v128.load(group, 16) : f32x4.splat(0);
    for (let j: usize = 0; j < 8; j++) {
      if (halves && j == 4) scale = v128.load(group, 16);
      const v = v128.load(group + header + (j << 4));
      for (let c = 0; c < 4; c++) {
        const q = i32x4.shr_s(i32x4.shl(v, 24 - (c << 3)), 24);
        const to = out + ((j << 2) + <usize>c) * COLUMN;
        v128.store(to, f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(q), scale), min));
      }
    }
    group += header + 128;
    out += 32 * COLUMN;
  }
}

/**
 * Values of one group of 4 rows of a tile with `tileBlocks` blocks a row, from block `from` on, column by column into the
 * first or second half of a panel's columns of 8 rows.
 */
export function unpackFours(
  kind: i32, tile: usize, group: i32, tileBlocks: i32, from: i32, blocks: i32, halves: bool, mins: bool, out: usize,
): void {
  if (kind == TILE_Q4) {
    const at = <usize>((group >> 1) * tileBlocks + from) * BLOCK_BYTES + (group & 1 ? HALF_BYTES : 0);
    unpackQ4(tile + at, blocks, out);
  } else if (kind == TILE_Q8) {
    unpackQ8(tile + <usize>(group * tileBlocks + from) * (headerQ8(halves, mins) + 128), blocks, halves, mins, out);
  } else {
    const start = tile + (<usize>(group * tileBlocks + from) << (kind == TILE_F32 ? 9 : 8));
    for (let c: usize = 0; c < <usize>(blocks << 5); c++) {
      v128.store(out + c * COLUMN, fourRows(kind, start, c));
    }
  }
}
