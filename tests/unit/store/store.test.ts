import { createStore, get, keys, set, type UseStore } from 'idb-keyval';
import { beforeEach, describe, expect, test } from 'vitest';
import { asTokens } from '../../../web/device/pace.ts';
import { openDatabase } from '../../../web/device/store/database.ts';
import { createPartReader } from '../../../web/device/store/reader.ts';
import { openShardStore, type PieceName } from '../../../web/device/store/store.ts';
import type { Range } from '../../../web/plan/types.ts';
import { countingSource, expectedBytes, freshIndexedDb, openStore, patternBytes, tensorOf } from './support.ts';

beforeEach(freshIndexedDb);

const tensor = tensorOf('blk.0.attn_q.weight', 'F32', 3 * 256, 1024);
const file = patternBytes(tensor.bytes);
const whole = { tensor, rows: [0, tensor.rows] as Range, cols: [0, tensor.cols] as Range };
const piece = (index: number, bytes = 1000, digest = 'd'): PieceName => ({
  digest,
  tensor: 'a',
  axis: 'rows',
  range: [index, index + 1],
  bytes,
});

/** Reads the whole tensor and checks it; gives the bytes that the source had to hand out. */
async function readWhole(store: Awaited<ReturnType<typeof openShardStore>>): Promise<number> {
  const source = countingSource(file);
  const { bytes } = await createPartReader({ source, digest: 'd', store }).read(whole);
  expect(Buffer.compare(bytes, expectedBytes(file, tensor, whole.rows, whole.cols))).toBe(0);
  return source.taken();
}

/** A database whose next transactions of one mode fail with what `fault` gives, until it gives nothing. */
function faultyDatabase(mode: IDBTransactionMode, fault: () => Promise<never> | undefined): UseStore {
  const real = openDatabase('edgevisor-shards');
  return (wanted, callback) => (wanted === mode ? fault() : undefined) ?? real(wanted, callback);
}

const quota = () => Promise.reject(new DOMException('The quota has been exceeded.', 'QuotaExceededError'));

describe('pieces at rest', () => {
  test('a second start fetches nothing', async () => {
    const first = await openStore();
    expect(await readWhole(first.store)).toBe(tensor.bytes);
    await first.store.flush();
    const second = await openStore();
    expect(await readWhole(second.store)).toBe(0);
    expect([...first.notes, ...second.notes]).toEqual([]);
  });

  test.each([
    [
      'with other bytes',
      (value: { hash: string; bytes: Uint8Array }) => ({ ...value, bytes: value.bytes.map((b) => b ^ 1) }),
    ],
    ['too short', (value: { hash: string; bytes: Uint8Array }) => ({ ...value, bytes: value.bytes.slice(1) })],
    ['of another form', () => 'nonsense'],
    ['without bytes', () => ({ hash: 'x' })],
  ])('a piece %s is deleted and fetched again, alone', async (_, damage) => {
    const { store } = await openStore();
    await readWhole(store);
    await store.flush();
    const raw = createStore('edgevisor-shards', 'shards');
    const key = (await keys(raw)).find((name) => Array.isArray(name) && name[0] === 'piece' && name[4] === 256)!;
    await set(key, damage((await get(key, raw)) as { hash: string; bytes: Uint8Array }), raw);
    const again = await openStore();
    expect(await readWhole(again.store)).toBe(1 << 20);
    await again.store.flush();
    expect(await readWhole((await openStore()).store)).toBe(0);
  });

  test('pieces that wait for tokens to end are not stored yet, but can be read', async () => {
    const { store } = await openStore();
    let end: () => void = () => undefined;
    const computing = asTokens(
      () =>
        new Promise<void>((resolve) => {
          end = resolve;
        }),
    );
    expect(await readWhole(store)).toBe(tensor.bytes);
    expect(await readWhole(store)).toBe(0);
    expect(await readWhole((await openStore()).store)).toBe(tensor.bytes);
    end();
    await computing;
    await store.flush();
    expect(await readWhole((await openStore()).store)).toBe(0);
  });

  test('a piece that another tab deleted is fetched again', async () => {
    const here = await openStore();
    await readWhole(here.store);
    await here.store.flush();
    const there = await openStore();
    await there.store.remove('d');
    expect(await readWhole(here.store)).toBe(tensor.bytes);
  });

  test('lists models with their sizes, last used first, and deletes one', async () => {
    const { store } = await openStore();
    store.write(piece(0, 1000, 'a'), new Uint8Array(1000));
    store.write(piece(1, 500, 'a'), new Uint8Array(500));
    store.write(piece(0, 70, 'b'), new Uint8Array(70));
    await store.flush();
    await store.touch({ digest: 'a', model: 'A.gguf', fileBytes: 5000 });
    const listed = await store.list();
    expect(listed.map(({ digest, model, bytes, pieces }) => ({ digest, model, bytes, pieces }))).toEqual([
      { digest: 'a', model: 'A.gguf', bytes: 1500, pieces: 2 },
      { digest: 'b', model: 'b', bytes: 70, pieces: 1 },
    ]);
    await store.remove('a');
    expect((await store.list()).map(({ digest }) => digest)).toEqual(['b']);
    expect(store.held('a', 'a', 'rows')).toEqual([]);
    expect(await store.read([piece(0, 1000, 'a')])).toEqual([undefined]);
  });
});

