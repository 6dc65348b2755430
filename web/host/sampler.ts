/** Which token follows: pure functions on candidates. Order: penalty (in the Runner), temperature, top-k, top-p, min-p. */
import { expNegative } from '../device/exponential.ts';
import type { Candidates } from './runner.ts';

export interface Sampling {
  /** 0 takes the best token, the lowest id among equals. */
  temperature: number;
  /** Only the k best; 0 is off. */
  topK: number;
  /** Only the smallest set of best tokens that holds this much of the probability left by top-k; 1 is off. */
  topP: number;
  /** Only tokens at least this many times as probable as the best; 0 is off. */
  minP: number;
}

/** Candidates to ask for first when nothing but the probabilities says how many are needed. */
const FIRST_GUESS = 64;
/** Factor from one request to the next. */
const GROWTH = 8;

/** How many candidates to ask the Runner for. Usually enough; `sample` says when it is not. */
export function candidatesToAskFor(sampling: Sampling, vocab: number): number {
  if (sampling.temperature === 0) return 1;
  return Math.min(vocab, sampling.topK > 0 ? sampling.topK : FIRST_GUESS);
}

/**
 * Draws a token, or says how many candidates it needs to see first. The answer does not depend on how many candidates
 * were given beyond those needed: probabilities come from `logSumExp`, which counts the whole vocabulary.
 * @param candidates taken with `sampling.temperature`
 * @param u the draw, in [0, 1): give the same one again after asking for more
 * @param vocab size of the whole vocabulary
 */
export function sample(
  candidates: Candidates,
  sampling: Sampling,
  u: number,
  vocab: number,
): { id: number } | { more: number } {
  const { ids, logits, logSumExp } = candidates;
  if (sampling.temperature === 0) return { id: ids[0]! };

  const limit = sampling.topK > 0 ? Math.min(sampling.topK, vocab) : vocab;
  const more = { more: Math.min(limit, vocab, ids.length * GROWTH) };
  const count = Math.min(limit, ids.length);
  const complete = count === limit;
  const probability = (i: number): number => expNegative(Math.min(0, logits[i]! / sampling.temperature - logSumExp));

  // Top-p counts what top-k left; without top-k that is everything.
  let mass = 1;
  if (sampling.topK > 0) {
    if (!complete) return more;
    mass = 0;
    for (let i = 0; i < count; i++) mass += probability(i);
  }
  const enough = sampling.topP < 1 ? sampling.topP * mass : Number.POSITIVE_INFINITY;
  const least = sampling.minP * probability(0);

  // Every filter keeps a run of best tokens: find its end.
  let kept = 0;
  let sum = 0;
  let ended = false;
  while (kept < count && !ended) {
    const p = probability(kept);
    if (kept > 0 && p < least) ended = true;
    else {
      sum += p;
      kept++;
      ended = sum >= enough;
    }
  }
  const open = !ended && !complete;
  const filtered = sampling.topK > 0 || sampling.topP < 1 || sampling.minP > 0;
  if (open && filtered) return more;

  // Without a filter the run is the whole vocabulary, of mass 1, and only as much of it is seen as the draw reaches.
  const target = u * (filtered ? sum : 1);
  let reached = 0;
  for (let i = 0; i < kept; i++) {
    reached += probability(i);
    if (target < reached) return { id: ids[i]! };
  }
  return open ? more : { id: ids[kept - 1]! };
}
