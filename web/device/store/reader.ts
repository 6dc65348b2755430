/** Parts of tensors from the shard store where they are held, and from the source where not; what is new is stored. */

import { createSpareBuffers } from '../../model/spare.ts';
import type { ByteSource } from '../../model/types.ts';
import { deferred } from '../deferred.ts';
import { tokensFlow } from '../pace.ts';
import type { TensorPart } from '../part.ts';
import { createFetcher } from './fetcher.ts';
import { bytesOfPart, fillCanvas, groupParts } from './part-job.ts';
import type { ShardStore } from './store.ts';
import type { ByteProgress, StreamingPartReader } from './types.ts';

/** Bytes of parts that are read ahead of the one that the caller has; a larger part is read alone. */
const AHEAD_BYTES = 16 << 20;
/** The same while tokens flow: what is there already must not be waited for by tokens. */
const AHEAD_BESIDE_TOKENS_BYTES = 4 << 20;

/** Buffers kept for the next answers and parts while a stream runs. */
const SPARE_BYTES = 16 << 20;

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
    const groups = groupParts(parts);
    progress.total = groups.reduce((sum, { bytes }) => sum + bytes, 0);
    const report = (kind: 'stored' | 'fetched' | 'transferred', bytes: number) => {
      progress[kind] += bytes;
      if (kind !== 'transferred') onProgress?.({ ...progress });
    };
    const buffers = createSpareBuffers(SPARE_BYTES);
    const fetcher = createFetcher({
      ...{ source, buffers },
      signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
      onTransfer: (bytes) => report('transferred', bytes),
      onError: failure.reject,
    });

    const filling: ReturnType<typeof fillCanvas>[] = [];
    let ahead = 0;
    let next = 0;
    // Filled up only when half empty, so that adjacent spans meet in the fetcher and travel in one request.
    const readAhead = () => {
      const most = tokensFlow() ? AHEAD_BESIDE_TOKENS_BYTES : AHEAD_BYTES;
      if (ahead > most / 2) return;
      while (next < groups.length && (ahead === 0 || ahead + groups[next]!.bytes <= most)) {
        const group = groups[next++]!;
        ahead += group.bytes;
        filling.push(fillCanvas({ group, digest, store, source, fetcher, buffers, report, fail: failure.reject }));
      }
    };

    try {
      onProgress?.({ ...progress });
      for (const group of groups) {
        if (store) await Promise.race([store.ready(), failure.promise]);
        readAhead();
        const canvas = await Promise.race([filling.shift()!, failure.promise]);
        // Before the caller is busy with this one: the next ones arrive meanwhile.
        ahead -= group.bytes;
        readAhead();
        for (const part of group.parts) {
          signal?.throwIfAborted();
          yield { part, ...bytesOfPart(canvas, part) };
        }
        canvas.release();
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      stop.abort();
      buffers.close();
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
