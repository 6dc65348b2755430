import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Tile, TileData } from '../../../web/device/backend.ts';
import { loadMissing, loadShare, type ShareLoad } from '../../../web/device/loader/load.ts';
import { tilesOf } from '../../../web/device/loader/loaded.ts';
import type { HeldTile, LoadedWeights, Share } from '../../../web/device/loader/types.ts';
import { wantedMatrices } from '../../../web/device/loader/wanted.ts';
import { createWarmTiles } from '../../../web/device/loader/warm.ts';
import { createPartReader } from '../../../web/device/store/reader.ts';
import { BLOCKS } from '../../../web/model/quant.ts';
import { repackPart } from '../../../web/model/repack.ts';
import type { Catalogue, HyperParameters, MatrixRole, TensorInfo, TensorType } from '../../../web/model/types.ts';
import { normalize, scale } from '../../../web/plan/ranges.ts';
import type { Range } from '../../../web/plan/types.ts';
import { countingSource, expectedBytes, freshIndexedDb, openStore, patternBytes, tensorOf } from './support.ts';

beforeEach(freshIndexedDb);

const hyper: HyperParameters = {
  architecture: 'qwen2',
  layers: 3,
  dim: 256,
  heads: 8,
  kvHeads: 4,
  headDim: 32,
  ffn: 512,
  vocab: 160,
  context: 128,
  normEpsilon: 1e-5,
  rope: { layout: 'halves', dims: 32, frequencies: new Float64Array(16), magnitude: 1 },
  tied: true,
  qkvBias: true,
  qkNorm: false,
};

/** A model file of pattern bytes with every tensor in one type. */
function modelOf(type: TensorType, tied: boolean) {
  const tensors = new Map<string, TensorInfo>();
  let offset = 64;
  const add = (key: string, name: string, rows: number, cols: number, of: TensorType) => {
    const tensor = tensorOf(name, of, rows, cols, offset);
    tensors.set(key, tensor);
    offset += Math.ceil(tensor.bytes / 32) * 32;
  };
  add('embedding 0', 'token_embd.weight', hyper.vocab, hyper.dim, type);
  for (let layer = 0; layer < hyper.layers; layer++) {
    const matrix = (role: MatrixRole, name: string, rows: number, cols: number) =>
      add(`${role} ${layer}`, `blk.${layer}.${name}.weight`, rows, cols, type);
    add(`attentionNorm ${layer}`, `blk.${layer}.attn_norm.weight`, 1, hyper.dim, 'F32');
    matrix('down', 'ffn_down', hyper.dim, hyper.ffn);
    matrix('gate', 'ffn_gate', hyper.ffn, hyper.dim);
    matrix('up', 'ffn_up', hyper.ffn, hyper.dim);
    add(`ffnNorm ${layer}`, `blk.${layer}.ffn_norm.weight`, 1, hyper.dim, 'F32');
    matrix('k', 'attn_k', hyper.kvHeads * hyper.headDim, hyper.dim);
    matrix('o', 'attn_output', hyper.dim, hyper.heads * hyper.headDim);
    matrix('q', 'attn_q', hyper.heads * hyper.headDim, hyper.dim);
    add(`qBias ${layer}`, `blk.${layer}.attn_q.bias`, 1, hyper.heads * hyper.headDim, 'F32');
    matrix('v', 'attn_v', hyper.kvHeads * hyper.headDim, hyper.dim);
  }
  add('outputNorm 0', 'output_norm.weight', 1, hyper.dim, 'F32');
  if (!tied) add('head 0', 'output.weight', hyper.vocab, hyper.dim, type);
  const catalogue: Catalogue = {
    hyper: { ...hyper, tied },
    notes: [],
    matrix: (role, layer) => tensors.get(role === 'head' && tied ? 'embedding 0' : `${role} ${layer}`)!,
    vector: (role, layer) => tensors.get(`${role} ${layer}`),
  };
  return { catalogue, file: patternBytes(offset) };
}

interface RecordedTile extends Tile {
  role: MatrixRole;
  data: TileData;
}

