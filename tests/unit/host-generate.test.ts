import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { Message } from '../../web/api.ts';
import { DeviceError } from '../../web/device/backend.ts';
import { selectCandidates } from '../../web/device/candidates.ts';
import { createLoop, type GenerateHooks, type LoopParts } from '../../web/host/generate.ts';
import type { GenerateRequest } from '../../web/host/requests.ts';
import { BOS, END, type ToyRunner, toyLogits, toyRunner, toyTemplate, toyTokenizer, VOCAB } from './host-toy.ts';

const prompt = [BOS, 10, 20, 30];

function loopOver(runner: ToyRunner, recover?: LoopParts['recover']) {
  return createLoop({
    tokenizer: toyTokenizer,
    template: toyTemplate,
    runner,
    recover:
      recover ??
      ((error) => {
        throw error;
      }),
  });
}
const fresh = (request: GenerateRequest, options?: Parameters<typeof toyRunner>[0], hooks?: GenerateHooks) =>
  loopOver(toyRunner(options)).generate(request, hooks);

/** The toy's greedy answer by definition. */
function greedy(from: number[], count: number): number[] {
  const sequence = [...from];
  for (let i = 0; i < count; i++) {
    const best = selectCandidates([{ row: 0, logits: toyLogits(sequence) }], {
      positions: 'last',
      top: 1,
      temperature: 0,
    });
    sequence.push(best.ids[0]!);
  }
  return sequence.slice(from.length);
}

