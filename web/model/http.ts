/** Model files over HTTP, by ranges, through passing faults of the network. */
import { checkRange, checkRuns, joinSources, readRuns, splitName, splitSiblings } from './sources.ts';
import { type ByteSource, bytesOfRuns, ModelError, type Runs } from './types.ts';

export interface HttpOptions {
  /** First wait after a fault; doubles with every fault in a row. */
  retryDelayMs?: number;
  /** A connection that brings nothing for so long counts as broken. */
  stallMs?: number;
  signal?: AbortSignal;
}

const RETRY_DELAY_MS = 250;
const MAX_RETRY_DELAY_MS = 8000;
const STALL_MS = 30_000;
/** Faults in a row, without progress between them, before giving up. */
const MAX_FAULTS = 6;
/** Bytes that count as progress: a server that sends a crumb before every fault must not keep us here for ever. */
const PROGRESS_BYTES = 16 * 1024;
/** Where our own server has its models, and cuts columns out of them (`signaling-server/strided.ts`). */
const STRIDED_PATH = '/models/';
/** Its limits: bytes of one piece, and of all pieces of one answer. */
const MAX_PIECE_BYTES = 2 ** 20;
const MAX_ANSWER_BYTES = 256 * 2 ** 20;
/** First bytes of a file, read to learn its size and whether it is a web page. */
const PROBE_BYTES = 512;

/** A fault that may pass: worth another try. */
class PassingFault extends Error {}

/**
 * A source over a URL that allows ranges. Asks once for the first bytes to learn the size. Our own server's models can
 * also be read by columns.
 * Rejects with ModelError: `network` (not found, not allowed, unreachable, no ranges), `not-a-model` (a web page).
 */
export async function httpSource(url: string | URL, options: HttpOptions = {}): Promise<ByteSource> {
  const address = String(url);
  const name = nameOf(address);
  const { size, tag } = await probe(address, name, options);
  /** Bytes from an offset on; a broken connection goes on where it stopped. */
  async function readInto(from: number, out: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    let at = 0;
    await retrying({ ...options, signal: signal ?? options.signal }, name, async (attempt) => {
      const before = at;
      const response = await attempt.fetch(address, from + at, from + out.length);
      checkPartial(response, name, from + at, size, tag);
      await attempt.body(response, (chunk) => {
        // More than was asked for would be a server's mistake; what is ours of it is still right.
        const part = chunk.subarray(0, out.length - at);
        out.set(part, at);
        at += part.length;
        if (at - before >= PROGRESS_BYTES) attempt.progress();
      });
      if (at < out.length) throw new PassingFault(`the connection ended ${out.length - at} bytes early`);
    });
  }

  const source: ByteSource = {
    name,
    size,
    async read(from, to, signal) {
      checkRange(source, from, to);
      const out = new Uint8Array(to - from);
      if (from < to) await readInto(from, out, signal);
      return out;
    },
  };
  if (cutsColumns(address)) Object.assign(source, stridedReaders({ address, source, readInto, tag, options }));
  return source;
}

/** Whether the server of this address is ours, which cuts columns itself. */
function cutsColumns(address: string): boolean {
  const here = globalThis.location?.origin;
  if (!here) return false;
  const { origin, pathname } = new URL(address, here);
  return origin === here && pathname.startsWith(STRIDED_PATH);
}