describe('trouble with the storage', () => {
  test('no IndexedDB: a note, and the load goes on', async () => {
    Reflect.deleteProperty(globalThis, 'indexedDB');
    const notes: string[] = [];
    const store = await openShardStore({ onNote: (text) => notes.push(text) });
    expect(store).toBeUndefined();
    expect(notes).toHaveLength(1);
    expect(notes[0]).toMatch(/no storage/);
    expect(await readWhole(store)).toBe(tensor.bytes);
  });

  test('site data forbidden: a note', async () => {
    const notes: string[] = [];
    const refused = faultyDatabase('readonly', () => Promise.reject(new DOMException('denied', 'SecurityError')));
    expect(await openShardStore({ onNote: (text) => notes.push(text), database: refused })).toBeUndefined();
    expect(notes[0]).toMatch(/allow site data/);
  });

  test('a full disk: one note, what is stored is still used, the rest comes from the source', async () => {
    const before = await openStore();
    await createPartReader({ source: countingSource(file), digest: 'd', store: before.store }).read({
      ...whole,
      rows: [0, 256],
    });
    await before.store.flush();
    const notes: string[] = [];
    const store = await openShardStore({
      onNote: (text) => notes.push(text),
      database: faultyDatabase('readwrite', quota),
    });
    expect(await readWhole(store)).toBe(tensor.bytes - (1 << 20));
    await store!.flush();
    expect(store!.writable).toBe(false);
    expect(await readWhole(store)).toBe(tensor.bytes - (1 << 20));
    expect(notes).toHaveLength(1);
    expect(notes[0]).toMatch(/no more room/);
  });

  test('a store that never answers does not hold up the load', async () => {
    const stuck: UseStore = () => new Promise(() => {});
    const notes: string[] = [];
    expect(
      await openShardStore({ onNote: (text) => notes.push(text), database: stuck, patienceMs: 20 }),
    ).toBeUndefined();
    expect(notes[0]).toMatch(/does not answer/);
  });

  test('a transaction that hangs gives up the store, and reading and waiting go on', async () => {
    const real = openDatabase('edgevisor-shards');
    const before = await openStore();
    await readWhole(before.store);
    await before.store.flush();
    let hang = false;
    const database = openDatabase('edgevisor-shards', 30);
    const notes: string[] = [];
    const store = await openShardStore({
      onNote: (text) => notes.push(text),
      database: (mode, callback) => (hang ? database(mode, () => new Promise<never>(() => {})) : real(mode, callback)),
    });
    hang = true;
    expect(await readWhole(store)).toBe(tensor.bytes);
    await store!.flush();
    await store!.ready();
    expect(notes).toHaveLength(1);
    expect(notes[0]).toMatch(/does not answer/);
  });

  test('a connection that the browser closed is opened again', async () => {
    const open = indexedDB.open.bind(indexedDB);
    const connections: IDBDatabase[] = [];
    indexedDB.open = (...args) => {
      const request = open(...args);
      request.addEventListener('success', () => connections.push(request.result));
      return request;
    };
    const { store, notes } = await openStore();
    await readWhole(store);
    await store.flush();
    // Without the close event that idb-keyval waits for, as Safari does at times.
    connections.at(-1)!.close();
    expect(await readWhole(store)).toBe(0);
    expect(connections).toHaveLength(2);
    expect(notes).toEqual([]);
  });

  test('one value that cannot be read costs only itself', async () => {
    const before = await openStore();
    await readWhole(before.store);
    await before.store.flush();
    const real = openDatabase('edgevisor-shards');
    let broken = false;
    const { store, notes } = await (async () => {
      const collected: string[] = [];
      const opened = await openShardStore({
        onNote: (text) => collected.push(text),
        database: (mode, callback) =>
          real(mode, (objects) => {
            if (!broken) return callback(objects);
            const request = objects.get.bind(objects);
            objects.get = (query) => {
              if (Array.isArray(query) && query[4] === 256)
                throw new DOMException('Failed to read large value', 'DataError');
              return request(query);
            };
            return callback(objects);
          }),
      });
      return { store: opened!, notes: collected };
    })();
    broken = true;
    expect(await readWhole(store)).toBe(1 << 20);
    expect(notes).toEqual([]);
  });

  test('many pieces in a hurry: the queue holds the writer back, and all of them arrive', async () => {
    const { store } = await openStore();
    for (let i = 0; i < 30; i++) {
      await store.ready();
      store.write(piece(i, 1 << 20), patternBytes(1 << 20, i).slice());
    }
    await store.flush();
    expect(store.held('d', 'a', 'rows')).toHaveLength(30);
  });
});
