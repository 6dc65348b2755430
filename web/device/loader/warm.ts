/**
 * Warm tiles: what a member has given away and keeps in its backend as long as there is room, so that a share that comes
 * back is there at once, without a byte read, repacked or copied.
 */
import type { MatrixRole } from '../../model/types.ts';
import type { Tile } from '../backend.ts';
import { tilesOfMatrix } from './loaded.ts';
import type { HeldTile, LoadedWeights } from './types.ts';

export interface WarmTiles {
  /** Device bytes of all of them. */
  readonly bytes: number;
  /** Those of one matrix. */
  of(role: MatrixRole, layer: number): HeldTile[];
  /**
   * Keeps the tiles of `old` that are in `released`, as far as there is room, and drops the others; also those that lie
   * within another one that is warm or that `used` has: cutting them out of it again takes a tenth of the time that fresh
   * memory for the next share's tiles would take beside them.
   */
  keep(old: LoadedWeights, released: readonly Tile[], used: LoadedWeights): void;
  /** They are in use again: no longer warm. */
  take(used: ReadonlySet<Tile>): void;
  /** Drops those kept longest, but none of `except`, until there is room for so many device bytes that are to come. */
  makeRoom(coming: number, except?: ReadonlySet<Tile>): void;
}

export interface WarmOptions {
  /** The output head is the embedding's matrix: tiles of either serve both. */
  tied: boolean;
  drop(tile: Tile): void;
  /** Most bytes of warm tiles, when so many bytes are to come. */
  most(coming: number): number;
}

interface WarmTile extends HeldTile {
  key: string;
}

const isWithin = (one: HeldTile, other: HeldTile) =>
  (['rows', 'cols'] as const).every((axis) => other[axis][0] <= one[axis][0] && one[axis][1] <= other[axis][1]);

export function createWarmTiles({ tied, drop, most }: WarmOptions): WarmTiles {
  /** By the time since which they are kept, oldest first. */
  let kept: WarmTile[] = [];
  const keyOf = (role: MatrixRole, layer: number) => (tied && role === 'head' ? 'embedding/0' : `${role}/${layer}`);
  const bytes = () => kept.reduce((sum, { tile }) => sum + tile.bytes, 0);

  function of(role: MatrixRole, layer: number): WarmTile[] {
    const key = keyOf(role, layer);
    return kept.filter((one) => one.key === key);
  }

  function makeRoom(coming: number, except?: ReadonlySet<Tile>): void {
    let over = bytes() - most(coming);
    if (over <= 0) return;
    kept = kept.filter(({ tile }) => {
      if (over <= 0 || except?.has(tile)) return true;
      over -= tile.bytes;
      drop(tile);
      return false;
    });
  }

  return {
    get bytes() {
      return bytes();
    },
    of,
    keep({ layers, embedding = [], head = [] }, released, used) {
      const going = new Set(released);
      const add = (role: MatrixRole, layer: number, tiles: readonly HeldTile[]) => {
        const others = [...of(role, layer), ...tilesOfMatrix({ role, layer }, used, tied)];
        for (const one of tiles) {
          // A tied head's tiles may be among the embedding's: each is kept once.
          if (!going.delete(one.tile)) continue;
          if (others.some((other) => isWithin(one, other))) drop(one.tile);
          else kept.push({ ...one, key: keyOf(role, layer) });
        }
      };
      for (const [layer, { tiles }] of layers)
        for (const [role, held] of Object.entries(tiles)) add(role as MatrixRole, layer, held);
      add('embedding', 0, embedding);
      add('head', 0, head);
      makeRoom(0);
    },
    take(used) {
      kept = kept.filter(({ tile }) => !used.has(tile));
    },
    makeRoom,
  };
}
