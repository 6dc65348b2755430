/** The generation loop: drives a Runner through prompts and answers, and knows which tokens its KV cache holds. */
import type { EvaluateOptions, Evaluation, Generation } from '../api.ts';
import { DeviceError } from '../device/backend.ts';
import { nextTask } from '../device/pause.ts';
import { type ChatTemplate, ModelError, type Tokenizer } from '../model/types.ts';
import { checkVocabulary, promptIds } from './prompt.ts';
import { randomSeed, uniform } from './random.ts';
import type { GenerateRequest } from './requests.ts';
import type { Candidates, Forwarded, Runner, Want } from './runner.ts';
import { candidatesToAskFor, type Sampling, sample } from './sampler.ts';
import { textStream } from './text-stream.ts';

export interface LoopParts {
  tokenizer: Tokenizer;
  template: ChatTemplate;
  runner: Runner;
  /**
   * Called when the runner failed with a DeviceError: another runner with an empty KV cache, or a rejection when
   * there is nothing left to try. The loop then replays its tokens and goes on. `given`: tokens of the answer that the
   * caller has already.
   */
  recover(error: DeviceError, given: number): Promise<Runner>;
  onState?(state: 'prefill' | 'decode'): void;
}

export interface GenerateHooks {
  /** `at` in milliseconds of this thread's `performance.now()`. */
  onToken?(token: { id: number; text: string; at: number }): void;
  signal?: AbortSignal;
}

export interface Loop {
  /**
   * Answers a prompt. Resolves with finishReason `abort` when the signal fires, within one prefill chunk or one token.
   * Rejects with HostError `bad-request`, ModelError `too-long` or `template`, or what `recover` rejects with.
   */
  generate(request: GenerateRequest, hooks?: GenerateHooks): Promise<Generation>;
  /** Candidates along given tokens, computed from an empty KV cache. Rejects with the signal's reason. */
  evaluate(options: EvaluateOptions, signal?: AbortSignal): Promise<Evaluation>;
}

/** Best candidates that `evaluate` reports of a position when not told how many. */
const EVALUATE_TOP = 8;