describe('generate', () => {
  it('is greedy by default and reports what it did', async () => {
    const result = await fresh({ ids: prompt, maxTokens: 6 });
    expect(result.ids).toEqual(greedy(prompt, 6));
    expect(result.promptIds).toEqual(prompt);
    expect(result.finishReason).toBe('length');
    expect(result.timings).toMatchObject({ promptTokens: 4, cachedTokens: 0, decodeTokens: 5 });
    expect(result.timings.gapsMs).toHaveLength(5);
    expect(result.top).toBeUndefined();
  });

  it('takes text with BOS before it once, and messages through the template', async () => {
    const text = await fresh({ prompt: 'hi', maxTokens: 1 });
    expect(text.promptIds).toEqual([BOS, 104, 105]);
    const messages = await fresh({ messages: [{ role: 'user', content: 'hi' }], maxTokens: 1 });
    expect(messages.promptIds).toEqual(toyTokenizer.encode('<bos>user: hi<end>assistant: ', { special: true }));
  });

  it('prefills in batches and asks only the last one for candidates', async () => {
    const runner = toyRunner({ maxBatch: 4 });
    const ids = Array.from({ length: 10 }, (_, i) => i);
    await loopOver(runner).generate({ ids, maxTokens: 3 });
    expect(runner.calls).toEqual([
      [0, 4, false],
      [4, 4, false],
      [8, 2, true],
      [10, 1, true],
      [11, 1, true],
    ]);
  });

  it('gives the same text for the same seed, and other texts for others', async () => {
    const request = { ids: prompt, maxTokens: 20, temperature: 1.5, seed: 42 };
    const first = await fresh(request);
    const again = await fresh({ ...request, seed: (await fresh(request)).seed });
    expect(again.ids).toEqual(first.ids);
    expect((await fresh({ ...request, seed: 43 })).ids).not.toEqual(first.ids);
    const unseeded = await fresh({ ...request, seed: undefined });
    expect((await fresh({ ...request, seed: unseeded.seed })).ids).toEqual(unseeded.ids);
  });

  it('samples the same with candidates in small portions', async () => {
    const request = { ids: prompt, maxTokens: 30, temperature: 30, topP: 0.95, seed: 1 };
    const runner = toyRunner();
    const again = vi.spyOn(runner, 'again');
    const result = await loopOver(runner).generate(request);
    expect(again).toHaveBeenCalled();
    expect((await fresh({ ...request, top: VOCAB })).ids).toEqual(result.ids);
  });

  it('applies the repetition penalty to everything before', async () => {
    const plain = await fresh({ ids: prompt, maxTokens: 40, temperature: 0.05, topK: 3, seed: 3 });
    const result = await fresh({ ids: prompt, maxTokens: 40, repetitionPenalty: 1e6 });
    expect(new Set([...prompt, ...result.ids]).size).toBe(prompt.length + 40);
    expect(plain.ids).toHaveLength(40);
  });

  it('records the best candidates of every token', async () => {
    const result = await fresh({ ids: prompt, maxTokens: 3, top: 4 });
    expect(result.top).toHaveLength(3);
    const best = selectCandidates([{ row: 0, logits: toyLogits([...prompt, result.ids[0]!]) }], {
      positions: 'last',
      top: 4,
      temperature: 0,
    });
    expect(result.top![1]).toEqual([...best.ids].map((id, i) => [id, best.logits[i]]));
  });

  it('streams what it returns, token by token', async () => {
    const seen: { id: number; text: string; at: number }[] = [];
    const result = await fresh(
      { ids: prompt, maxTokens: 30, stop: ['never this'] },
      {},
      { onToken: (t) => seen.push(t) },
    );
    expect(seen.map((token) => token.id)).toEqual(result.ids);
    expect(seen.map((token) => token.text).join('')).toBe(result.text);
    expect(seen.map((token) => token.at)).toEqual(seen.map((token) => token.at).toSorted((a, b) => a - b));
  });

  it('ends at an end-of-turn token, or goes on when told to', async () => {
    const script = new Map([[6, END]]);
    const result = await fresh({ ids: prompt }, { script });
    expect(result).toMatchObject({ finishReason: 'stop' });
    expect(result.ids.at(-1)).toBe(END);
    expect(result.ids).toHaveLength(3);
    const onward = await fresh({ ids: prompt, ignoreEos: true, maxTokens: 8 }, { script });
    expect(onward.ids).toHaveLength(8);
    expect(onward.ids[2]).toBe(END);
  });

  it('ends before a stop string that several tokens spell', async () => {
    // 'x', 'ST', 'OP!' after four prompt tokens: the stop string ends inside the third.
    const script = new Map([
      [4, 270],
      [5, 262],
      [6, 263],
    ]);
    const seen: string[] = [];
    const result = await fresh({ ids: prompt, stop: ['STOP'] }, { script }, { onToken: (t) => seen.push(t.text) });
    expect(result).toMatchObject({ finishReason: 'stop', text: 'x', ids: [270, 262, 263] });
    expect(seen).toEqual(['x', '', '']);
  });

  it('holds back half a character, at the end too', async () => {
    const bee = [...new TextEncoder().encode('🐝')];
    const script = new Map(bee.map((byte, i) => [4 + i, byte]));
    const seen: string[] = [];
    const whole = await fresh({ ids: prompt, maxTokens: 4 }, { script }, { onToken: (t) => seen.push(t.text) });
    expect(whole.text).toBe('🐝');
    expect(seen).toEqual(['', '', '', '🐝']);
    expect((await fresh({ ids: prompt, maxTokens: 3 }, { script })).text).toBe('');
  });

  it('ends with `length` when the context is full', async () => {
    const result = await fresh({ ids: prompt }, { context: 16 });
    expect(result.finishReason).toBe('length');
    // The last token needs no place: nothing follows it.
    expect(result.ids).toEqual(greedy(prompt, 16 - prompt.length + 1));
    const filled = Array.from({ length: 16 }, () => 1);
    expect((await fresh({ ids: filled }, { context: 16 })).ids).toHaveLength(1);
  });

  it('refuses a prompt longer than the context, with the numbers', async () => {
    const ids = Array.from({ length: 17 }, () => 1);
    await expect(fresh({ ids }, { context: 16 })).rejects.toMatchObject({
      code: 'too-long',
      message: expect.stringMatching(/17 tokens.*16/),
    });
  });

  it('refuses an empty prompt and unknown tokens', async () => {
    await expect(fresh({ ids: [] })).rejects.toMatchObject({ code: 'bad-request' });
    await expect(fresh({ ids: [VOCAB] })).rejects.toMatchObject({
      code: 'bad-request',
      message: expect.stringContaining(`${VOCAB}`),
    });
  });
});

