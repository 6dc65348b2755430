/** What a member keeps of a share that it gave away, and what it gives up for lack of room. */
import { expect, test } from 'vitest';
import type { Tile } from '../../../web/device/backend.ts';
import type { HeldTile, LoadedWeights } from '../../../web/device/loader/types.ts';
import { createWarmTiles } from '../../../web/device/loader/warm.ts';

const tileOf = (from: number, to: number): HeldTile => ({
  rows: [from, to],
  cols: [0, 32],
  tile: { rows: to - from, cols: 32, bytes: to - from },
});

/** A set with some tiles of layer 4's q, and of the embedding. */
function weightsOf(q: HeldTile[], embedding: HeldTile[] = []): LoadedWeights {
  const tiles = { q, k: [], v: [], o: [], gate: [], up: [], down: [] };
  return {
    share: { layers: [4, 5], qHeads: [], ffn: [], vocab: [], embedding: false, head: false },
    layers: new Map([[4, { tiles, vectors: {} }]]),
    ...{ embedding, head: undefined, outputNorm: undefined },
  };
}

/** A share without tiles. */
const NOTHING = weightsOf([]);

function setUp(most: (coming: number) => number, tied = true) {
  const dropped: Tile[] = [];
  return { dropped, warm: createWarmTiles({ tied, drop: (tile) => dropped.push(tile), most }) };
}

test('keeps what was released and nothing else, by matrix and layer', () => {
  const { warm, dropped } = setUp(() => 1000);
  const [a, b, e] = [tileOf(0, 32), tileOf(32, 96), tileOf(0, 10)];
  warm.keep(weightsOf([a, b], [e]), [b.tile, e.tile], NOTHING);
  expect(warm.bytes).toBe(74);
  expect(warm.of('q', 4).map(({ rows }) => rows)).toEqual([[32, 96]]);
  expect(warm.of('q', 3)).toEqual([]);
  expect(warm.of('k', 4)).toEqual([]);
  expect(warm.of('head', 0).map(({ tile }) => tile)).toEqual([e.tile]);
  expect(dropped).toEqual([]);
});

test('an untied head and the embedding are two matrices', () => {
  const { warm } = setUp(() => 1000, false);
  const e = tileOf(0, 10);
  warm.keep(weightsOf([], [e]), [e.tile], NOTHING);
  expect(warm.of('head', 0)).toEqual([]);
  expect(warm.of('embedding', 0)).toHaveLength(1);
});

test('what is in use again is no longer warm, and is not dropped', () => {
  const { warm, dropped } = setUp(() => 1000);
  const [a, b] = [tileOf(0, 32), tileOf(32, 96)];
  warm.keep(weightsOf([a, b]), [a.tile, b.tile], NOTHING);
  warm.take(new Set([a.tile]));
  expect(warm.of('q', 4).map(({ tile }) => tile)).toEqual([b.tile]);
  expect(warm.bytes).toBe(64);
  expect(dropped).toEqual([]);
});

test('gives up what was kept longest for what is to come, but not what is needed', () => {
  const { warm, dropped } = setUp((coming) => 100 - coming);
  const [a, b, c] = [tileOf(0, 32), tileOf(32, 64), tileOf(64, 100)];
  warm.keep(weightsOf([a]), [a.tile], NOTHING);
  warm.keep(weightsOf([b]), [b.tile], NOTHING);
  warm.keep(weightsOf([c]), [c.tile], NOTHING);
  expect(dropped).toEqual([]);
  warm.makeRoom(20, new Set([a.tile]));
  expect(dropped).toEqual([b.tile]);
  warm.makeRoom(100, new Set([a.tile]));
  expect(dropped).toEqual([b.tile, c.tile]);
  expect(warm.bytes).toBe(32);
});

test('keeps nothing where there is no room', () => {
  const { warm, dropped } = setUp(() => 0);
  const a = tileOf(0, 32);
  warm.keep(weightsOf([a]), [a.tile], NOTHING);
  expect(warm.bytes).toBe(0);
  expect(dropped).toEqual([a.tile]);
});

test('keeps nothing that lies within another tile, warm or in use', () => {
  const { warm, dropped } = setUp(() => 1000);
  const [whole, part, end, beyond] = [tileOf(0, 96), tileOf(0, 64), tileOf(32, 96), tileOf(64, 128)];
  warm.keep(weightsOf([whole]), [whole.tile], weightsOf([part]));
  expect(dropped).toEqual([]);
  warm.keep(weightsOf([part]), [part.tile], weightsOf([end]));
  expect(dropped).toEqual([part.tile]);
  warm.keep(weightsOf([beyond]), [beyond.tile], weightsOf([end]));
  expect(warm.bytes).toBe(96 + 64);
  warm.take(new Set([whole.tile]));
  warm.keep(weightsOf([end]), [end.tile], weightsOf([whole]));
  expect(dropped).toEqual([part.tile, end.tile]);
  expect(warm.of('q', 4).map(({ tile }) => tile)).toEqual([beyond.tile]);
});

test('of a tied head, nothing that lies within a tile of the embedding', () => {
  const { warm, dropped } = setUp(() => 1000);
  const [rows, all] = [tileOf(8, 16), tileOf(0, 96)];
  const head: LoadedWeights = { ...weightsOf([]), embedding: undefined, head: [rows] };
  warm.keep(head, [rows.tile], weightsOf([], [all]));
  expect(dropped).toEqual([rows.tile]);
});