/** A backend that only keeps what it is given, and can run out of memory. */
function recordingBackend(room = Number.POSITIVE_INFINITY) {
  const held = new Set<Tile>();
  return {
    held,
    async addTile(role: MatrixRole, data: TileData): Promise<Tile> {
      if (held.size >= room) throw new Error('no room');
      const tile: RecordedTile = { rows: data.rows, cols: data.cols, bytes: 1, role, data: structuredClone(data) };
      held.add(tile);
      return tile;
    },
    async cutTile(whole: Tile, rows: Range, cols: Range): Promise<Tile | undefined> {
      if (rows[0] % 8 !== 0) return undefined;
      const { role, data } = whole as RecordedTile;
      const tile: RecordedTile = {
        ...{ rows: rows[1] - rows[0], cols: cols[1] - cols[0], bytes: 1, role, data: cutData(data, rows, cols) },
      };
      held.add(tile);
      return tile;
    },
    dropTile(tile: Tile) {
      if (!held.delete(tile)) throw new Error('This tile is not held.');
    },
  };
}

/** Rows and columns of repacked data. */
function cutData(data: TileData, rows: Range, cols: Range): TileData {
  const cut = <T extends ArrayBufferView>(view: T, name: string): T => {
    const values = view as unknown as Uint8Array;
    const perRow = values.length / data.rows;
    const [from, to] = cols.map((col) => (col * perRow) / data.cols);
    if (from === undefined || !Number.isInteger(from)) throw new Error(`${name} cannot be cut at column ${cols[0]}.`);
    const out = Array.from({ length: rows[1] - rows[0] }, (_, i) => {
      const start = (rows[0] + i) * perRow;
      return [...values.subarray(start + from, start + to!)];
    });
    return new (view.constructor as new (values: number[]) => T)(out.flat());
  };
  const fields = Object.entries(data).map(([name, value]): [string, unknown] => [
    name,
    ArrayBuffer.isView(value) ? cut(value, name) : value,
  ]);
  return { ...Object.fromEntries(fields), rows: rows[1] - rows[0], cols: cols[1] - cols[0] } as TileData;
}

/** Equality of bytes; the test library's own, element by element, takes minutes. */
function sameData(a: TileData, b: TileData): boolean {
  const fields = Object.entries(a);
  return (
    fields.length === Object.keys(b).length &&
    fields.every(([name, value]) => {
      const other: unknown = b[name as keyof TileData];
      if (!ArrayBuffer.isView(value) || !ArrayBuffer.isView(other)) return value === other;
      const bytes = (view: ArrayBufferView) => Buffer.from(view.buffer, view.byteOffset, view.byteLength);
      return bytes(value).equals(bytes(other));
    })
  );
}

const sameTiles = (a: ReadonlySet<Tile>, b: ReadonlySet<Tile>): boolean =>
  a.size === b.size && [...a].every((tile) => b.has(tile));

