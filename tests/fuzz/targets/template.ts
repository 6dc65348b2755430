import fc from 'fast-check';
import { chatTemplate } from '../../../web/model/template.ts';
import { ModelError, type ModelFile } from '../../../web/model/types.ts';
import { allow, target } from '../target.ts';

const NAMES = ['a', 'b', 'ns', 'messages', 'message', 'loop', 'f', 'bos_token', 'caller', 'undefined_name'];
const name = fc.constantFrom(...NAMES);
const FILTERS = [
  'length',
  'trim',
  'upper',
  'tojson',
  'list',
  'first',
  'last',
  'join',
  'sort',
  'unique',
  'reverse',
  'string',
  'items',
  'dictsort',
  'indent',
  'int',
  'title',
];
const METHODS = ['strip', 'split', 'upper', 'replace', 'startswith', 'items', 'get', 'title', 'content', 'role', 'x'];

/** Expressions and statements of the language; what grows is more probable than in any template of a model. */
const { expression, statement } = fc.letrec<{ expression: string; statement: string }>((tie) => {
  const ex = tie('expression');
  const body = fc.array(tie('statement'), { maxLength: 3 }).map((parts) => parts.join(''));
  const args = fc.array(ex, { maxLength: 3 }).map((list) => list.join(', '));
  return {
    expression: fc.oneof(
      { maxDepth: 4, depthIdentifier: 'expression' },
      { weight: 4, arbitrary: name },
      {
        weight: 2,
        arbitrary: fc.constantFrom(
          "'abc'",
          "''",
          "'a b\\n'",
          '0',
          '1',
          '-1',
          '7',
          '1.5',
          '100000',
          '[]',
          '{}',
          'true',
          'none',
          'messages[0].content',
          'ns.x',
        ),
      },
      {
        weight: 3,
        arbitrary: fc
          .tuple(ex, fc.constantFrom('+', '~', '-', '*', '**', '/', '//', '%', '==', '<', 'in', 'and', 'or'), ex)
          .map(([a, operator, b]) => `(${a} ${operator} ${b})`),
      },
      { weight: 3, arbitrary: fc.tuple(ex, fc.constantFrom(...FILTERS)).map(([a, filter]) => `(${a} | ${filter})`) },
      { weight: 2, arbitrary: fc.tuple(ex, ex, ex).map(([a, b, c]) => `(${a} | replace(${b}, ${c}))`) },
      {
        weight: 1,
        arbitrary: fc
          .tuple(ex, fc.constantFrom('indent', 'join', 'default', 'int'), ex)
          .map(([a, filter, b]) => `(${a} | ${filter}(${b}))`),
      },
      { weight: 1, arbitrary: fc.tuple(ex, ex).map(([a, b]) => `(${a} | tojson(indent=${b}))`) },
      {
        weight: 1,
        arbitrary: fc
          .tuple(
            ex,
            fc.constantFrom('selectattr', 'rejectattr'),
            fc.constantFrom("'role'", "'role', 'equalto', 'user'", "'content', 'upper'"),
          )
          .map(([a, filter, b]) => `(${a} | ${filter}(${b}) | list)`),
      },
      {
        weight: 2,
        arbitrary: fc
          .tuple(ex, fc.constantFrom(...METHODS), args)
          .map(([a, method, list]) => `(${a}).${method}(${list})`),
      },
      { weight: 1, arbitrary: fc.tuple(ex, ex).map(([a, b]) => `(${a})[${b}]`) },
      { weight: 1, arbitrary: fc.tuple(ex, ex, ex).map(([a, b, c]) => `(${a})[${b}:${c}]`) },
      { weight: 2, arbitrary: fc.tuple(ex, ex).map(([a, b]) => `[${a}, ${b}]`) },
      { weight: 1, arbitrary: ex.map((a) => `{'k': ${a}}`) },
      { weight: 2, arbitrary: args.map((list) => `range(${list})`) },
      { weight: 1, arbitrary: args.map((list) => `namespace(${list})`) },
      { weight: 1, arbitrary: args.map((list) => `f(${list})`) },
      { weight: 1, arbitrary: fc.constantFrom("strftime_now('%B %d')", "raise_exception('no')") },
      { weight: 1, arbitrary: fc.tuple(ex, ex, ex).map(([a, b, c]) => `(${a} if ${b} else ${c})`) },
      {
        weight: 1,
        arbitrary: fc
          .tuple(ex, fc.constantFrom('defined', 'string', 'mapping', 'upper', 'odd'))
          .map(([a, test]) => `(${a} is ${test})`),
      },
    ),
    statement: fc.oneof(
      { maxDepth: 4, depthIdentifier: 'statement' },
      { weight: 2, arbitrary: fc.constantFrom('x', ' ', '\n', '{% break %}', '{% continue %}', '{# c #}') },
      { weight: 4, arbitrary: ex.map((a) => `{{ ${a} }}`) },
      { weight: 4, arbitrary: fc.tuple(name, ex).map(([a, b]) => `{% set ${a} = ${b} %}`) },
      { weight: 4, arbitrary: fc.tuple(fc.constantFrom('x', 'a'), ex).map(([a, b]) => `{% set ns.${a} = ${b} %}`) },
      {
        weight: 2,
        arbitrary: fc.constantFrom(
          '{% set ns.x = [ns.x, ns.x] %}',
          '{% set ns.x = ns.x ~ ns.x %}',
          "{% set ns = namespace(x='ab') %}",
        ),
      },
      { weight: 5, arbitrary: fc.tuple(name, ex, body).map(([a, b, c]) => `{% for ${a} in ${b} %}${c}{% endfor %}`) },
      {
        weight: 2,
        arbitrary: fc
          .tuple(fc.constantFrom(3, 60, 100000), body)
          .map(([n, c]) => `{% for i in range(${n}) %}${c}{% endfor %}`),
      },
      {
        weight: 2,
        arbitrary: fc.tuple(ex, body, body).map(([a, b, c]) => `{% if ${a} %}${b}{% else %}${c}{% endif %}`),
      },
      { weight: 2, arbitrary: fc.tuple(name, body).map(([a, b]) => `{% macro f(${a}) %}${b}{% endmacro %}`) },
      { weight: 1, arbitrary: fc.tuple(ex, body).map(([a, b]) => `{% call f(${a}) %}${b}{% endcall %}`) },
      {
        weight: 1,
        arbitrary: fc
          .tuple(fc.constantFrom('upper', 'trim', "replace('a', 'bb')", 'indent(9)'), body)
          .map(([a, b]) => `{% filter ${a} %}${b}{% endfilter %}`),
      },
    ),
  };
});

