/** Asks a ByteSource for many small spans as few large requests, several at a time, in the order given. */
import type { SpareBuffers } from '../../model/spare.ts';
import { type ByteSource, bytesOfRuns, MAX_RUNS, ModelError, type Runs } from '../../model/types.ts';
import { restAfter, tokensFlow } from '../pace.ts';

/** Requests in flight at once: hides the round trip without crowding out other devices. */
const PARALLEL = 3;

/** How large requests are: as many bytes as come in `targetMs`, within bounds. */
interface Sizing {
  targetMs: number;
  first: number;
  least: number;
  most: number;
}

export const MAX_REQUEST_BYTES = 4 << 20;
/** So that a killed tab loses little on a slow link and a fast one is kept busy. */
const ALONE: Sizing = { targetMs: 1000, first: 2 << 20, least: 1 << 20, most: MAX_REQUEST_BYTES };
/**
 * While tokens flow: one at a time, with a pause in proportion after each, since they share the network with sums. Each costs
 * some 3.5 ms of the machine's processors, whatever its size, so on a fast link they are large.
 */
const BESIDE_TOKENS: Sizing = { targetMs: 60, first: 256 << 10, least: 256 << 10, most: 2 << 20 };
const REST_MS_PER_MIB = 60;

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
export interface Strides extends Runs {
  accept: (bytes: Uint8Array) => void;
}

/** A place in the file and what becomes of its bytes. */
interface Job {
  place: Runs;
  take: (bytes: Uint8Array) => void;
}

const bytesOf = (jobs: readonly Job[]) => bytesOfRuns(jobs.map(({ place }) => place));
const sizeOf = (request: Span | Strides) =>
  'stride' in request ? request.length * request.count : request.to - request.from;

export interface Fetcher {
  span(span: Span): void;
  strides(strides: Strides): void;
}

interface FetcherOptions {
  source: ByteSource;
  signal: AbortSignal;
  /** For answers. */
  buffers: SpareBuffers;
  /** Bytes that the source was asked for and gave. */
  onTransfer: (bytes: number) => void;
  /** The first failure, of a request or of an `accept`; nothing is asked for after it. */
  onError: (error: unknown) => void;
}

/** Requests go out once the caller's task is over, so that what it asks for in one go is put together. */
export function createFetcher({ source, signal, buffers, onTransfer, onError }: FetcherOptions): Fetcher {
  const queue: (Span | Strides)[] = [];
  let active = 0;
  let scheduled = false;
  /** Bytes that the last request brought in a millisecond. */
  let perMs: number | undefined;
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
    while (active < (tokensFlow() ? 1 : PARALLEL) && queue.length > 0 && !failed && !signal.aborted) {
      active++;
      const jobs = takeJobs();
      carryOut(jobs)
        .then(() => restAfter(bytesOf(jobs), REST_MS_PER_MIB))
        .then(
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

  function requestBytes(): number {
    const { targetMs, first, least, most } = tokensFlow() ? BESIDE_TOKENS : ALONE;
    return perMs === undefined ? first : Math.min(most, Math.max(least, perMs * targetMs));
  }

  /** What the next request asks for: spans that touch, and more places where the source takes several at once. */
  function takeJobs(): Job[] {
    let left = requestBytes();
    const jobs: Job[] = [];
    while (queue.length > 0 && (jobs.length === 0 || (jobs.length < MAX_RUNS && sizeOf(queue[0]!) <= left))) {
      const job = takeJob(left);
      jobs.push(job);
      left -= job.place.length * job.place.count;
      if (!source.readMany) break;
    }
    return jobs;
  }

  function takeJob(longest: number): Job {
    const first = queue.shift()!;
    if ('stride' in first) {
      const { offset, stride, length, count } = first;
      return { place: { offset, stride, length, count }, take: first.accept };
    }
    const spans = [first];
    let last = first;
    for (let next = queue[0]; next && !('stride' in next); next = queue[0]) {
      const padding = next.from - last.to;
      if (padding < 0 || padding > PADDING_BYTES || next.to - first.from > longest) break;
      spans.push(next);
      queue.shift();
      last = next;
    }
    const length = last.to - first.from;
    return {
      place: { offset: first.from, stride: length, length, count: 1 },
      take(bytes) {
        for (const { from, to, accept } of spans) accept(bytes.subarray(from - first.from, to - first.from));
      },
    };
  }

  async function carryOut(jobs: readonly Job[]): Promise<void> {
    const began = performance.now();
    const places = jobs.map(({ place }) => place);
    // Only a buffer of our own may be used again: what a source gives may be a part of what it keeps.
    const own = source.readMany && buffers.take(bytesOfRuns(places));
    if (own) await source.readMany?.(places, own, signal);
    const bytes = own ?? (await ask(places[0]!));
    checkLength(bytes, bytesOf(jobs));
    perMs = bytes.length / Math.max(1, performance.now() - began);
    onTransfer(bytes.length);
    let at = 0;
    for (const job of jobs) {
      const size = bytesOf([job]);
      job.take(bytes.subarray(at, at + size));
      at += size;
    }
    if (own) buffers.give(own);
  }

  async function ask({ offset, stride, length, count }: Runs): Promise<Uint8Array> {
    if (count === 1) return source.read(offset, offset + length, signal);
    if (!source.readStrided) throw new Error('This source cannot cut columns.');
    return source.readStrided(offset, stride, length, count, signal);
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
