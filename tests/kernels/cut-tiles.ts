/** Tiles that are cut on the device, in node and in browsers: the parts of an FFN add up to the whole. */
import type { Backend, BackendOptions, PlacedTile, Step, Tile } from '../../web/device/backend.ts';
import type { Range } from '../../web/plan/types.ts';
import { hyperOf, type RandomShape, randomSource, randomTile, relativeError, type TileKind } from './random-model.ts';

const SHAPE: RandomShape = { layers: 1, dim: 128, heads: 2, kvHeads: 1, headDim: 32, ffn: 160, vocab: 8 };

export const CUT_OPTIONS: BackendOptions = { hyper: hyperOf(SHAPE), context: 8, maxBatch: 4 };

export interface CutResult {
  /** Of the sum of all parts, to what the uncut tiles compute. */
  sum: number;
  /** Of the first part alone: far off. */
  first: number;
  /** Bytes of all parts ÷ bytes of the tiles that they were cut from. */
  bytes: number;
  /** A cut in the middle of a group of rows. */
  between: Tile | undefined;
}

/** Cuts gate and up by rows and down by columns, in three parts that cover them. */
export async function cutInParts(backend: Backend, kind: TileKind): Promise<CutResult> {
  const random = randomSource(3);
  const { dim, ffn } = SHAPE;
  const norm = Float32Array.from({ length: dim }, random);
  const residual = Float32Array.from({ length: dim }, () => random() - 0.5);
  const add = (rows: number, cols: number) => backend.addTile('gate', randomTile(kind, rows, cols, random));
  const [gate, up, down] = [await add(ffn, dim), await add(ffn, dim), await add(dim, ffn)];
  const place = (tile: Tile): PlacedTile[] => [{ tile, row: 0, col: 0 }];

  async function run(tiles: [Tile, Tile, Tile], columns: number): Promise<Float32Array> {
    const [g, u, d] = tiles.map(place) as [PlacedTile[], PlacedTile[], PlacedTile[]];
    const all = { q: [], k: [], v: [], o: [], gate: g, up: u, down: d };
    backend.setLayer(0, { qToKv: [], kvHeads: [], ffn: columns, tiles: all, vectors: { ffnNorm: norm } });
    const step: Step = { position: 0, count: 1, residual, ops: [{ op: 'ffn', layer: 0 }], output: 'partial' };
    return (await backend.run(step)).slice();
  }
  const whole = await run([gate, up, down], ffn);

  const cut = async (tile: Tile, rows: Range, cols: Range): Promise<Tile> => {
    const made = await backend.cutTile(tile, rows, cols);
    if (!made) throw new Error(`A ${kind} tile was not cut at rows ${rows} and columns ${cols}.`);
    return made;
  };
  const sum = new Float32Array(dim);
  const parts: Tile[] = [];
  let first: Float32Array | undefined;
  for (const range of [
    [0, 32],
    [32, 128],
    [128, ffn],
  ] as Range[]) {
    const tiles: [Tile, Tile, Tile] = [
      await cut(gate, range, [0, dim]),
      await cut(up, range, [0, dim]),
      await cut(down, [0, dim], range),
    ];
    parts.push(...tiles);
    const part = await run(tiles, range[1] - range[0]);
    first ??= part;
    for (let i = 0; i < dim; i++) sum[i]! += part[i]!;
  }
  const bytes = (tiles: readonly Tile[]) => tiles.reduce((total, tile) => total + tile.bytes, 0);
  return {
    sum: relativeError(sum, whole),
    first: relativeError(first ?? sum, whole),
    bytes: bytes(parts) / bytes([gate, up, down]),
    between: await backend.cutTile(gate, [2, 64], [0, dim]),
  };
}
