/** Parts of tensors from the shard store where they are held, and from the source where not; what is new is stored. */
import type { ByteSource } from '../../model/types.ts';
import type { TensorPart } from '../part.ts';
import { deferred } from './deferred.ts';
import { createFetcher } from './fetcher.ts';
import { type PartJob, partBytes, startPart } from './part-job.ts';
import type { ShardStore } from './store.ts';
import type { ByteProgress, StreamingPartReader } from './types.ts';

/** Bytes of parts that are read ahead of the caller; a larger part is read alone. */
const AHEAD_BYTES = 24 << 20;

interface PartReaderOptions {
  source: ByteSource;
  /** The model's digest, which names its pieces in the store. */
  digest: string;
  /** Without a store everything comes from the source. */
  store?: ShardStore | undefined;
}

/** Makes the reader that a loader pulls a share through. Notes in the store that the model is in use. */
export function createPartReader({ source, digest, store }: PartReaderOptions): StreamingPartReader {
  void store?.touch({ digest, model: source.name, fileBytes: source.size });

  const stream: StreamingPartReader['stream'] = async function* (parts, { signal, onProgress } = {}) {
    signal?.throwIfAborted();
    const stop = new AbortController();
    const failure = deferred<never>();
    // Races look at it; between two of them a failure must not count as unhandled.
    failure.promise.catch(() => {});
    const abort = () => failure.reject(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });

    const progress: ByteProgress = { stored: 0, fetched: 0, transferred: 0, total: 0 };
    const sizes = parts.map(partBytes);
    progress.total = sizes.reduce((sum, size) => sum + size, 0);
    const report = (kind: 'stored' | 'fetched' | 'transferred', bytes: number) => {
      progress[kind] += bytes;
      if (kind !== 'transferred') onProgress?.({ ...progress });
    };
    const fetcher = createFetcher({
      source,
      signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
      onTransfer: (bytes) => report('transferred', bytes),
      onError: failure.reject,
    });

    const jobs: PartJob[] = [];
    let ahead = 0;
    let next = 0;
    // Filled up only when half empty, so that adjacent spans meet in the fetcher and travel in one request.
    const fill = () => {
      if (ahead > AHEAD_BYTES / 2) return;
      while (next < parts.length && (ahead === 0 || ahead + sizes[next]! <= AHEAD_BYTES)) {
        ahead += sizes[next]!;
        jobs.push(startPart({ part: parts[next]!, digest, store, source, fetcher, report, fail: failure.reject }));
        next++;
      }
    };

    try {
      onProgress?.({ ...progress });
      for (const [i, part] of parts.entries()) {
        signal?.throwIfAborted();
        if (store) await Promise.race([store.ready(), failure.promise]);
        fill();
        const result = await Promise.race([jobs.shift()!.done, failure.promise]);
        yield { part, ...result };
        ahead -= sizes[i]!;
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      stop.abort();
    }
  };

  return {
    stream,
    async read(part: TensorPart, signal?: AbortSignal) {
      for await (const { bytes, widened } of stream([part], signal ? { signal } : {})) return { bytes, widened };
      throw new Error('The stream of one part was empty.');
    },
  };
}
