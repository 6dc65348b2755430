import type { TileData } from '../../../web/device/backend.ts';
import { bfloatToFloat, halfToFloat } from '../../../web/model/quant.ts';

/** Values of a tile as `docs/arithmetic.md` defines them: scale · q + min, rounded once to f32. */
export function unpackTile(tile: TileData): Float32Array {
  const out = new Float32Array(tile.rows * tile.cols);
  for (let i = 0; i < out.length; i++) out[i] = numberAt(tile, i);
  return out;
}

function numberAt(tile: TileData, i: number): number {
  switch (tile.kind) {
    case 'f32':
      return tile.values[i]!;
    case 'f16':
      return halfToFloat(tile.values[i]!);
    case 'bf16':
      return bfloatToFloat(tile.values[i]!);
    case 'q8': {
      const block = Math.floor(i / tile.block);
      return tile.scales[block]! * tile.quants[i]! + (tile.mins ? tile.mins[block]! : 0);
    }
    case 'q4': {
      const block = i >> 5;
      const byte = tile.quants[block * 16 + (i & 15)]!;
      return tile.scales[block]! * (i & 16 ? byte >> 4 : byte & 15) + tile.mins[block]!;
    }
  }
}
