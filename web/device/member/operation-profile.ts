/** Sums of where a device's time goes, by operation and layer, for whoever opened the page with `?profile=1`. */
import type { OperationTimes, PhaseTimes } from '../../mesh/control.ts';
import type { Operation } from '../../mesh/operations.ts';
import type { OperationTimer } from '../run-timed.ts';

/** One batch, from its arrival on. Counts only once it is over. */
export interface TimedBatch {
  timer: OperationTimer;
  /** @param ms from the batch's arrival to its end, waiting included */
  end(ms: number): void;
}

export interface OperationProfile {
  begin(tokens: number): TimedBatch;
  /** @param timesOperations what the backend says of itself */
  times(timesOperations: boolean): OperationTimes;
  clear(): void;
}

interface Sums {
  batches: number;
  tokens: number;
  ms: number;
  /** By layer; undefined for what belongs to none. */
  layers: Map<number | undefined, Map<Operation, number>>;
}

const US_PER_MS = 1000;

const empty = (): Sums => ({ batches: 0, tokens: 0, ms: 0, layers: new Map() });

export function createOperationProfile(): OperationProfile {
  let prefill = empty();
  let decode = empty();
  return {
    begin(tokens) {
      // A prompt's last batch may be one token, which costs what a decoded one costs.
      const sums = tokens > 1 ? prefill : decode;
      const times: [Operation, number | undefined, number][] = [];
      return {
        timer: (operation, layer, ms) => times.push([operation, layer, ms]),
        end(ms) {
          sums.batches++;
          sums.tokens += tokens;
          sums.ms += ms;
          for (const [operation, layer, spent] of times) add(sums, operation, layer, spent);
        },
      };
    },
    times: (timesOperations) => ({ timesOperations, prefill: told(prefill), decode: told(decode) }),
    clear() {
      prefill = empty();
      decode = empty();
    },
  };
}

function add({ layers }: Sums, operation: Operation, layer: number | undefined, ms: number): void {
  const row = layers.get(layer) ?? new Map<Operation, number>();
  layers.set(layer, row);
  row.set(operation, (row.get(operation) ?? 0) + ms);
}

function told({ batches, tokens, ms, layers }: Sums): PhaseTimes {
  const row = (times: ReadonlyMap<Operation, number>): [Operation, number][] =>
    [...times].map(([operation, spent]) => [operation, Math.round(US_PER_MS * spent)]);
  return {
    ...{ batches, tokens, us: Math.round(US_PER_MS * ms) },
    layers: [...layers]
      .flatMap(([layer, times]): PhaseTimes['layers'] => (layer === undefined ? [] : [[layer, row(times)]]))
      .sort(([a], [b]) => a - b),
    rest: row(layers.get(undefined) ?? new Map()),
  };
}
