/** Times of a step's compute passes on the GPU's own clock, where the adapter has timestamp queries. */
import type { Operation } from '../../mesh/operations.ts';
import type { OperationTimer } from '../run-timed.ts';

/** Two for each pass; the most that WebGPU allows in a set. */
const MOST_QUERIES = 4096;
const BYTES_PER_QUERY = 8;
const NS_PER_MS = 1e6;

export interface PassTimes {
  /** A new step. */
  reset(): void;
  /** For the next pass; undefined once the set is full, whose passes then count to no operation. */
  begin(operation: Operation, layer: number | undefined): GPUComputePassTimestampWrites | undefined;
  /** Adds what moves the times of all passes to `buffer`; gives the bytes to read from it. */
  resolve(encoder: GPUCommandEncoder): number;
  readonly buffer: GPUBuffer;
  /** Tells the times from those bytes. */
  report(bytes: ArrayBuffer, timer: OperationTimer): void;
}

/** @param device has the feature `timestamp-query` */
export function createPassTimes(device: GPUDevice): PassTimes {
  const querySet = device.createQuerySet({ label: 'profile', type: 'timestamp', count: MOST_QUERIES });
  const buffer = device.createBuffer({
    label: 'profile',
    size: MOST_QUERIES * BYTES_PER_QUERY,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  let passes: { operation: Operation; layer: number | undefined }[] = [];
  return {
    buffer,
    reset() {
      passes = [];
    },
    begin(operation, layer) {
      const first = 2 * passes.length;
      if (first >= MOST_QUERIES) return undefined;
      passes.push({ operation, layer });
      return { querySet, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 };
    },
    resolve(encoder) {
      encoder.resolveQuerySet(querySet, 0, 2 * passes.length, buffer, 0);
      return 2 * passes.length * BYTES_PER_QUERY;
    },
    report(bytes, timer) {
      const ns = new BigUint64Array(bytes);
      for (const [i, { operation, layer }] of passes.entries()) {
        // Clocks may be coarse, and browsers make them coarser: a pass can end in the tick in which it began.
        const spent = ns[2 * i + 1] - ns[2 * i];
        timer(operation, layer, Math.max(0, Number(spent)) / NS_PER_MS);
      }
    },
  };
}