/** Checks a loaded set against the file: exact cover, right bytes, sorted. */
function checkWeights(weights: LoadedWeights, catalogue: Catalogue, file: Uint8Array): void {
  const { share } = weights;
  const check = (role: MatrixRole, layer: number, tiles: readonly HeldTile[], axis: 'rows' | 'cols', want: Range[]) => {
    const tensor = catalogue.matrix(role, layer);
    const extents = tiles.map((tile) => tile[axis]);
    expect(extents).toEqual(extents.toSorted((a, b) => a[0] - b[0]));
    expect(extents.reduce((sum, [from, to]) => sum + to - from, 0)).toBe(want.reduce((sum, [a, b]) => sum + b - a, 0));
    expect(normalize(extents)).toEqual(normalize(want));
    for (const { rows, cols, tile } of tiles) {
      const run = Math.max(32, BLOCKS[tensor.type].values);
      const widened: Range = [Math.floor(cols[0] / run) * run, Math.ceil(cols[1] / run) * run];
      const raw = expectedBytes(file, tensor, rows, widened);
      const repacked = repackPart(tensor.type, raw, rows[1] - rows[0], widened, cols);
      expect(sameData((tile as RecordedTile).data, repacked)).toBe(true);
    }
  };
  const queries = scale(share.qHeads, hyper.headDim);
  const keys = normalize(share.qHeads.map(([a, b]): Range => [Math.floor(a / 2) * 32, Math.ceil(b / 2) * 32]));
  expect([...weights.layers.keys()]).toEqual(
    Array.from({ length: share.layers[1] - share.layers[0] }, (_, i) => share.layers[0] + i),
  );
  for (const [layer, { tiles, vectors }] of weights.layers) {
    check('q', layer, tiles.q, 'rows', queries);
    check('k', layer, tiles.k, 'rows', keys);
    check('v', layer, tiles.v, 'rows', keys);
    check('o', layer, tiles.o, 'cols', queries);
    check('gate', layer, tiles.gate, 'rows', share.ffn);
    check('up', layer, tiles.up, 'rows', share.ffn);
    check('down', layer, tiles.down, 'cols', share.ffn);
    expect(Object.keys(vectors).sort()).toEqual(['attentionNorm', 'ffnNorm', 'qBias']);
    const { offset, bytes } = catalogue.vector('qBias', layer)!;
    expect(vectors.qBias).toEqual(new Float32Array(file.slice(offset, offset + bytes).buffer));
  }
  expect(weights.embedding !== undefined).toBe(share.embedding);
  expect(weights.head !== undefined).toBe(share.head);
  expect(weights.outputNorm !== undefined).toBe(share.head);
  if (weights.embedding) check('embedding', 0, weights.embedding, 'rows', [[0, hyper.vocab]]);
  if (weights.head) check('head', 0, weights.head, 'rows', share.vocab);
  if (catalogue.hyper.tied && weights.embedding && weights.head) {
    const shared = new Set(weights.embedding.map(({ tile }) => tile));
    expect(weights.head.every(({ tile }) => shared.has(tile))).toBe(true);
  }
}

/** Disjoint ascending ranges of whole units. */
const ranges = (units: number, unit: number) =>
  fc.uniqueArray(fc.integer({ min: 0, max: units }), { maxLength: 5 }).map((borders) => {
    const sorted = borders.toSorted((a, b) => a - b);
    const result: Range[] = [];
    for (let i = 0; i + 1 < sorted.length; i += 2) result.push([sorted[i]! * unit, sorted[i + 1]! * unit]);
    return result;
  });

const shares: fc.Arbitrary<Share> = fc.record({
  layers: fc
    .tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 }))
    .map(([a, b]): Range => [Math.min(a, b), Math.max(a, b)]),
  qHeads: ranges(hyper.heads, 1),
  ffn: ranges(hyper.ffn / 32, 32),
  vocab: ranges(hyper.vocab, 1),
  embedding: fc.boolean(),
  head: fc.boolean(),
});

const wholeShare: Share = {
  layers: [0, 3],
  qHeads: [[0, 8]],
  ffn: [[0, 512]],
  vocab: [[0, 160]],
  embedding: true,
  head: true,
};

async function setUp(type: TensorType = 'Q4_1', tied = true, many = true) {
  const { catalogue, file } = modelOf(type, tied);
  const source = countingSource(file, { strided: true, many });
  const { store } = await openStore();
  const backend = recordingBackend();
  const reader = createPartReader({ source, digest: 'd', store });
  const load = (share: Share): ShareLoad => ({ catalogue, reader, backend, share });
  return { catalogue, file, source, store, backend, load };
}