describe('the KV cache', () => {
  it('is kept between turns: only what is new is prefilled', async () => {
    const runner = toyRunner({ maxBatch: 64 });
    const loop = loopOver(runner);
    const first = await loop.generate({ ids: prompt, maxTokens: 5 });
    const next = [...prompt, ...first.ids, 7, 8];
    const second = await loop.generate({ ids: next, maxTokens: 5 });
    // The last token of the first answer was never forwarded.
    expect(second.timings.cachedTokens).toBe(prompt.length + 4);
    expect(runner.calls).toContainEqual([prompt.length + 4, 3, true]);
    expect(second.ids).toEqual((await fresh({ ids: next, maxTokens: 5 })).ids);
  });

  it('is used up to the first difference, and never for the whole prompt', async () => {
    const loop = loopOver(toyRunner());
    await loop.generate({ ids: [1, 2, 3, 4, 5], maxTokens: 1 });
    const other = await loop.generate({ ids: [1, 2, 9, 4, 5], maxTokens: 4 });
    expect(other.timings.cachedTokens).toBe(2);
    expect(other.ids).toEqual((await fresh({ ids: [1, 2, 9, 4, 5], maxTokens: 4 })).ids);
    const same = await loop.generate({ ids: [1, 2, 9, 4, 5], maxTokens: 4 });
    expect(same.timings.cachedTokens).toBe(4);
    expect(same.ids).toEqual(other.ids);
  });

  it('is left alone with reuse: false', async () => {
    const loop = loopOver(toyRunner());
    await loop.generate({ ids: prompt, maxTokens: 3 });
    expect((await loop.generate({ ids: prompt, maxTokens: 3, reuse: false })).timings.cachedTokens).toBe(0);
  });

  it('never changes an answer, whatever was asked before', async () => {
    const request = fc.record({
      ids: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 12 }),
      maxTokens: fc.nat(6),
      reuse: fc.option(fc.boolean(), { nil: undefined }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 6 }), async (requests) => {
        const loop = loopOver(toyRunner({ maxBatch: 3 }));
        for (const each of requests) {
          expect((await loop.generate(each)).ids).toEqual(greedy(each.ids, each.maxTokens));
        }
      }),
      { numRuns: 50 },
    );
  });

  it('makes a chat of three turns equal to the same chat told at once', async () => {
    const loop = loopOver(toyRunner({ context: 512 }));
    const messages: Message[] = [];
    for (const content of ['hello', 'and then?', 'why?']) {
      messages.push({ role: 'user', content });
      const turn = await loop.generate({ messages, maxTokens: 9 });
      expect(turn.ids).toEqual((await fresh({ messages, maxTokens: 9 }, { context: 512 })).ids);
      messages.push({ role: 'assistant', content: turn.text });
    }
  });
});

describe('stop', () => {
  it('at any token leaves the loop as good as new: 50 times', async () => {
    const loop = loopOver(toyRunner());
    const expected = greedy(prompt, 12);
    for (let round = 0; round < 50; round++) {
      const at = 1 + ((round * 7) % 11);
      const controller = new AbortController();
      let seen = 0;
      const cancelled = await loop.generate(
        { ids: prompt, maxTokens: 12, reuse: round % 3 !== 0 },
        { signal: controller.signal, onToken: () => ++seen === at && controller.abort() },
      );
      expect(cancelled.finishReason).toBe('abort');
      expect(cancelled.ids).toEqual(expected.slice(0, at));
    }
    expect((await loop.generate({ ids: prompt, maxTokens: 12 })).ids).toEqual(expected);
  });

  it('ends a long prefill within one chunk, and the next call goes on from there', async () => {
    const runner = toyRunner({ maxBatch: 4 });
    const loop = loopOver(runner);
    const controller = new AbortController();
    runner.before = (call) => {
      if (call === 2) controller.abort();
    };
    const ids = Array.from({ length: 40 }, (_, i) => i);
    const cancelled = await loop.generate({ ids, maxTokens: 5 }, { signal: controller.signal });
    expect(cancelled).toMatchObject({ finishReason: 'abort', ids: [], text: '' });
    expect(runner.calls).toHaveLength(3);
    const result = await loop.generate({ ids, maxTokens: 5 });
    expect(result.timings.cachedTokens).toBe(12);
    expect(result.ids).toEqual(greedy(ids, 5));
  });

  it('before the start computes nothing', async () => {
    const runner = toyRunner();
    const result = await loopOver(runner).generate({ ids: prompt }, { signal: AbortSignal.abort() });
    expect(result).toMatchObject({ finishReason: 'abort', ids: [] });
    expect(runner.calls).toEqual([]);
  });
});

