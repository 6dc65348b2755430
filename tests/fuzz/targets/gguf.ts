import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { readModel } from '../../../web/host/open-model.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { type ByteSource, ModelError } from '../../../web/model/types.ts';
import { fixture, openModel } from '../../unit/model/golden.ts';
import { headerEdits, patched } from '../../unit/model/hostile-gguf.ts';
import { type Gguf, type GgufValue, writeGguf } from '../../unit/model/write-gguf.ts';
import { allow, check, target } from '../target.ts';

const FIXTURE = 'tiny-qwen2.Q4_K_M.gguf';

const words = fc.oneof(fc.string({ maxLength: 12 }), fc.constantFrom('a', 'Ġ', 'llama', 'gpt2', '<s>', '{{ x }}', ''));
const value: fc.Arbitrary<GgufValue> = fc.oneof(
  fc.record({ type: fc.constantFrom('u8', 'i8', 'u16', 'i16', 'u32', 'i32'), value: fc.integer() }),
  fc.record({ type: fc.constantFrom('f32', 'f64'), value: fc.double() }),
  fc.record({ type: fc.constantFrom('u64', 'i64'), value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) }),
  fc.record({ type: fc.constant('bool'), value: fc.boolean() }),
  words.map((text): GgufValue => ({ type: 'string', value: text })),
  fc.record({ type: fc.constant('array'), of: fc.constant('string'), values: fc.array(words, { maxLength: 8 }) }),
  fc.record({
    type: fc.constant('array'),
    of: fc.constantFrom('i32', 'u32', 'f32'),
    values: fc.array(fc.integer(), { maxLength: 8 }),
  }),
) as fc.Arbitrary<GgufValue>;

/** Keys that the engine looks at, so that values of the wrong kind reach everything behind the header. */
const KEYS = [
  ...['general.architecture', 'general.alignment', 'split.count', 'split.no', 'tokenizer.chat_template'],
  ...['model', 'pre', 'tokens', 'token_type', 'scores', 'merges', 'bos_token_id', 'eos_token_id'].map(
    (key) => `tokenizer.ggml.${key}`,
  ),
  ...['block_count', 'embedding_length', 'attention.head_count', 'attention.head_count_kv', 'feed_forward_length'].map(
    (key) => `llama.${key}`,
  ),
  ...['context_length', 'rope.freq_base', 'rope.dimension_count', 'rope.scaling.type', 'vocab_size'].map(
    (key) => `llama.${key}`,
  ),
];
const count = fc.option(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { nil: undefined });
const madeUp: fc.Arbitrary<Gguf> = fc.record({
  version: fc.constantFrom(2, 3, 3, 3, 4),
  metadata: fc.dictionary(
    fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...KEYS) }, { weight: 1, arbitrary: words }),
    value,
    { maxKeys: 10 },
  ),
  tensors: fc.array(
    fc.record({
      name: fc.oneof(
        fc.constantFrom('token_embd.weight', 'output.weight', 'output_norm.weight', 'blk.0.attn_q.weight'),
        words,
      ),
      shape: fc.array(fc.oneof(fc.nat(64), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })), { maxLength: 5 }),
      type: fc.oneof(fc.constantFrom(0, 1, 2, 8, 12), fc.nat(50)),
    }),
    { maxLength: 4 },
  ),
  tensorCount: fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: count }),
  metadataCount: fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: count }),
}) as fc.Arbitrary<Gguf>;

export async function make() {
  const whole = new Uint8Array(readFileSync(fixture(FIXTURE)));
  const { tensors } = await openModel(fixture(FIXTURE));
  const header = Math.min(...[...tensors.values()].map(({ offset }) => offset));
  const damaged = headerEdits(header).map((edits) => patched(whole, edits));
  const noise = fc.uint8Array({ maxLength: 200 }).map((bytes) => bytesSource(bytes, 'noise.gguf'));
  const cut = fc.nat(header).map((length) => bytesSource(whole.subarray(0, length), 'cut.gguf'));
  return target<ByteSource>({
    cases: fc.oneof(
      { weight: 5, arbitrary: damaged },
      { weight: 5, arbitrary: madeUp.map((gguf) => bytesSource(writeGguf(gguf), 'made-up.gguf')) },
      { weight: 1, arbitrary: noise },
      { weight: 1, arbitrary: cut },
    ),
    async run(source) {
      try {
        const { file } = await readModel(source);
        for (const { name, offset, bytes } of file.tensors.values())
          check(offset + bytes <= source.size, `tensor ${name} lies outside the file`);
      } catch (error) {
        allow(error, ModelError);
      }
    },
  });
}