/** One conversation at a time over one runner; calls must not overlap. */
export function createLoop(parts: LoopParts): Loop {
  const { tokenizer, template } = parts;
  let runner = parts.runner;
  /** Tokens whose KV the runner holds, from position 0 on. */
  let held: number[] = [];

  /** Runs `work`, again with another runner when a device fails. `work` finds the KV cache empty then. */
  async function withRecovery<T>(given: number, work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof DeviceError)) throw error;
        held = [];
        runner = await parts.recover(error, given);
      }
    }
  }

  /** Forwards one chunk of `ids` from where the KV cache ends, at most up to position `end`. */
  async function forwardChunk(ids: number[], end: number, want: (end: number) => Want | undefined): Promise<Forwarded> {
    const from = held.length;
    const to = Math.min(end, from + runner.maxBatch);
    const chunk = ids.slice(from, to);
    const forwarded = await runner.forward(Uint32Array.from(chunk), from, want(to));
    held.push(...chunk);
    return forwarded;
  }

  /** Forwards all of `ids` that the KV cache lacks; undefined when the signal fired first. */
  async function forwardAll(
    ids: number[],
    want: Want,
    signal: AbortSignal | undefined,
  ): Promise<Candidates | undefined> {
    let last: Forwarded | undefined;
    while (held.length < ids.length) {
      await nextTask();
      if (signal?.aborted) return undefined;
      last = await forwardChunk(ids, ids.length, (end) => (end === ids.length ? want : undefined));
    }
    return only(last);
  }

  function checkLength(length: number): void {
    if (length <= runner.context) return;
    throw new ModelError(
      'too-long',
      `The prompt has ${length} tokens, but the context holds ${runner.context}. Shorten it, start a new chat, or load the model with a larger context.`,
    );
  }

  return {
    async generate(request, { onToken, signal } = {}) {
      const started = performance.now();
      const prompt = promptIds(request, tokenizer, template);
      checkLength(prompt.length);
      const sampling: Sampling = {
        temperature: request.temperature ?? 0,
        topK: request.topK ?? 0,
        topP: request.topP ?? 1,
        minP: request.minP ?? 0,
      };
      const seed = request.seed ?? randomSeed();
      const top = request.top ?? 0;
      const maxTokens = request.maxTokens ?? Number.POSITIVE_INFINITY;
      const stream = textStream(tokenizer, request.stop ?? []);

      // The last prompt token is always forwarded again: its logits choose the first token of the answer.
      const reusable = request.reuse === false ? 0 : commonPrefix(held, prompt);
      held.length = Math.min(reusable, prompt.length - 1);
      const cachedTokens = held.length;

      const sequence = prompt.slice();
      const ids: number[] = [];
      const recorded: [number, number][][] = [];
      const times: number[] = [];
      let text = '';
      let finishReason: Generation['finishReason'] = 'length';
      parts.onState?.('prefill');

      while (ids.length < maxTokens && sequence.length <= runner.context) {
        const want: Want = {
          positions: 'last',
          top: Math.max(top, candidatesToAskFor(sampling, runner.vocab)),
          temperature: sampling.temperature,
          ...penaltyOf(request.repetitionPenalty, sequence),
        };
        const draw = uniform(seed, ids.length);
        const picked = await withRecovery(ids.length, async () => {
          const candidates = await forwardAll(sequence, want, signal);
          return candidates && pick(runner, candidates, want, sampling, draw);
        });
        if (!picked) {
          finishReason = 'abort';
          break;
        }

        const { id, candidates } = picked;
        sequence.push(id);
        ids.push(id);
        if (top > 0) recorded.push(pairs(candidates, top));
        const at = performance.now();
        times.push(at);
        if (times.length === 1) parts.onState?.('decode');

        let released = '';
        const ended = tokenizer.endOfTurn.has(id) && !request.ignoreEos;
        if (!ended) released = stream.push(id);
        const full = ids.length >= maxTokens || sequence.length > runner.context;
        if (ended || full) released += stream.end();
        text += released;
        onToken?.({ id, text: released, at });
        if (ended || stream.stopped) {
          finishReason = 'stop';
          break;
        }
      }
      if (finishReason === 'abort') text += stream.end();

      const first = times[0] ?? performance.now();
      return {
        ids,
        promptIds: prompt,
        text,
        finishReason,
        ...(top > 0 ? { top: recorded } : {}),
        seed,
        timings: {
          promptTokens: prompt.length,
          cachedTokens,
          prefillMs: first - started,
          decodeTokens: Math.max(0, times.length - 1),
          decodeMs: (times.at(-1) ?? first) - first,
          gapsMs: times.slice(1).map((time, i) => time - times[i]!),
        },
      };
    },

    async evaluate(options, signal) {
      const { ids } = options;
      const from = options.from ?? 0;
      checkVocabulary(ids, tokenizer.vocabSize);
      checkLength(ids.length);
      parts.onState?.('prefill');
      return withRecovery(0, async () => {
        held = [];
        const logits: Evaluation['logits'] = [];
        let full: Float32Array | undefined;
        while (held.length < ids.length) {
          await nextTask();
          signal?.throwIfAborted();
          const start = held.length;
          // Positions before `from` need no logits, so they go in chunks of their own.
          const end = start < from ? Math.min(from, ids.length) : ids.length;
          const forwarded = await forwardChunk(ids, end, (to) => {
            const last = options.full === true && to === ids.length;
            if (start >= from)
              return {
                positions: 'all',
                top: options.top ?? EVALUATE_TOP,
                temperature: 1,
                ...(last && { full: true }),
              };
            return last ? { positions: 'last', top: 1, temperature: 1, full: true } : undefined;
          });
          if (start >= from) {
            for (const candidates of forwarded.candidates) logits.push(pairs(sound(candidates), candidates.ids.length));
          }
          full = forwarded.full?.slice() ?? full;
        }
        return { logits, ...(full && { full }) };
      });
    },
  };
}

/** Samples, asking the runner for more candidates until there are enough. */
async function pick(
  runner: Runner,
  candidates: Candidates,
  want: Want,
  sampling: Sampling,
  draw: number,
): Promise<{ id: number; candidates: Candidates }> {
  let seen = sound(candidates);
  for (;;) {
    const choice = sample(seen, sampling, draw, runner.vocab);
    if ('id' in choice) return { id: choice.id, candidates: seen };
    seen = sound(only(await runner.again({ ...want, top: Math.max(want.top, choice.more) })));
  }
}

/** Logits must be numbers: some devices answer NaN without reporting an error. */
function sound(candidates: Candidates): Candidates {
  if (candidates.ids.length > 0 && Number.isFinite(candidates.logSumExp)) return candidates;
  throw new DeviceError('wrong-numbers', 'The device computed values that are not numbers.');
}

function only(forwarded: Forwarded | undefined): Candidates {
  const candidates = forwarded?.candidates.at(-1);
  if (!candidates) throw new Error('The runner returned no candidates although some were wanted.');
  return candidates;
}

function penaltyOf(factor: number | undefined, sequence: number[]): Pick<Want, 'penalty'> {
  if (factor === undefined || factor === 1) return {};
  return { penalty: { ids: Uint32Array.from(new Set(sequence)), factor } };
}

function pairs(candidates: Candidates, top: number): [number, number][] {
  return Array.from(candidates.ids.subarray(0, top), (id, i) => [id, candidates.logits[i]!]);
}

function commonPrefix(a: number[], b: number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