describe('a share', () => {
  test('any chain of shares gives exactly the wanted tiles, reuses what it can and fetches no byte twice', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<TensorType>('Q4_1', 'Q8_0', 'F16', 'Q6_K'),
        fc.boolean(),
        fc.array(shares, { minLength: 1, maxLength: 4 }),
        fc.constantFrom(32 << 20, 20_000),
        fc.boolean(),
        fc.constantFrom(undefined, 0, 40, 1000),
        async (type, tied, chain, maxTileBytes, many, room) => {
          freshIndexedDb();
          const { catalogue, file, source, store, backend, load } = await setUp(type, tied, many);
          let current: LoadedWeights | undefined;
          // Every tile here is a byte.
          const warm =
            room === undefined ? undefined : createWarmTiles({ tied, drop: backend.dropTile, most: () => room });
          for (const share of chain) {
            const change = await loadMissing({ ...load(share), current, warm, maxTileBytes });
            checkWeights(change.weights, catalogue, file);
            const used = tilesOf(change.weights);
            warm?.take(used);
            if (warm && current) warm.keep(current, change.released, change.weights);
            else for (const tile of change.released) backend.dropTile(tile);
            expect(backend.held.size).toBe(used.size + (warm?.bytes ?? 0));
            expect([...used].filter((tile) => !backend.held.has(tile))).toEqual([]);
            current = change.weights;
            await store.flush();
          }
          expect(source.counts.every((count) => count <= 1)).toBe(true);
        },
      ),
      { numRuns: 30 },
    );
  }, 120_000);

  test('a little of every layer is one request where the source takes several places, and many where not', async () => {
    const share: Share = { ...wholeShare, qHeads: [[2, 4]], ffn: [[0, 128]], embedding: false, head: false };
    const requests: number[] = [];
    for (const many of [true, false]) {
      freshIndexedDb();
      const { source, load } = await setUp('Q4_1', true, many);
      await loadShare(load(share));
      requests.push(source.requests.length);
    }
    expect(requests[0]).toBe(1);
    expect(requests[1]).toBeGreaterThan(10);
  });

  test('fetches its own bytes and no others', async () => {
    const { source, catalogue, load } = await setUp();
    const share: Share = { ...wholeShare, qHeads: [[2, 4]], ffn: [[0, 128]], vocab: [[40, 80]], embedding: false };
    await loadShare(load(share));
    const vectors = 3 * (2 * 256 + 256) * 4 + 256 * 4;
    const matrices = wantedMatrices(catalogue, share).reduce((sum, { tensor, axis, ranges: wanted }) => {
      const length = wanted.reduce((total, [from, to]) => total + to - from, 0);
      return sum + (tensor.bytes * length) / (axis === 'rows' ? tensor.rows : tensor.cols);
    }, 0);
    expect(source.counts.reduce((sum, count) => sum + count, 0)).toBe(matrices + vectors);
  });

  test('is read while the backend is still being made, and fails with the reason why there is none', async () => {
    const { source, catalogue, file, backend, load } = await setUp();
    let give: (made: typeof backend) => void = () => {};
    const coming = new Promise<typeof backend>((resolve) => (give = resolve));
    const loading = loadShare({ ...load(wholeShare), backend: coming });
    await expect.poll(() => source.counts.some((count) => count > 0)).toBe(true);
    expect(backend.held.size).toBe(0);
    give(backend);
    checkWeights(await loading, catalogue, file);

    const none = Promise.reject(new Error('no adapter'));
    none.catch(() => undefined);
    await expect(loadShare({ ...load(wholeShare), backend: none })).rejects.toThrow('no adapter');
  });

  test('an unchanged share reads nothing and keeps every tile', async () => {
    const { source, load } = await setUp();
    const current = await loadShare(load(wholeShare));
    source.taken();
    const change = await loadMissing({ ...load(wholeShare), current });
    expect(change.added).toEqual([]);
    expect(change.released).toEqual([]);
    expect(sameTiles(tilesOf(change.weights), tilesOf(current))).toBe(true);
    expect(source.taken()).toBe(0);
  });

  test('what a smaller share keeps of its tiles is cut on the device: nothing is read', async () => {
    const { source, catalogue, file, backend, load } = await setUp();
    const current = await loadShare(load(wholeShare));
    source.taken();
    const read: string[] = [];
    const { reader } = load(wholeShare);
    const watching: typeof reader = {
      ...reader,
      stream: (parts, options) => {
        read.push(...parts.map(({ tensor }) => tensor.name));
        return reader.stream(parts, options);
      },
    };
    const share: Share = { ...wholeShare, qHeads: [[2, 6]], ffn: [[0, 96], [160, 512]] }; // biome-ignore format: short
    const change = await loadMissing({ ...load(share), reader: watching, current });
    checkWeights(change.weights, catalogue, file);
    expect(read).toEqual([]);
    for (const tile of change.released) backend.dropTile(tile);
    expect(sameTiles(backend.held, tilesOf(change.weights))).toBe(true);
  });

  test('a share that comes back is made of the tiles it was made of: nothing is read, cut or added', async () => {
    const { source, catalogue, file, backend, load } = await setUp();
    const warm = createWarmTiles({ tied: true, drop: backend.dropTile, most: () => 1000 });
    const first = await loadShare(load(wholeShare));
    const smaller = await loadMissing({ ...load({ ...wholeShare, qHeads: [[2, 6]] }), current: first, warm });
    warm.keep(first, smaller.released, smaller.weights);
    source.taken();
    const back = await loadMissing({ ...load(wholeShare), current: smaller.weights, warm });
    checkWeights(back.weights, catalogue, file);
    expect(sameTiles(tilesOf(back.weights), tilesOf(first))).toBe(true);
    expect(back.added).toEqual([]);
    expect(source.taken()).toBe(0);
  });

  test('however often a share changes within another that is warm, nothing else is held beside it', async () => {
    const { source, catalogue, file, backend, load } = await setUp();
    const { dropTile: drop, held } = backend;
    const warm = createWarmTiles({ tied: true, drop, most: () => 1000 });
    const first = await loadShare(load(wholeShare));
    source.taken();
    let current = first;
    for (const ffn of [480, 448, 480, 96]) {
      const change = await loadMissing({ ...load({ ...wholeShare, ffn: [[0, ffn]] }), current, warm });
      warm.take(tilesOf(change.weights));
      warm.keep(current, change.released, change.weights);
      current = change.weights;
      checkWeights(current, catalogue, file);
      expect(sameTiles(held, new Set([...tilesOf(first), ...tilesOf(current)]))).toBe(true);
    }
    expect(source.taken()).toBe(0);
  });

  test('a tied head shares the tiles of the embedding, which is cut at its borders', async () => {
    const { load } = await setUp();
    const { embedding, head } = await loadShare(load({ ...wholeShare, vocab: [[32, 96]] }));
    expect(embedding?.map(({ rows }) => rows)).toEqual([
      [0, 32],
      [32, 96],
      [96, 160],
    ]);
    expect(head).toEqual([embedding![1]]);
  });

  test('large matrices become several tiles, rows in multiples of 32', async () => {
    const { load } = await setUp('F16');
    const { layers } = await loadShare({ ...load(wholeShare), maxTileBytes: 100_000 });
    expect(layers.get(0)?.tiles.gate.map(({ rows }) => rows)).toEqual([
      [0, 192],
      [192, 384],
      [384, 512],
    ]);
    expect(layers.get(0)?.tiles.down.map(({ cols }) => cols)).toEqual([
      [0, 192],
      [192, 384],
      [384, 512],
    ]);
  });
});

