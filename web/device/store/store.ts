/**
 * Pieces of tensors in IndexedDB. A piece is written whole, in one transaction with its hash, so a killed tab leaves only
 * whole pieces; each is checked when read, and a damaged one is deleted and counts as missing. The store is a cache:
 * whatever goes wrong with it is told once in words, and the load goes on without it.
 */
import { delMany, get, getMany, keys, promisifyRequest, set, setMany, type UseStore } from 'idb-keyval';
import { hashHex } from '../../model/hash.ts';
import type { Range } from '../../plan/types.ts';
import { restAfter, tokensFlow, untilQuiet } from '../pace.ts';
import { StuckError, within } from '../within.ts';
import { createBallast } from './ballast.ts';
import { insertRange, removeRange } from './cover.ts';
import { explainStorage, isFull, openDatabase } from './database.ts';
import type { Axis } from './grid.ts';

const DATABASE = 'edgevisor-shards';

/** Longest that a load waits for the list of pieces before it starts without the store, in milliseconds. */
const OPEN_PATIENCE_MS = 4_000;

/** Bytes that one transaction writes: few transactions, and little is lost when the tab is killed in one. */
const BATCH_BYTES = 4 << 20;
/**
 * While tokens flow nothing is written until half of what may wait does, since the browser writes on the cores that compute;
 * then this much at a time, with a pause in proportion after each.
 */
const BATCH_BESIDE_TOKENS_BYTES = 256 << 10;
const REST_MS_PER_MIB = 200;

/** Bytes that may wait to be written before `ready` holds the reader back; and while tokens flow. */
const PENDING_BYTES = 16 << 20;
const PENDING_BESIDE_TOKENS_BYTES = 64 << 20;
const mayWait = () => (tokensFlow() ? PENDING_BESIDE_TOKENS_BYTES : PENDING_BYTES);

/** What a piece is: the key is made of it. */
export interface PieceName {
  /** The model's digest. */
  digest: string;
  tensor: string;
  axis: Axis;
  /** Rows, or runs of columns. */
  range: Range;
  bytes: number;
}

/** One model in the store. */
export interface StoredModel {
  digest: string;
  /** The model's name when it was last used. */
  model: string;
  /** Bytes stored of it. */
  bytes: number;
  pieces: number;
  /** Size of the whole file. */
  fileBytes: number;
  /** Milliseconds since 1970. */
  lastUsed: number;
}

export interface ShardStore {
  /** The pieces held of a tensor, sorted by start, without asking the database. */
  held(digest: string, tensor: string, axis: Axis): readonly Range[];
  /**
   * Checked bytes of pieces, each in a buffer of its own; undefined for one that is missing or was damaged (and is now
   * deleted). Never rejects.
   */
  read(names: readonly PieceName[]): Promise<(Uint8Array | undefined)[]>;
  /** Whether `write` does anything: false once the storage is full or failed. */
  readonly writable: boolean;
  /**
   * Queues a piece. Its bytes are all of their buffer and stay as they are until `written`, which is not called where the
   * store gives up.
   */
  write(name: PieceName, bytes: Uint8Array<ArrayBuffer>, written?: () => void): void;
  /** Resolves when the queue is short enough to write more. Never rejects. */
  ready(): Promise<void>;
  /** Resolves when everything queued is stored, or the store gave up. Never rejects. */
  flush(): Promise<void>;
  /** Notes that a model is in use. Never rejects. */
  touch(model: { digest: string; model: string; fileBytes: number }): Promise<void>;
  /** What is stored, of all models, last used first. Rejects with an Error for a person. */
  list(): Promise<StoredModel[]>;
  /** Deletes all pieces of a model. Rejects with an Error for a person. */
  remove(digest: string): Promise<void>;
}

interface StoreOptions {
  /** Told once of every kind of trouble, in a sentence or two for a person. */
  onNote?: (text: string) => void;
  database?: UseStore;
  /** Longest wait for the list of what is stored. */
  patienceMs?: number;
}

/** A piece that is still to be written. */
interface Waiting {
  name: PieceName;
  bytes: Uint8Array<ArrayBuffer>;
  written?: (() => void) | undefined;
}

interface PieceValue {
  hash: string;
  bytes: Uint8Array<ArrayBuffer>;
}

interface ModelValue {
  model: string;
  fileBytes: number;
  lastUsed: number;
}

type PieceKey = ['piece', digest: string, tensor: string, axis: Axis, from: number, to: number, bytes: number];
type ModelKey = ['model', digest: string];