const START = "{% set ns = namespace(x=['ab'], a='abcdefgh') %}{% set a = 'xyz' %}{% set b = messages %}";
const program = fc.array(statement, { minLength: 1, maxLength: 6 }).map((parts) => START + parts.join(''));
const token = fc.constantFrom(
  '{{',
  '}}',
  '{%',
  '%}',
  '{#',
  '#}',
  'for',
  'in',
  'if',
  'endfor',
  'set',
  '(',
  ')',
  '[',
  '|',
  '.',
  '-',
  'not ',
  "'",
  '"',
  '\\',
  'a',
  '1',
  ' ',
  '\n',
  'generation',
  'macro',
  '=',
);
const noise = fc.oneof(
  fc.array(token, { maxLength: 30 }).map((tokens) => tokens.join('')),
  fc.tuple(token, fc.nat(20_000), token).map(([a, times, b]) => a.repeat(times) + b),
  fc.string({ unit: 'binary', maxLength: 40 }),
);

const messages = fc.array(
  fc.record({
    role: fc.constantFrom<'system' | 'user' | 'assistant'>('system', 'user', 'assistant'),
    content: fc.oneof(
      fc.string(),
      fc.nat(5000).map((n) => 'word '.repeat(n)),
    ),
  }),
  { maxLength: 5 },
);

export async function make() {
  return target({
    cases: fc.record({
      template: fc.oneof(
        { weight: 6, arbitrary: program },
        { weight: 2, arbitrary: expression.map((text) => `${START}{{ ${text} }}`) },
        { weight: 1, arbitrary: noise },
      ),
      messages,
      generationPrompt: fc.boolean(),
    }),
    run({ template, messages, generationPrompt }) {
      const metadata = new Map([['tokenizer.chat_template', template]]);
      const file: ModelFile = { source: undefined as never, metadata, tensors: new Map(), digest: '' };
      try {
        chatTemplate(file)(messages, { generationPrompt });
      } catch (error) {
        allow(error, ModelError);
      }
    },
  });
}