describe('a load that does not end well', () => {
  test('an abort at any tile frees what was added and leaves the old set alone', async () => {
    const { load, backend } = await setUp();
    const current = await loadShare(load({ ...wholeShare, qHeads: [[0, 4]] }));
    const before = new Set(backend.held);
    for (const stopAfter of [1, 2, 5, 11]) {
      const abort = new AbortController();
      let added = 0;
      const stopping = {
        cutTile: backend.cutTile,
        dropTile: backend.dropTile,
        addTile: async (role: MatrixRole, data: TileData) => {
          if (++added === stopAfter) abort.abort(new Error('stopped by the person'));
          return backend.addTile(role, data);
        },
      };
      const change = loadMissing({ ...load(wholeShare), backend: stopping, signal: abort.signal, current });
      await expect(change).rejects.toThrow('stopped by the person');
      expect(sameTiles(backend.held, before)).toBe(true);
    }
  });

  test('a backend without room: its error, and nothing is left behind', async () => {
    const { load } = await setUp();
    const backend = recordingBackend(7);
    await expect(loadShare({ ...load(wholeShare), backend })).rejects.toThrow('no room');
    expect(backend.held.size).toBe(0);
  });

  test('a source that fails half-way: its error, and nothing is left behind', async () => {
    const { load, backend, file, catalogue } = await setUp();
    const source = {
      name: 'broken',
      size: file.length,
      read: async (from: number, to: number) => {
        if (from > 100_000) throw new Error('line cut');
        return file.slice(from, to);
      },
    };
    const reader = createPartReader({ source, digest: 'other' });
    const share: Share = { ...wholeShare, qHeads: [[0, 1]], ffn: [[0, 32]] };
    expect(catalogue.matrix('q', 2).offset).toBeGreaterThan(100_000);
    await expect(loadShare({ ...load(share), reader })).rejects.toThrow('line cut');
    expect(backend.held.size).toBe(0);
  });
});