const pieceKey = ({ digest, tensor, axis, range, bytes }: PieceName): PieceKey => [
  'piece',
  digest,
  tensor,
  axis,
  range[0],
  range[1],
  bytes,
];
const waitingKey = (name: PieceName): string => JSON.stringify(pieceKey(name));
const modelKey = (digest: string): ModelKey => ['model', digest];

/** Opens the store and reads its list of pieces. Undefined, after a note, where the browser cannot store anything. */
export async function openShardStore({
  onNote = () => {},
  database = openDatabase(DATABASE),
  patienceMs = OPEN_PATIENCE_MS,
}: StoreOptions = {}): Promise<ShardStore | undefined> {
  try {
    return createShardStore(database, await within(patienceMs, allPieces(database)), onNote);
  } catch (error) {
    onNote(explainStorage(error));
    return undefined;
  }
}

function createShardStore(database: UseStore, found: readonly PieceKey[], onNote: (text: string) => void): ShardStore {
  const index = new Map<string, Range[]>();
  for (const [, digest, tensor, axis, from, to] of found) remember({ digest, tensor, axis }, [from, to]);

  let state: 'open' | 'full' | 'failed' = 'open';
  let queue: Waiting[] = [];
  let pendingBytes = 0;
  /** Pieces that wait or are being written, by key: they can be read all the same. */
  const unwritten = new Map<string, Waiting>();
  let writing: Promise<void> | undefined;
  let waiting: (() => void)[] = [];
  const ballast = createBallast();

  function indexKey(piece: Pick<PieceName, 'digest' | 'tensor' | 'axis'>): string {
    return `${piece.digest}/${piece.axis}/${piece.tensor}`;
  }

  function remember(piece: Pick<PieceName, 'digest' | 'tensor' | 'axis'>, range: Range): void {
    const key = indexKey(piece);
    const ranges = index.get(key);
    if (ranges) insertRange(ranges, range);
    else index.set(key, [range]);
  }

  function forget(piece: PieceName): void {
    const ranges = index.get(indexKey(piece));
    if (ranges) removeRange(ranges, piece.range);
  }

  /** From here on nothing is written; a full store is still read, a failed one is not. */
  function giveUp(error: unknown): void {
    const next = isFull(error) ? 'full' : 'failed';
    if (state === 'failed' || state === next) return;
    state = next;
    if (state === 'failed') index.clear();
    for (const { name } of unwritten.values()) forget(name);
    unwritten.clear();
    queue = [];
    pendingBytes = 0;
    wake();
    onNote(explainStorage(error));
  }

  function wake(): void {
    const resume = waiting;
    waiting = [];
    for (const resolve of resume) resolve();
  }

  /** One unreadable value fails a whole getMany, so those are read again one by one. */
  async function values(names: readonly PieceName[]): Promise<unknown[]> {
    try {
      return await getMany<unknown>(names.map(pieceKey), database);
    } catch (error) {
      if (error instanceof StuckError) throw error;
      const each: unknown[] = [];
      for (const name of names) {
        each.push(
          await get<unknown>(pieceKey(name), database).catch((fault: unknown) => {
            if (fault instanceof StuckError) throw fault;
            return undefined;
          }),
        );
      }
      return each;
    }
  }

  async function writeAll(): Promise<void> {
    while (queue.length > 0) {
      await untilQuiet(() => pendingBytes >= mayWait() / 2);
      const batch = takeBatch();
      if (batch.length === 0) return;
      const entries = batch.map(({ name, bytes }): [PieceKey, PieceValue] => [
        pieceKey(name),
        { hash: hashHex(bytes), bytes },
      ]);
      try {
        await setMany(entries, database);
      } catch (error) {
        giveUp(error);
        return;
      }
      for (const { name, written } of batch) {
        unwritten.delete(waitingKey(name));
        remember(name, name.range);
        written?.();
      }
      const bytes = batch.reduce((sum, { name }) => sum + name.bytes, 0);
      ballast(bytes);
      pendingBytes -= bytes;
      if (pendingBytes < mayWait()) wake();
      await restAfter(bytes, REST_MS_PER_MIB);
    }
  }

  function takeBatch(): typeof queue {
    const most = tokensFlow() ? BATCH_BESIDE_TOKENS_BYTES : BATCH_BYTES;
    let bytes = 0;
    let count = 0;
    while (count < queue.length && (count === 0 || bytes + queue[count]!.name.bytes <= most)) {
      bytes += queue[count++]!.name.bytes;
    }
    return queue.splice(0, count);
  }

  return {
    held: (digest, tensor, axis) => index.get(indexKey({ digest, tensor, axis })) ?? [],

    async read(names) {
      if (state === 'failed') return names.map(() => undefined);
      const here = names.map((name) => unwritten.get(waitingKey(name))?.bytes.slice());
      const stored = names.filter((_, i) => !here[i]);
      if (stored.length === 0) return here;
      let read: unknown[];
      try {
        const found = await values(stored);
        read = here.map((bytes) => (bytes ? undefined : found.shift()));
        ballast(stored.reduce((sum, { bytes }) => sum + bytes, 0));
      } catch (error) {
        giveUp(error);
        return names.map(() => undefined);
      }
      const damaged: PieceName[] = [];
      const checked = names.map((name, i) => {
        if (here[i]) return here[i];
        const bytes = checkedBytes(read[i], name.bytes);
        if (!bytes) damaged.push(name);
        return bytes;
      });
      if (damaged.length > 0) {
        for (const name of damaged) forget(name);
        delMany(damaged.map(pieceKey), database).catch(giveUp);
      }
      return checked;
    },

    get writable() {
      return state === 'open';
    },

    write(name, bytes, written) {
      if (state !== 'open') return;
      const piece = { name, bytes, written };
      queue.push(piece);
      unwritten.set(waitingKey(name), piece);
      remember(name, name.range);
      pendingBytes += name.bytes;
      writing ??= writeAll().finally(() => {
        writing = undefined;
      });
    },

    async ready() {
      if (pendingBytes < mayWait()) return;
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
      });
    },

    async flush() {
      while (writing) await writing;
    },

    async touch({ digest, model, fileBytes }) {
      const value: ModelValue = { model, fileBytes, lastUsed: Date.now() };
      if (state === 'open') await set(modelKey(digest), value, database).catch(giveUp);
    },

    async list() {
      try {
        const pieces = await allPieces(database);
        index.clear();
        for (const [, digest, tensor, axis, from, to] of pieces) remember({ digest, tensor, axis }, [from, to]);
        for (const { name } of unwritten.values()) remember(name, name.range);
        return await summarise(database, pieces);
      } catch (error) {
        throw new Error(explainStorage(error), { cause: error });
      }
    },

    async remove(digest) {
      try {
        await database('readwrite', (objects) => {
          // IndexedDB sorts arrays after strings, so [] is above the name of every tensor.
          objects.delete(IDBKeyRange.bound(['piece', digest], ['piece', digest, []]));
          objects.delete(modelKey(digest));
          return promisifyRequest(objects.transaction);
        });
      } catch (error) {
        throw new Error(explainStorage(error), { cause: error });
      }
      for (const key of [...index.keys()]) if (key.startsWith(`${digest}/`)) index.delete(key);
      if (state === 'full') state = 'open';
    },
  };
}

