/** Asks a ByteSource for many small spans as few large requests, several at a time, in the order given. */
import { type ByteSource, ModelError } from '../../model/types.ts';

/** Requests in flight at once: hides the round trip without crowding out other devices. */
const PARALLEL = 3;

/** A request aims to take this long, so that a killed tab loses little on a slow link and a fast one is kept busy. */
const TARGET_MS = 1000;
const FIRST_REQUEST_BYTES = 2 << 20;
const MIN_REQUEST_BYTES = 1 << 20;
export const MAX_REQUEST_BYTES = 4 << 20;

/** Unwanted bytes between two spans that are read along rather than asked around: the padding between tensors. */
const PADDING_BYTES = 64;

/** Bytes [from, to) of the file. */
export interface Span {
  from: number;
  to: number;
  /** Gets a view that is only valid during the call. */
  accept: (bytes: Uint8Array) => void;
}

/** `count` runs of `length` bytes, `stride` apart. */
export interface Strides {
  offset: number;
  stride: number;
  length: number;
  count: number;
  accept: (bytes: Uint8Array) => void;
}

export interface Fetcher {
  span(span: Span): void;
  strides(strides: Strides): void;
}

interface FetcherOptions {
  source: ByteSource;
  signal: AbortSignal;
  /** Bytes that the source was asked for and gave. */
  onTransfer: (bytes: number) => void;
  /** The first failure, of a request or of an `accept`; nothing is asked for after it. */
  onError: (error: unknown) => void;
}

/** Requests go out once the caller's task is over, so that what it asks for in one go is put together. */
export function createFetcher({ source, signal, onTransfer, onError }: FetcherOptions): Fetcher {
  const queue: (Span | Strides)[] = [];
  let active = 0;
  let scheduled = false;
  let requestBytes = FIRST_REQUEST_BYTES;
  let failed = false;

  function enqueue(request: Span | Strides): void {
    queue.push(request);
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      dispatch();
    });
  }

  function dispatch(): void {
    while (active < PARALLEL && queue.length > 0 && !failed && !signal.aborted) {
      active++;
      const request = queue.shift()!;
      const work = 'stride' in request ? readStrides(request) : readSpans(takeAdjacent(request));
      work.then(
        () => {
          active--;
          dispatch();
        },
        (error: unknown) => {
          failed = true;
          onError(error);
        },
      );
    }
  }

  function takeAdjacent(first: Span): Span[] {
    const spans = [first];
    let last = first;
    for (let next = queue[0]; next && !('stride' in next); next = queue[0]) {
      const padding = next.from - last.to;
      if (padding < 0 || padding > PADDING_BYTES || next.to - first.from > requestBytes) break;
      spans.push(next);
      queue.shift();
      last = next;
    }
    return spans;
  }

  async function readSpans(spans: Span[]): Promise<void> {
    const start = spans[0]!.from;
    const end = spans.at(-1)!.to;
    const began = performance.now();
    const bytes = await source.read(start, end, signal);
    checkLength(bytes, end - start);
    const perMs = bytes.length / Math.max(1, performance.now() - began);
    requestBytes = Math.min(MAX_REQUEST_BYTES, Math.max(MIN_REQUEST_BYTES, perMs * TARGET_MS));
    onTransfer(bytes.length);
    for (const { from, to, accept } of spans) accept(bytes.subarray(from - start, to - start));
  }

  async function readStrides({ offset, stride, length, count, accept }: Strides): Promise<void> {
    if (!source.readStrided) throw new Error('This source cannot cut columns.');
    const bytes = await source.readStrided(offset, stride, length, count, signal);
    checkLength(bytes, length * count);
    onTransfer(bytes.length);
    accept(bytes);
  }

  function checkLength(bytes: Uint8Array, expected: number): void {
    signal.throwIfAborted();
    if (bytes.length === expected) return;
    throw new ModelError(
      'truncated',
      `${source.name} answered with ${bytes.length} bytes instead of ${expected}. The file may have changed: load the model again.`,
    );
  }

  return { span: enqueue, strides: enqueue };
}