/** Reads pieces at even distances, in as many requests as the server's limits ask for. */
function stridedReaders({
  address,
  source,
  readInto,
  tag,
  options,
}: {
  address: string;
  source: ByteSource;
  readInto: (from: number, out: Uint8Array, signal: AbortSignal | undefined) => Promise<void>;
  tag: string | null;
  options: HttpOptions;
}): Required<Pick<ByteSource, 'readStrided' | 'readMany'>> {
  const { name } = source;
  const url = new URL(address, globalThis.location.origin);
  url.pathname += '/strided';

  /** All pieces of some places into `out`; a broken connection goes on after the last whole piece. */
  async function pieces(places: readonly Runs[], out: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    let left = places;
    let done = 0;
    await retrying({ ...options, signal }, name, async (attempt) => {
      let at = done;
      url.search = queryOf(left);
      const response = await attempt.get(url.href);
      if (tag !== null && response.headers.get('etag') !== tag) {
        await response.body?.cancel();
        throw changedFile(name);
      }
      await attempt.body(response, (chunk) => {
        const part = chunk.subarray(0, out.length - at);
        out.set(part, at);
        at += part.length;
        const rest = runsAfter(left, at - done);
        if (rest.bytes === 0) return;
        left = rest.places;
        done += rest.bytes;
        attempt.progress();
      });
      if (at < out.length) throw new PassingFault(`the connection ended ${out.length - at} bytes early`);
    });
  }

  const check = ({ offset, stride, length, count }: Runs) => checkRuns(source, offset, stride, length, count);
  const cannotAsk = ({ stride, length }: Runs) => stride < length || length > MAX_PIECE_BYTES;

  /** Neighbours that go into one request; what the server does not give in pieces is alone. */
  function askedTogether(places: readonly Runs[]): Runs[][] {
    const groups: Runs[][] = [];
    let open: Runs[] | undefined;
    for (const place of places) {
      if (open && !cannotAsk(place)) open.push(place);
      else {
        const group = [place];
        groups.push(group);
        open = cannotAsk(place) ? undefined : group;
      }
    }
    return groups;
  }

  /** One place. A single piece is a range, which goes on in the middle of it when the connection breaks. */
  async function placeInto(place: Runs, out: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const { offset, stride, length, count } = place;
    if (count === 1) return readInto(offset, out, signal);
    if (cannotAsk(place)) {
      out.set(await readRuns(source, offset, stride, length, count, signal));
      return;
    }
    const atOnce = Math.floor(MAX_ANSWER_BYTES / length);
    for (let first = 0; first < count; first += atOnce) {
      const part = { offset: offset + first * stride, stride, length, count: Math.min(atOnce, count - first) };
      await pieces([part], out.subarray(first * length, (first + part.count) * length), signal);
    }
  }

  return {
    async readStrided(offset, stride, length, count, given) {
      const place = { offset, stride, length, count };
      check(place);
      const out = new Uint8Array(length * count);
      await placeInto(place, out, given ?? options.signal);
      return out;
    },
    async readMany(places, into, given) {
      for (const place of places) check(place);
      let at = 0;
      for (const group of into.length > MAX_ANSWER_BYTES ? places.map((place) => [place]) : askedTogether(places)) {
        const out = into.subarray(at, at + bytesOfRuns(group));
        const signal = given ?? options.signal;
        await (group.length > 1 ? pieces(group, out, signal) : placeInto(group[0]!, out, signal));
        at += out.length;
      }
    },
  };
}

function queryOf(places: readonly Runs[]): string {
  const query = new URLSearchParams();
  for (const { offset, stride, length, count } of places) {
    for (const [key, value] of Object.entries({ offset, stride, length, count })) query.append(key, String(value));
  }
  return query.toString();
}

/** What is left of some places once `got` bytes of them have come, and how many bytes that leaves out: whole pieces. */
function runsAfter(places: readonly Runs[], got: number): { places: readonly Runs[]; bytes: number } {
  let bytes = 0;
  for (const [i, place] of places.entries()) {
    const { offset, stride, length, count } = place;
    const pieces = Math.min(count, Math.floor((got - bytes) / length));
    bytes += pieces * length;
    if (pieces === count) continue;
    const rest = { offset: offset + pieces * stride, stride, length, count: count - pieces };
    return { places: [rest, ...places.slice(i + 1)], bytes };
  }
  return { places: [], bytes };
}

/**
 * The source of a model at a URL. A split model (`-00001-of-00003.gguf`) is opened whole, from the address of any of
 * its files. Rejects as {@link httpSource}, or `network` with the name of the part that is missing.
 */
