import fc from 'fast-check';
import { makeTokenizer } from '../../../web/model/tokenizer.ts';
import { type MetadataValue, ModelError, type ModelFile } from '../../../web/model/types.ts';
import { allow, check, target } from '../target.ts';

const letter = fc.constantFrom('a', 'b', 'Ġ', '▁', ' ', '<', '|', '>', 'Ċ', '語', '\u{1f41d}', 'é', '1', "'", 'S');
const token = fc.oneof(
  { weight: 6, arbitrary: fc.string({ unit: letter, maxLength: 6 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 4 }) },
  { weight: 1, arbitrary: fc.nat(255).map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`) },
  { weight: 1, arbitrary: fc.constantFrom('<|im_end|>', '</s>', '', '\ud800') },
);
const PRE = [
  'llama-bpe',
  'dbrx',
  'qwen2',
  'smollm',
  'gpt-2',
  'tekken',
  'gpt-4o',
  'deepseek-coder',
  'falcon',
  'default',
];

/** A vocabulary whose parts mostly fit each other, and wrong values in place of some of them. */
const vocabulary = fc
  .array(token, { minLength: 1, maxLength: 40 })
  .chain((tokens) =>
    fc.record({
      model: fc.constantFrom<MetadataValue>('gpt2', 'gpt2', 'gpt2', 'llama', 'llama', 'bert', 5),
      pre: fc.option(fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...PRE) }, { weight: 1, arbitrary: token }), {
        nil: undefined,
      }),
      tokens: fc.constant<MetadataValue>(tokens),
      token_type: fc.option(
        fc.array(fc.integer({ min: -1, max: 8 }), { minLength: tokens.length, maxLength: tokens.length }),
        { nil: undefined },
      ),
      scores: fc.array(fc.oneof(fc.double(), fc.integer()), { minLength: tokens.length, maxLength: tokens.length }),
      merges: fc.array(
        fc.oneof(
          { weight: 9, arbitrary: fc.tuple(token, token).map((pair) => pair.join(' ')) },
          { weight: 1, arbitrary: token },
        ),
        { maxLength: 40 },
      ),
      bos_token_id: fc.option(fc.oneof(fc.nat(tokens.length), fc.integer()), { nil: undefined }),
      eos_token_id: fc.option(fc.nat(tokens.length), { nil: undefined }),
      unknown_token_id: fc.option(fc.nat(tokens.length), { nil: undefined }),
      add_bos_token: fc.option(fc.boolean(), { nil: undefined }),
      add_space_prefix: fc.option(fc.boolean(), { nil: undefined }),
    }),
  )
  .chain((right) =>
    fc
      .option(
        fc.tuple(fc.constantFrom(...Object.keys(right)), fc.oneof(fc.string(), fc.integer(), fc.array(fc.integer()))),
        { freq: 8 },
      )
      .map((change) => {
        const entries = Object.entries({ ...right, ...(change && { [change[0]]: change[1] }) });
        return new Map(
          entries.flatMap(([key, value]) =>
            value === undefined ? [] : [[`tokenizer.ggml.${key}`, value as MetadataValue]],
          ),
        );
      }),
  );

const piece = fc.oneof(
  fc.string({ unit: letter, maxLength: 8 }),
  fc.string({ unit: 'binary', maxLength: 8 }),
  token,
  fc.constantFrom('\n', '\r', '\t', '\u0085', '\ufeff'),
);
/** Short texts of many kinds, and long ones of one piece again and again. */
const text = fc.oneof(
  { weight: 8, arbitrary: fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')) },
  { weight: 1, arbitrary: fc.tuple(piece, fc.nat(4000), piece).map(([a, times, b]) => a.repeat(times) + b) },
);

export async function make() {
  return target({
    cases: fc.record({ metadata: vocabulary, text, special: fc.boolean(), id: fc.integer({ min: -1, max: 50 }) }),
    run({ metadata, text, special, id }) {
      const file: ModelFile = { source: undefined as never, metadata, tensors: new Map(), digest: '' };
      try {
        const tokenizer = makeTokenizer(file);
        const ids = tokenizer.encode(text, { special });
        check(
          ids.every((each) => Number.isInteger(each) && each >= 0 && each < tokenizer.vocabSize),
          'an id outside the vocabulary',
        );
        tokenizer.decode(ids);
        for (const each of ids.slice(0, 20)) tokenizer.piece(each);
        tokenizer.piece(id);
      } catch (error) {
        allow(error, ModelError);
      }
    },
  });
}
