/** The output head: norm and the owned vocabulary rows. */
import type { PlacedTile } from '../backend.ts';
import { MOST_BEST, type Selection, scaleOf, wordsOfBest } from '../best.ts';
import { roundUp, STORAGE } from './gpu.ts';
import { createOwner, normCommand, productCommand, type Workshop } from './layer.ts';
import { LOGITS_PER_CHUNK } from './pipelines.ts';
import type { Recorder } from './recorder.ts';

export interface Head {
  /** Local vocabulary rows. */
  readonly rows: number;
  /** positions × rows */
  logits(): GPUBuffer;
  /** Logits of `positions` tokens, from the one in the second Step slot on. */
  record(recorder: Recorder, positions: number, add: boolean): void;
  /** Writes to the queue at once what `select` is to find. */
  want(selection: Selection): void;
  /** Finds the best of the logits of one position. */
  select(recorder: Recorder): void;
  /** What `select` has found (select.wgsl). */
  readonly best: GPUBuffer;
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
  const selection = createSelection(shop, rows);
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
    want: selection.want,
    select: (recorder) => selection.record(recorder, current.logits),
    best: selection.best,
    bytes: () => selection.bytes + owner.bytes() + current.logits.size + current.tables.bytes(),
    destroy() {
      drop();
      owner.destroy();
      selection.destroy();
    },
  };
}

/** 32-bit words of a Chunk and of a Wanted (candidates.wgsl). */
const CHUNK_WORDS = 5;
const WANTED_WORDS = 4;

function createSelection({ checked, pipelines }: Workshop, rows: number) {
  const { device } = checked;
  const count = Math.max(1, Math.ceil(rows / LOGITS_PER_CHUNK));
  const { chunks, best, wanted } = checked.create('the candidates', () => ({
    chunks: device.createBuffer({ label: 'chunks', size: roundUp(count * CHUNK_WORDS * 4, 16), usage: STORAGE() }),
    best: device.createBuffer({ label: 'best', size: roundUp(wordsOfBest(MOST_BEST) * 4, 16), usage: STORAGE() }),
    wanted: device.createBuffer({
      label: 'wanted',
      size: WANTED_WORDS * 4,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    }),
  }));
  const [summarize, select] = [pipelines.get('summarize'), pipelines.get('select')];
  const groupsFor = (logits: GPUBuffer) => ({
    logits,
    summarize: pipelines.group('summarize', [wanted, logits, chunks]),
    select: pipelines.group('select', [wanted, logits, chunks, best]),
  });
  let groups: ReturnType<typeof groupsFor> | undefined;
  return {
    best,
    bytes: chunks.size + best.size,
    want({ top, temperature }: Selection) {
      const words = Uint32Array.of(rows, top, 0, 0);
      new Float32Array(words.buffer)[2] = scaleOf(temperature);
      device.queue.writeBuffer(wanted, 0, words);
    },
    record(recorder: Recorder, logits: GPUBuffer) {
      if (groups?.logits !== logits) groups = groupsFor(logits);
      recorder.dispatch(summarize, groups.summarize, count);
      recorder.dispatch(select, groups.select, 1);
    },
    destroy() {
      for (const buffer of [chunks, best, wanted]) buffer.destroy();
    },
  };
}