export async function urlSource(url: string | URL, options: HttpOptions = {}): Promise<ByteSource> {
  const address = new URL(url, globalThis.location?.href);
  const slash = address.pathname.lastIndexOf('/') + 1;
  const split = splitName(address.pathname.slice(slash));
  if (!split || split.count === 1) return httpSource(address, options);
  const parts = splitSiblings(split).map((name) => {
    const sibling = new URL(address);
    sibling.pathname = address.pathname.slice(0, slash) + name;
    return httpSource(sibling, options);
  });
  return joinSources(await Promise.all(parts));
}

function nameOf(address: string): string {
  const last = address.split(/[?#]/)[0]!.split('/').at(-1) || address;
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/** Learns the size and the version of a file from a small range. */
function probe(address: string, name: string, options: HttpOptions): Promise<{ size: number; tag: string | null }> {
  return retrying(options, name, async (attempt) => {
    const response = await attempt.fetch(address, 0, PROBE_BYTES);
    const tag = response.headers.get('etag');
    if (response.status === 416) return { size: 0, tag };
    if (/^text\/html\b/i.test(response.headers.get('content-type') ?? '')) {
      await response.body?.cancel();
      throw new ModelError(
        'not-a-model',
        `${name} is a web page, not a model. Use the address of the .gguf file itself (on Hugging Face: the "download" link).`,
      );
    }
    if (response.status !== 206) {
      await response.body?.cancel();
      throw new ModelError(
        'network',
        `The server of ${name} does not allow reading parts of a file (HTTP ranges). Download the file and pick it here.`,
      );
    }
    await attempt.body(response, () => {});
    const total = /\/(\d+)\s*$/.exec(response.headers.get('content-range') ?? '')?.[1];
    return { size: total === undefined ? await attempt.length(address) : Number(total), tag };
  });
}

/** Checks that a response is the range asked for, of the same file as before. */
function checkPartial(response: Response, name: string, from: number, size: number, tag: string | null): void {
  if (response.status === 416) throw changedFile(name);
  if (response.status !== 206) throw new PassingFault('the server sent the whole file instead of a range');
  if (tag !== null && response.headers.get('etag') !== null && response.headers.get('etag') !== tag)
    throw changedFile(name);
  const range = /^bytes (\d+)-\d+\/(\d+|\*)/.exec(response.headers.get('content-range') ?? '');
  if (!range) return;
  if (range[2] !== '*' && Number(range[2]) !== size) throw changedFile(name);
  if (Number(range[1]) !== from) throw new PassingFault('the server sent another range than was asked for');
}

const changedFile = (name: string) =>
  new ModelError('network', `${name} was changed on its server while it was read. Load the model again.`);

/** One try: requests that break off when nothing comes, and the means to say that something did. */
interface Attempt {
  /** Asks for [from, to). Resolves with a 200, 206 or 416; throws PassingFault or ModelError otherwise. */
  fetch(address: string, from: number, to: number): Promise<Response>;
  /** Asks for an address as it is. Resolves with a 200; throws PassingFault or ModelError otherwise. */
  get(address: string): Promise<Response>;
  /** Gives the body piece by piece; a piece is only valid during the call. */
  body(response: Response, use: (chunk: Uint8Array) => void): Promise<void>;
  /** Content length by HEAD, for servers that keep `Content-Range` from other origins. */
  length(address: string): Promise<number>;
  progress(): void;
}

async function retrying<T>(options: HttpOptions, name: string, run: (attempt: Attempt) => Promise<T>): Promise<T> {
  const { signal } = options;
  let faults = 0;
  for (;;) {
    signal?.throwIfAborted();
    const watch = stallWatch(options.stallMs ?? STALL_MS, signal);
    try {
      return await run(
        makeAttempt(name, watch, () => {
          faults = 0;
        }),
      );
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ModelError) throw error;
      faults++;
      if (faults >= MAX_FAULTS) {
        const why = watch.stalled ? 'nothing came for too long' : reason(error);
        throw new ModelError(
          'network',
          `${name} could not be read: ${why}. Check the connection and the address; a server of another site must also allow this page (CORS).`,
          { cause: error },
        );
      }
      const delay = Math.min(MAX_RETRY_DELAY_MS, (options.retryDelayMs ?? RETRY_DELAY_MS) * 2 ** (faults - 1));
      await sleep(delay * (0.75 + Math.random() / 2), signal);
    } finally {
      watch.stop();
    }
  }
}

function makeAttempt(name: string, watch: StallWatch, progress: () => void): Attempt {
  const request = async (address: string, init: RequestInit): Promise<Response> => {
    watch.alive();
    // The browser's cache takes one request of a URL at a time, and pieces have their own store.
    const response = await fetch(address, { ...init, cache: 'no-store', signal: watch.signal });
    watch.alive();
    const { status } = response;
    if (response.ok || status === 416) return response;
    await response.body?.cancel();
    if (status >= 500 || status === 408 || status === 429) throw new PassingFault(`the server answered ${status}`);
    if (status === 404 || status === 410) {
      throw new ModelError(
        'network',
        `There is no file ${name} at ${shorten(address)} (${status}). Check the address.`,
      );
    }
    if (status === 401 || status === 403) {
      throw new ModelError(
        'network',
        `The server does not hand out ${name} without a login or permission (${status}).`,
      );
    }
    throw new ModelError('network', `The server refused ${name} (${status}).`);
  };
  return {
    progress,
    fetch: (address, from, to) => request(address, { headers: { Range: `bytes=${from}-${to - 1}` } }),
    get: (address) => request(address, {}),
    async body(response, use) {
      if (!response.body) return;
      for await (const chunk of chunksOf(response.body)) {
        watch.alive();
        use(chunk);
      }
    },
    async length(address) {
      const response = await request(address, { method: 'HEAD' });
      const length = response.headers.get('content-length');
      if (length === null) throw new ModelError('network', `The server does not say how long ${name} is.`);
      return Number(length);
    },
  };
}

/** Bytes of a body that are in memory at once, where the browser lets one say so. */
const CHUNK_BYTES = 256 * 1024;

/**
 * A body in pieces, each valid until the next one is asked for. They come in one buffer that goes back and forth: pieces in
 * buffers of their own pile up until the browser collects them, as many bytes as a quarter of the model.
 */
async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = body.getReader({ mode: 'byob' });
  } catch {
    // Not every browser's bodies are streams of bytes.
    yield* ownChunksOf(body);
    return;
  }
  try {
    for (let buffer = new ArrayBuffer(CHUNK_BYTES); ; ) {
      const { done, value } = await reader.read(new Uint8Array(buffer));
      if (done) return;
      yield value;
      buffer = value.buffer;
    }
  } finally {
    reader.releaseLock();
  }
}

async function* ownChunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}

interface StallWatch {
  readonly signal: AbortSignal;
  readonly stalled: boolean;
  alive(): void;
  stop(): void;
}

/** A signal that aborts when `alive` has not been called for `ms`, or when `outer` does. */
function stallWatch(ms: number, outer: AbortSignal | undefined): StallWatch {
  const own = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stalled = false;
  return {
    signal: outer ? AbortSignal.any([outer, own.signal]) : own.signal,
    get stalled() {
      return stalled;
    },
    alive() {
      clearTimeout(timer);
      timer = setTimeout(() => {
        stalled = true;
        own.abort();
      }, ms);
    },
    stop: () => clearTimeout(timer),
  };
}

function reason(error: unknown): string {
  return error instanceof PassingFault ? error.message : 'the connection failed';
}

function shorten(address: string): string {
  return address.length > 120 ? `${address.slice(0, 120)}…` : address;
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}