describe('a device that fails', () => {
  it('at any forward: the answer goes on with no token lost or doubled', async () => {
    const request = { ids: prompt, maxTokens: 10, temperature: 2, seed: 5, topP: 0.9 };
    const expected = await fresh(request, { maxBatch: 3 });
    for (let failing = 0; failing < 11; failing++) {
      const runner = toyRunner({ maxBatch: 3 });
      runner.before = (call) => {
        if (call === failing) throw new DeviceError('lost', 'played');
      };
      const seen: number[] = [];
      const recover = vi.fn(async () => toyRunner({ maxBatch: 5 }));
      const result = await loopOver(runner, recover).generate(request, { onToken: ({ id }) => seen.push(id) });
      expect(recover).toHaveBeenCalledOnce();
      expect(result.ids).toEqual(expected.ids);
      expect(seen).toEqual(expected.ids);
      expect(result.text).toBe(expected.text);
    }
  });

  it('while it is asked for more candidates', async () => {
    const request = { ids: prompt, maxTokens: 5, temperature: 30, seed: 2 };
    const expected = await fresh(request);
    const runner = toyRunner();
    runner.again = () => Promise.reject(new DeviceError('lost', 'played'));
    const result = await loopOver(runner, async () => toyRunner()).generate(request);
    expect(result.ids).toEqual(expected.ids);
  });

  it('with values that are not numbers is not believed', async () => {
    const runner = toyRunner();
    const forward = runner.forward;
    runner.forward = async (ids, position, want) => {
      const forwarded = await forward(ids, position, want);
      for (const candidates of forwarded.candidates) candidates.logSumExp = Number.NaN;
      return forwarded;
    };
    await expect(loopOver(runner).generate({ ids: prompt, maxTokens: 2 })).rejects.toMatchObject({
      code: 'wrong-numbers',
    });
    const result = await loopOver(runner, async () => toyRunner()).generate({ ids: prompt, maxTokens: 2 });
    expect(result.ids).toEqual(greedy(prompt, 2));
  });

  it('for good rejects with what recovery says, and a later call works', async () => {
    const runner = toyRunner();
    runner.before = (call) => {
      if (call === 2) throw new DeviceError('lost', 'played');
    };
    const loop = loopOver(runner, () => Promise.reject(new DeviceError('lost', 'nothing left')));
    await expect(loop.generate({ ids: prompt, maxTokens: 5 })).rejects.toMatchObject({ message: 'nothing left' });
    runner.before = undefined;
    expect((await loop.generate({ ids: prompt, maxTokens: 5 })).ids).toEqual(greedy(prompt, 5));
  });
});

describe('evaluate', () => {
  it('is teacher-forced: one entry per position from `from` on', async () => {
    const ids = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    const loop = loopOver(toyRunner({ maxBatch: 2 }));
    await loop.generate({ ids: [1, 2, 3], maxTokens: 2 });
    const { logits, full } = await loop.evaluate({ ids, from: 3, top: 5, full: true });
    expect(logits).toHaveLength(6);
    for (const [i, entry] of logits.entries()) {
      const want = { positions: 'last' as const, top: 5, temperature: 1 };
      const best = selectCandidates([{ row: 0, logits: toyLogits(ids.slice(0, 4 + i)) }], want);
      expect(entry).toEqual([...best.ids].map((id, k) => [id, best.logits[k]]));
    }
    expect(full).toEqual(toyLogits(ids));
    expect((await loop.evaluate({ ids })).logits).toHaveLength(9);
    expect(await loop.evaluate({ ids, from: 9, full: true })).toEqual({ logits: [], full: toyLogits(ids) });
  });

  it('starts again when the device fails half-way', async () => {
    const runner = toyRunner({ maxBatch: 2 });
    runner.before = (call) => {
      if (call === 2) throw new DeviceError('lost', 'played');
    };
    const loop = loopOver(runner, async () => toyRunner());
    const ids = [1, 2, 3, 4, 5, 6, 7];
    expect(await loop.evaluate({ ids })).toEqual(await loopOver(toyRunner()).evaluate({ ids }));
  });
});
