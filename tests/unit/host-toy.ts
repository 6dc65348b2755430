/** A toy language model for the host's tests: its logits depend on every token before, so a wrong KV cache shows. */
import { selectCandidates } from '../../web/device/candidates.ts';
import type { Forwarded, Runner, Want } from '../../web/host/runner.ts';
import type { ChatTemplate, Tokenizer } from '../../web/model/types.ts';

export const BOS = 256;
export const END = 257;
/** Bytes 0..255, BOS, END, and some tokens of several bytes. */
export const VOCAB = 272;
const WORDS = ['the ', 'bee', ' and', 'STOP', 'ST', 'OP!', '🐝', 'é', 'ing', '\n\n', 'a', 'user', 'x', 'yz'];

export const toyTokenizer: Tokenizer = {
  vocabSize: VOCAB,
  bos: BOS,
  endOfTurn: new Set([END]),
  addBos: true,
  encode(text, { special }) {
    const parts = special ? text.split(/(<bos>|<end>)/) : [text];
    return parts.flatMap((part) => {
      if (special && part === '<bos>') return [BOS];
      if (special && part === '<end>') return [END];
      return [...new TextEncoder().encode(part)];
    });
  },
  bytes(id) {
    if (id < 256) return Uint8Array.of(id);
    return new TextEncoder().encode(id < 258 ? '' : WORDS[id - 258]!);
  },
  decode(ids) {
    return new TextDecoder().decode(Uint8Array.from(ids.flatMap((id) => [...this.bytes(id)])));
  },
  piece(id) {
    return id === BOS ? '<bos>' : id === END ? '<end>' : this.decode([id]);
  },
};

export const toyTemplate: ChatTemplate = (messages, { generationPrompt }) =>
  `<bos>${messages.map((message) => `${message.role}: ${message.content}<end>`).join('')}${generationPrompt ? 'assistant: ' : ''}`;

export interface ToyRunner extends Runner {
  /** Calls of `forward` so far: [position, count, wanted]. */
  readonly calls: [position: number, count: number, wanted: boolean][];
  /** Called before every forward; may throw to play a fault. */
  before?: (call: number) => void | Promise<void>;
}

/** @param script tokens that win at the given sequence lengths, whatever came before */
export function toyRunner(
  options: { context?: number; maxBatch?: number; script?: ReadonlyMap<number, number> } = {},
): ToyRunner {
  const context = options.context ?? 256;
  const maxBatch = options.maxBatch ?? 8;
  const kv: number[] = [];
  const calls: ToyRunner['calls'] = [];
  let last: Float32Array[] = [];
  const answer = (want: Want): Forwarded => ({
    candidates: last.map((logits) => selectCandidates([{ row: 0, logits }], want)),
    ...(want.full && { full: last.at(-1)!.slice() }),
  });
  const runner: ToyRunner = {
    context,
    maxBatch,
    vocab: VOCAB,
    calls,
    async forward(ids, position, want) {
      await runner.before?.(calls.length);
      if (ids.length === 0 || ids.length > maxBatch) throw new Error(`a batch of ${ids.length}`);
      if (position > kv.length) throw new Error(`position ${position} leaves a gap after ${kv.length}`);
      if (position + ids.length > context) throw new Error('beyond the context');
      calls.push([position, ids.length, want !== undefined]);
      kv.length = position;
      const all: Float32Array[] = [];
      for (const id of ids) {
        kv.push(id);
        all.push(toyLogits(kv, options.script));
      }
      if (!want) return { candidates: [] };
      last = want.positions === 'all' ? all : all.slice(-1);
      return answer(want);
    },
    async again(want) {
      return answer(want);
    },
  };
  return runner;
}

/** Logits after `sequence`, in −6..6, from a hash of all of it (FNV-1a, then an xorshift stream). */
export function toyLogits(sequence: number[], script?: ReadonlyMap<number, number>): Float32Array {
  let hash = 0x811c9dc5;
  for (const id of sequence) hash = Math.imul(hash ^ id, 0x01000193) >>> 0;
  let state = hash || 1;
  const logits = Float32Array.from({ length: VOCAB }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) / 2 ** 32) * 12 - 6;
  });
  logits[END] = -20;
  const scripted = script?.get(sequence.length);
  if (scripted !== undefined) logits[scripted] = 100;
  return logits;
}
