/** Templates that would run for ever or fill the memory are stopped, whatever they do it with; honest ones never. */
import { describe, expect, it } from 'vitest';
import { boundedTemplate, TemplateLimitError } from '../../../web/model/template/bounded.ts';
import { chatTemplate } from '../../../web/model/template.ts';
import type { ModelFile } from '../../../web/model/types.ts';
import { failure, thrown } from './failure.ts';

const doubled = (rounds: number, use: string, seed = "'abcdefgh'") =>
  `{% set ns = namespace(s=${seed}, a=[]) %}{% for i in range(${rounds}) %}{% set ns.s = ns.s + ns.s %}{% endfor %}${use}`;
const tree = (use: string) =>
  `{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}${use}`;

const HOSTILE: readonly [string, string][] = [
  ['loops in loops', '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}'],
  ['a range without end', '{% for i in range(1000000000000) %}x{% endfor %}'],
  ['a range of tiny steps', '{{ range(0, 1, 0.000000000001) }}'],
  [
    'a macro that calls itself twice',
    '{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}',
  ],
  ['a macro that calls itself for ever', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}'],
  ['a text that doubles', doubled(60, '{{ ns.s }}')],
  ['a text that replaces each of its letters', doubled(14, "{{ ns.s | replace('', ns.s) }}")],
  ['the same by a method', doubled(14, "{{ ns.s.replace('', ns.s) }}")],
  ['by a method with a computed name', doubled(14, "{% set m = 'replace' %}{{ ns.s[m]('', ns.s) }}")],
  ['by a method that was kept', doubled(14, "{% set f = [ns.s.replace] %}{{ f[0]('', ns.s) }}")],
  ['by a filter block', doubled(14, "{% filter replace('', ns.s) %}{{ ns.s }}{% endfilter %}")],
  ['a text too long to be cut into tokens', doubled(14, '{{ ns.s }}')],
  ['a text cut into letters', doubled(23, '{{ ns.s[::2] | length }}')],
  ['a text cut into words', doubled(23, '{{ ns.s.split() | length }}', "'a b c d '")],
  ['a namespace of letters', doubled(23, '{% set f = namespace %}{{ f([ns.s]) }}')],
  ['a wide indent', "{{ 'a\\n\\nb' | indent(500000000, blank=true) }}"],
  ['a wide indent of JSON', '{{ messages | tojson(indent=100000000) }}'],
  ['a list that holds itself many times, written out', tree('{{ ns.a }}')],
  ['the same as JSON', tree('{{ ns.a | tojson }}')],
  ['the same in a comparison', tree("{{ ns.a == 'x' }}")],
  ['the same joined to a text', tree("{{ 'x' ~ ns.a }}")],
  ['the same in a complaint', tree('{{ raise_exception(ns.a) }}')],
  [
    'lists nested deep',
    '{% set ns = namespace(a=1) %}{% for i in range(999) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}',
  ],
  [
    'long texts sorted',
    doubled(12, '{% for i in range(14) %}{% set ns.a = ns.a + ns.a + [ns.s] %}{% endfor %}{{ ns.a | sort | length }}'),
  ],
  ['dates without end', "{% for i in range(99999) %}{{ strftime_now('%B') }}{% endfor %}"],
  [
    'a long macro declared again and again',
    `{% for i in range(9999) %}{% macro f() %}${'{{ 1 }}'.repeat(9999)}{% endmacro %}{% endfor %}`,
  ],
];
const messages = [{ role: 'user', content: 'Hi' }];

describe('boundedTemplate', () => {
  it.each(HOSTILE)('stops %s', (_, source) => {
    expect(() => boundedTemplate(source).render({ messages })).toThrow(TemplateLimitError);
  });

  it.each([
    ['too long', 'x'.repeat((1 << 18) + 1)],
    ['full of blanks', ' '.repeat(1000)],
  ])('does not read one that is %s', (_, source) => {
    expect(() => boundedTemplate(source)).toThrow(TemplateLimitError);
  });

  it('lets the work grow with the messages', () => {
    const long = Array.from({ length: 300 }, (_, i) => ({ role: 'user', content: `${i} `.repeat(2000) }));
    const template = boundedTemplate(
      "{% for m in messages %}{% if messages[loop.index0].content.startswith('x') or m is undefined %}?{% endif %}" +
        "{{ '<' + m.role + '>' + m.content | trim | replace('\\n', ' ') + '</>' }}{% endfor %}{{ messages | length }}",
    );
    const expected = long.map(({ content }) => `<user>${content.trim()}</>`).join('');
    expect(template.render({ messages: long })).toBe(`${expected}300`);
  });

  it('has what the library has', () => {
    const source =
      "{{ range(3) }}{{ range(5, 0, -2) }}{{ True and not False }}{{ None }}{{ strftime_now('%Y') | length }}";
    expect(boundedTemplate(source).render({})).toBe('[0, 1, 2][5, 3, 1]true4');
    expect(() => boundedTemplate("{{ raise_exception('no') }}").render({})).toThrow(/^no$/);
  });
});

it('tells the person what happened and how to go on', () => {
  const metadata = new Map([['tokenizer.chat_template', HOSTILE[0]![1]]]);
  const file: ModelFile = { source: undefined as never, metadata, tensors: new Map(), digest: '' };
  const render = chatTemplate(file);
  expect(thrown(() => render([{ role: 'user', content: 'Hi' }], { generationPrompt: true }))).toEqual(
    failure('template', /was stopped: it takes more work .*generate\(\{ prompt \}\) takes plain text/),
  );
});
