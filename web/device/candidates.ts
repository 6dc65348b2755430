/** The best tokens of a position out of its logits, whole or in parts, here or on several devices. */
import { expNegative, logPositive } from './exponential.ts';
import type { Candidates, Want } from './want.ts';

/** Logits of consecutive vocabulary rows. */
export interface LogitPart {
  /** Global vocabulary row of `logits[0]`. */
  row: number;
  logits: Float32Array;
}

/** Whether (logit a, id a) comes before (logit b, id b): higher logit, then lower id. */
const before = (logitA: number, idA: number, logitB: number, idB: number): boolean =>
  logitA > logitB || (logitA === logitB && idA < idB);

/**
 * Best `want.top` tokens of one position, and the logarithm of the sum over all of its logits.
 * The parts may come in any order, and may be only one device's share of the vocabulary: `mergeCandidates` joins shares.
 * NaN logits are never candidates and make `logSumExp` NaN, which is how the generation loop sees a broken device.
 */
export function selectCandidates(parts: LogitPart[], want: Want): Candidates {
  const penalised = want.penalty ? parts.map((part) => penalise(part, want.penalty!)) : parts;
  return {
    ...bestOf(penalised, want.top),
    logSumExp: logSumExp(penalised, want.temperature),
  };
}

/** Candidates of the whole vocabulary from those of disjoint shares, each taken with the same `want`. */
export function mergeCandidates(shares: Candidates[], top: number): Candidates {
  if (shares.length === 1 && shares[0]!.ids.length <= top) return shares[0]!;
  const order = shares.flatMap((share) => Array.from(share.ids, (id, i) => ({ id, logit: share.logits[i]! })));
  order.sort((a, b) => (before(a.logit, a.id, b.logit, b.id) ? -1 : 1));
  order.length = Math.min(order.length, top);
  let max = -Infinity;
  for (const share of shares) max = Math.max(max, share.logSumExp);
  let sum = 0;
  for (const share of shares) sum += max === -Infinity ? 0 : expNegative(share.logSumExp - max);
  return {
    ids: Uint32Array.from(order, (candidate) => candidate.id),
    logits: Float32Array.from(order, (candidate) => candidate.logit),
    logSumExp: max === -Infinity ? max : max + logPositive(sum),
  };
}

function penalise(part: LogitPart, penalty: NonNullable<Want['penalty']>): LogitPart {
  const logits = part.logits.slice();
  for (const id of new Set(penalty.ids)) {
    const i = id - part.row;
    if (i < 0 || i >= logits.length) continue;
    const logit = logits[i]!;
    logits[i] = logit > 0 ? logit / penalty.factor : logit * penalty.factor;
  }
  return { row: part.row, logits };
}

/** log Σ exp(logit / temperature) in double precision; −Infinity for no logits, NaN when one is NaN or infinite. */
function logSumExp(parts: LogitPart[], temperature: number): number {
  const scale = 1 / (temperature || 1);
  let max = -Infinity;
  for (const { logits } of parts) max = Math.max(max, largest(logits));
  if (max === Infinity) return Number.NaN;
  let sum = 0;
  for (const { logits } of parts) {
    for (let i = 0; i < logits.length; i++) sum += expNegative((logits[i]! - max) * scale);
  }
  // All −Infinity or NaN: the maximum never moved.
  if (max === -Infinity) return parts.some((part) => part.logits.length > 0) ? Number.NaN : max;
  return Number.isNaN(sum) ? sum : max * scale + logPositive(sum);
}

/** Not counting NaN. */
function largest(logits: Float32Array): number {
  let max = -Infinity;
  for (let i = 0; i < logits.length; i++) if (logits[i]! > max) max = logits[i]!;
  return max;
}

/**
 * The best `top`, sorted. A heap with the worst kept token at its root: most of a vocabulary fails the one comparison
 * with the root, so the cost is a scan for the few candidates that sampling wants.
 */
export function bestOf(parts: LogitPart[], top: number): { ids: Uint32Array; logits: Float32Array } {
  const size = Math.min(
    top,
    parts.reduce((sum, part) => sum + part.logits.length, 0),
  );
  const ids = new Uint32Array(size);
  const values = new Float32Array(size);
  let count = 0;

  const place = (at: number, limit: number, logit: number, id: number): void => {
    let i = at;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= limit) break;
      if (child + 1 < limit && before(values[child]!, ids[child]!, values[child + 1]!, ids[child + 1]!)) child++;
      if (!before(logit, id, values[child]!, ids[child]!)) break;
      values[i] = values[child]!;
      ids[i] = ids[child]!;
      i = child;
    }
    values[i] = logit;
    ids[i] = id;
  };
  const append = (logit: number, id: number): void => {
    let i = count++;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(values[parent]!, ids[parent]!, logit, id)) break;
      values[i] = values[parent]!;
      ids[i] = ids[parent]!;
      i = parent;
    }
    values[i] = logit;
    ids[i] = id;
  };

  if (size > 0) {
    for (const { row, logits } of parts) {
      let i = 0;
      for (; i < logits.length && count < size; i++) if (!Number.isNaN(logits[i]!)) append(logits[i]!, row + i);
      // Nearly all of a vocabulary is done with here.
      let worst = values[0]!;
      for (; i < logits.length; i++) {
        const logit = logits[i]!;
        if (!(logit >= worst) || !before(logit, row + i, worst, ids[0]!)) continue;
        place(0, size, logit, row + i);
        worst = values[0]!;
      }
    }
  }
  // Heap sort in place: the worst goes to the end, again and again.
  for (let end = count - 1; end > 0; end--) {
    const logit = values[end]!;
    const id = ids[end]!;
    values[end] = values[0]!;
    ids[end] = ids[0]!;
    place(0, end, logit, id);
  }
  return { ids: ids.subarray(0, count), logits: values.subarray(0, count) };
}
