/**
 * The tables that tell the product shaders (table.wgsl) which tiles make up a matrix. Built once per share.
 * Tiles of one format and chunk go into one dispatch; the bundles of a row range list all tiles that lie side by side in it.
 */
import type { PlacedTile } from '../backend.ts';
import type { Allocation, Chunk } from './arena.ts';
import { BLOCK, type Format, GROUP, type TileLayout } from './layout.ts';

/** A tile of this backend. */
export interface GpuTile {
  readonly rows: number;
  readonly cols: number;
  readonly bytes: number;
  readonly layout: TileLayout;
  readonly allocation: Allocation;
}

export interface ProductDispatch {
  format: Format;
  chunk: Chunk;
  /** Number of workgroups for one token. */
  bundles: number;
  table: Uint32Array;
}

export interface Product {
  dispatches: ProductDispatch[];
  /** The output must be zero before the first dispatch, because all of them add. */
  clear: boolean;
}

/** A matrix of the product and where its rows go in the output. */
export interface Part {
  tiles: PlacedTile[];
  outRow: number;
}

/** A row range in which every tile covers all rows: tiles side by side. */
interface Strip {
  row: number;
  rows: number;
  tiles: { tile: GpuTile; col: number }[];
}

const EMPTY: [number, number] = [0, 0];

/**
 * Tables for y = W · x, where W is the parts below one another and the output has `stride` values a token.
 * `bundle`: row groups of a workgroup.
 */
export function product(parts: Part[], stride: number, bundle: number): Product {
  const groups = new Map<string, { format: Format; chunk: Chunk; placed: PlacedTile[] }>();
  for (const { tiles, outRow } of parts) {
    for (const placed of tiles) {
      const { layout, allocation } = placed.tile as GpuTile;
      const key = `${layout.format} ${chunkNumber(allocation.chunk)}`;
      const group = groups.get(key) ?? { format: layout.format, chunk: allocation.chunk, placed: [] };
      groups.set(key, group);
      group.placed.push({ ...placed, row: placed.row + outRow });
    }
  }
  // Passes whose tiles overlap no other tile's rows halfway; strips that an earlier pass has written are added to.
  const passes = [...groups.values()].flatMap(({ format, chunk, placed }) =>
    separate(placed).map((strips) => ({ format, chunk, strips })),
  );
  const clear = passes.length > 1 && !sameOrApart(passes.flatMap((pass) => pass.strips));
  const written = new Set<number>();
  const dispatches = passes.flatMap(({ format, chunk, strips }) => {
    const bundles = strips.flatMap((strip) => {
      const add = clear || written.has(strip.row);
      return bundlesOf(strip, bundle).map((part) => ({ ...part, add }));
    });
    for (const strip of strips) written.add(strip.row);
    return slices(bundles, MAX_WORKGROUPS).map((some) => ({
      format,
      chunk,
      bundles: some.length,
      table: encode(some, stride),
    }));
  });
  return { dispatches, clear };
}

/**
 * Tables for the fused SwiGLU of gate and up, or undefined where their tiles do not lie alike: then the two are a plain
 * product and the activation is an operation of its own.
 */
export function gatedProduct(gate: PlacedTile[], up: PlacedTile[], bundle: number): ProductDispatch[] | undefined {
  const all = [...gate, ...up].map(({ tile }) => tile as GpuTile);
  const first = all[0];
  if (!first) return undefined;
  const { format } = first.layout;
  const { chunk } = first.allocation;
  if (all.some((tile) => tile.layout.format !== format || tile.allocation.chunk !== chunk)) return undefined;
  const [gates, ...moreGates] = separate(gate);
  const [ups, ...moreUps] = separate(up);
  if (!gates || !ups || moreGates.length + moreUps.length > 0 || gates.length !== ups.length) return undefined;
  const alike = gates.every(
    (strip, i) =>
      strip.row === ups[i]!.row && strip.rows === ups[i]!.rows && strip.row % BLOCK === 0 && strip.rows % BLOCK === 0,
  );
  if (!alike) return undefined;
  const bundles = gates.flatMap((strip, i) =>
    bundlesOf(strip, bundle).map((part) => ({ ...part, add: false, second: ups[i]!.tiles })),
  );
  return slices(bundles, MAX_WORKGROUPS).map((some) => ({
    format,
    chunk,
    bundles: some.length,
    table: encode(some, 0),
  }));
}

