import fc from 'fast-check';
import { catalogue } from '../../../web/model/catalogue.ts';
import { readDistributedLlama } from '../../../web/model/distributed-llama/model-file.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { chatTemplate } from '../../../web/model/template.ts';
import { makeTokenizer } from '../../../web/model/tokenizer.ts';
import { ModelError } from '../../../web/model/types.ts';
import {
  byteTokenizer,
  concat,
  header,
  MODEL_MAGIC,
  type TinyTokenizer,
  tiny,
  tinyModel,
  tokenizerBytes,
} from '../../unit/distributed-llama/files.ts';
import { allow, check, target } from '../target.ts';

const TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content }}{% endfor %}";

const int32 = fc.oneof(
  fc.constantFrom(0, 1, 2, 3, 5, 6, 32, 64, 300, -1, 0x7fffffff, 0xabcd00, 0xabcd01, 0xabcd02),
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
);
const pairs = fc.array(fc.tuple(fc.integer({ min: -1, max: 23 }), int32), { maxLength: 6 });

/** Files with some bytes changed, and cut. */
const damaged = (bytes: Uint8Array) =>
  fc
    .tuple(
      fc.array(fc.tuple(fc.nat(Math.min(bytes.length, 400) - 1), fc.nat(255)), { maxLength: 4 }),
      fc.option(fc.nat(bytes.length), { freq: 3 }),
    )
    .map(([changes, cut]) => {
      const copy = bytes.slice(0, cut ?? bytes.length);
      for (const [at, byte] of changes) if (at < copy.length) copy[at] = byte;
      return copy;
    });

const letter = fc.constantFrom('a', 'b', ' ', '<', '|', '>', 'é', '語');
const token = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: letter, maxLength: 6 }) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 4 }) },
  // Long ones, whose beginnings repeat.
  {
    weight: 1,
    arbitrary: fc.tuple(fc.string({ unit: letter, maxLength: 4 }), fc.nat(200)).map(([a, n]) => a.repeat(n)),
  },
);
/** Tokenizers that hang together: any tokens, scores and border between text and special ones. */
const madeUp = fc
  .record({
    tokens: fc.array(fc.tuple(token, fc.oneof(fc.double(), fc.integer())), { minLength: 1, maxLength: 30 }),
    bos: fc.nat(30),
    eos: fc.array(fc.nat(30), { maxLength: 3 }),
    template: fc.constantFrom('', TEMPLATE, '[INST] {% broken', '<|start_header_id|>', '{{ raise_exception("no") }}'),
    addBos: fc.constantFrom(undefined, 0, 1, 2),
  })
  .map((made) => tokenizerBytes(made as TinyTokenizer));

const text = fc.oneof(
  { weight: 8, arbitrary: fc.string({ unit: fc.oneof(letter, fc.constant('\ud800')), maxLength: 60 }) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.string({ unit: letter, maxLength: 4 }), fc.nat(4000)).map(([a, n]) => a.repeat(n)),
  },
);

export async function make() {
  const rightTokenizer = tokenizerBytes(
    byteTokenizer([['ab', -1]], ['<|im_start|>', '<|im_end|>'], { template: TEMPLATE, addBos: 1 }),
  );
  const model = fc.oneof(
    { weight: 4, arbitrary: fc.constant(tinyModel()) },
    { weight: 2, arbitrary: damaged(tinyModel()) },
    {
      weight: 3,
      arbitrary: pairs.map((more) => concat(header(MODEL_MAGIC, [...tiny(), ...more]), tinyModel().subarray(104))),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }) },
  );
  const tokenizer = fc.oneof(
    { weight: 3, arbitrary: madeUp },
    { weight: 2, arbitrary: damaged(rightTokenizer) },
    { weight: 1, arbitrary: pairs.map((more) => concat(header(0x567124, [[0, 1], [1, 1], [3, 0], ...more]))) },
    { weight: 1, arbitrary: fc.constant(rightTokenizer) },
  );
  return target({
    cases: fc.record({ model, tokenizer, text, special: fc.boolean(), id: fc.integer({ min: -1, max: 310 }) }),
    async run({ model, tokenizer, text, special, id }) {
      try {
        const file = await readDistributedLlama(bytesSource(model, 'x.m'), bytesSource(tokenizer, 'x.t'));
        for (const { name, offset, bytes } of file.tensors.values())
          check(offset + bytes <= model.length, `tensor ${name} lies outside the file`);
        const { hyper } = await catalogue(file);
        const own = makeTokenizer(file);
        const ids = own.encode(text, { special });
        check(
          ids.every((each) => Number.isInteger(each) && each >= 0 && each < hyper.vocab),
          'an id outside the vocabulary',
        );
        own.decode(ids);
        own.piece(id);
        chatTemplate(file)([{ role: 'user', content: text }], { generationPrompt: true });
      } catch (error) {
        allow(error, ModelError);
      }
    },
  });
}