/** The bytes of a stored value, if it is whole and its hash fits. */
function checkedBytes(value: unknown, length: number): Uint8Array | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { hash, bytes } = value as Partial<PieceValue>;
  return bytes instanceof Uint8Array && bytes.length === length && hashHex(bytes) === hash ? bytes : undefined;
}

async function allPieces(database: UseStore): Promise<PieceKey[]> {
  const all = await keys<PieceKey | ModelKey>(database);
  return all.filter((key): key is PieceKey => key[0] === 'piece');
}

async function summarise(database: UseStore, pieces: readonly PieceKey[]): Promise<StoredModel[]> {
  const sums = new Map<string, { bytes: number; pieces: number }>();
  for (const [, digest, , , , , bytes] of pieces) {
    const sum = sums.get(digest) ?? { bytes: 0, pieces: 0 };
    sums.set(digest, { bytes: sum.bytes + bytes, pieces: sum.pieces + 1 });
  }
  const digests = [...sums.keys()];
  const records = await getMany<ModelValue>(digests.map(modelKey), database);
  return digests
    .map((digest, i) => ({
      digest,
      ...sums.get(digest)!,
      model: records[i]?.model ?? digest.slice(0, 12),
      fileBytes: records[i]?.fileBytes ?? 0,
      lastUsed: records[i]?.lastUsed ?? 0,
    }))
    .sort((a, b) => b.lastUsed - a.lastUsed);
}