/** WebGPU's default limit on workgroups in one dimension; more are silently dropped by some drivers. */
const MAX_WORKGROUPS = 65535;

interface Bundle {
  tiles: Strip['tiles'];
  second?: Strip['tiles'];
  /** First row group in the tiles. */
  group: number;
  outRow: number;
  rows: number;
  add: boolean;
}

function bundlesOf(strip: Strip, bundle: number): Omit<Bundle, 'add'>[] {
  const bundleRows = bundle * GROUP;
  return Array.from({ length: Math.ceil(strip.rows / bundleRows) }, (_, i) => ({
    tiles: strip.tiles,
    group: i * bundle,
    outRow: strip.row + i * bundleRows,
    rows: Math.min(bundleRows, strip.rows - i * bundleRows),
  }));
}

/** Splits tiles into passes of strips; within a pass, rows of different strips never overlap. */
function separate(placed: PlacedTile[]): Strip[][] {
  const strips = new Map<string, Strip>();
  for (const { tile, row, col } of placed) {
    const gpuTile = tile as GpuTile;
    const key = `${row} ${gpuTile.rows}`;
    const strip = strips.get(key) ?? { row, rows: gpuTile.rows, tiles: [] };
    strips.set(key, strip);
    strip.tiles.push({ tile: gpuTile, col });
  }
  const passes: Strip[][] = [];
  for (const strip of [...strips.values()].sort((a, b) => a.row - b.row)) {
    const pass = passes.find((strips) => {
      const last = strips.at(-1)!;
      return last.row + last.rows <= strip.row;
    });
    if (pass) pass.push(strip);
    else passes.push([strip]);
  }
  return passes;
}

/** Whether any two of the strips cover the same rows or none in common. */
function sameOrApart(strips: Strip[]): boolean {
  const sorted = [...strips].sort((a, b) => a.row - b.row || a.rows - b.rows);
  return sorted.every((strip, i) => {
    const before = sorted[i - 1];
    if (!before) return true;
    return before.row + before.rows <= strip.row || (before.row === strip.row && before.rows === strip.rows);
  });
}

function slices<T>(items: T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

function encode(bundles: Bundle[], stride: number): Uint32Array {
  const segments: number[] = [];
  const places = new Map<Strip['tiles'], [number, number]>();
  const firstSegment = 1 + 2 * bundles.length;
  const place = (tiles: Strip['tiles'] | undefined): [number, number] => {
    if (!tiles) return EMPTY;
    const known = places.get(tiles);
    if (known) return known;
    const at = firstSegment + segments.length / 4;
    for (const { tile, col } of tiles) segments.push(...segmentOf(tile), tile.cols / BLOCK, col / BLOCK, 0, 0);
    const result: [number, number] = [at, tiles.length];
    places.set(tiles, result);
    return result;
  };
  const head: number[] = [stride, 0, 0, 0];
  for (const bundle of bundles) {
    head.push(
      ...place(bundle.tiles),
      bundle.group,
      bundle.outRow,
      bundle.rows,
      bundle.add ? 1 : 0,
      ...place(bundle.second),
    );
  }
  return Uint32Array.from([...head, ...segments]);
}

/** A tile's Segment (weights.wgsl): places in the chunk in vec4; halves have their factor where others have minima. */
export function segmentOf({ layout, allocation }: GpuTile): [number, number, number, number] {
  const at = allocation.at / 16;
  const mins = layout.format === 'q4h' ? floatBits(layout.factor) : at + layout.mins;
  return [at, at + layout.scales, mins, layout.rowGroups];
}

function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

const chunkNumbers = new WeakMap<Chunk, number>();
let nextChunkNumber = 0;

function chunkNumber(chunk: Chunk): number {
  const known = chunkNumbers.get(chunk);
  if (known !== undefined) return known;
  chunkNumbers.set(chunk, nextChunkNumber);
  return nextChunkNumber++;
}
