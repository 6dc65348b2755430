/** Model bytes that only the host has (a file from its disk): read through the link, piece by piece. */
import type { ToHost } from '../../mesh/control.ts';
import type { Link } from '../../mesh/link.ts';
import { type ByteSource, ModelError } from '../../model/types.ts';

export interface HostSource extends ByteSource {
  /** Bytes of a bulk transfer in BulkSlot.bytes. */
  take(transfer: number, bytes: Uint8Array): void;
  /** The host cannot read them. */
  fail(transfer: number, error: ModelError): void;
}

interface Waiting {
  length: number;
  resolve(bytes: Uint8Array): void;
  reject(error: unknown): void;
}

export function createHostSource(host: Link, name: string, bytes: number): HostSource {
  const waiting = new Map<number, Waiting>();
  let next = 0;

  function request(place: { offset: number; stride: number; length: number; count: number }, signal?: AbortSignal) {
    signal?.throwIfAborted();
    const transfer = next++;
    return new Promise<Uint8Array>((resolve, reject) => {
      const forget = host.onClosed((failure) =>
        settle(() => reject(new ModelError('network', failure.message, { cause: failure }))),
      );
      const abort = () => settle(() => reject(signal?.reason));
      const settle = (then: () => void) => {
        if (!waiting.delete(transfer)) return;
        forget();
        signal?.removeEventListener('abort', abort);
        then();
      };
      waiting.set(transfer, {
        length: place.length * place.count,
        resolve: (got) => settle(() => resolve(got)),
        reject: (error) => settle(() => reject(error)),
      });
      signal?.addEventListener('abort', abort);
      if (!host.failure) host.sendControl({ type: 'read', transfer, ...place } satisfies ToHost);
    });
  }

  return {
    name,
    size: bytes,
    read: (from, to, signal) => request({ offset: from, stride: 0, length: to - from, count: 1 }, signal),
    readStrided: (offset, stride, length, count, signal) => request({ offset, stride, length, count }, signal),
    take(transfer, got) {
      const wanted = waiting.get(transfer);
      if (!wanted) return;
      if (got.length === wanted.length) wanted.resolve(got);
      else
        wanted.reject(
          new ModelError('truncated', `The host sent ${got.length} bytes of ${name}, not ${wanted.length}.`),
        );
    },
    fail: (transfer, error) => waiting.get(transfer)?.reject(error),
  };
}
