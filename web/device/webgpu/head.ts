/** The output head: norm and the owned vocabulary rows. */
import type { PlacedTile } from '../backend.ts';
import { roundUp, STORAGE } from './gpu.ts';
import { createOwner, normCommand, productCommand, type Workshop } from './layer.ts';
import type { Recorder } from './recorder.ts';

export interface Head {
  /** Local vocabulary rows. */
  readonly rows: number;
  /** positions × rows */
  logits(): GPUBuffer;
  /** Logits of `positions` tokens, from the one in the second Step slot on. */
  record(recorder: Recorder, positions: number, add: boolean): void;
  bytes(): number;
  destroy(): void;
}

export function createHead(shop: Workshop, tiles: PlacedTile[], normWeight: Float32Array): Head {
  const { device } = shop.checked;
  const rows = Math.max(0, ...tiles.map(({ tile, row }) => row + tile.rows));
  const owner = createOwner(device);
  const norm = normCommand(shop, owner, normWeight, 1);

  const sized = (positions: number) => {
    const tables = createOwner(device);
    const logits = shop.checked.create('the logits', () =>
      device.createBuffer({ label: 'logits', size: roundUp(Math.max(1, positions * rows) * 4, 16), usage: STORAGE() }),
    );
    const place = { input: shop.scratch.normed, output: logits, stride: rows, slot: 1 } as const;
    return { positions, logits, tables, multiply: productCommand(shop, tables, [{ tiles, outRow: 0 }], place) };
  };
  // Logits of many positions are wanted seldom, so there is room for one at first.
  let current = sized(1);
  const drop = () => {
    current.logits.destroy();
    current.tables.destroy();
  };
  return {
    rows,
    logits: () => current.logits,
    record(recorder, positions, add) {
      if (positions > current.positions) {
        drop();
        current = sized(positions);
      }
      norm(recorder, positions, add);
      current.multiply(recorder, positions);
    },
    bytes: () => owner.bytes() + current.logits.size + current.tables.bytes(),
    destroy() {
      drop();
      owner.destroy();
    },
  };
}
