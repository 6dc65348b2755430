import { describe, expect, test } from 'vitest';
import { announcement } from '../../web/components/announcement.ts';
import { splitThinking } from '../../web/components/answer-text.ts';
import {
  formatBytes,
  formatRate,
  formatWait,
  percent,
  plural,
  rate,
  secondsLeft,
} from '../../web/components/format.ts';

describe('numbers in words', () => {
  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '1.00 kB'],
    [98_362_432, '98.4 MB'],
    [484_000_000, '484 MB'],
    [26e9, '26.0 GB'],
  ])('%d bytes are %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test('a percentage never passes 100 and is 0 without a whole', () => {
    expect([percent(59, 98), percent(120, 100), percent(5, 0)]).toEqual([60, 100, 0]);
  });

  test('a rate needs tokens and time', () => {
    expect(rate(0, 100)).toBeUndefined();
    expect(rate(10, 0)).toBeUndefined();
    expect(formatRate(rate(10, 250)!)).toBe('40 tok/s');
    expect(formatRate(rate(1, 400)!)).toBe('2.5 tok/s');
  });

  test('waits are rough, counts have their plural', () => {
    expect([3, 41, 200].map(formatWait)).toEqual(['a few seconds', 'about 40 seconds', 'about 3 minutes']);
    expect([plural(1, 'layer'), plural(2048, 'token')]).toEqual(['1 layer', '2,048 tokens']);
  });

  test('the time left follows the speed of the phase, once there is one', () => {
    const since = { at: 1000, loaded: 100 };
    expect(secondsLeft({ loaded: 200, total: 1100 }, since, 1500)).toBeUndefined();
    expect(secondsLeft({ loaded: 200, total: 0 }, since, 3000)).toBeUndefined();
    expect(secondsLeft({ loaded: 300, total: 1100 }, since, 3000)).toBe(8);
  });
});

describe('answers', () => {
  test.each([
    ['Plain.', { thinking: '', answer: 'Plain.', open: false }],
    ['<think>\nhm', { thinking: 'hm', answer: '', open: true }],
    ['<think>\nhm\n</think>\n\nYes.', { thinking: 'hm', answer: 'Yes.', open: false }],
    ['About <think> tags.', { thinking: '', answer: 'About <think> tags.', open: false }],
  ])('%j falls into thoughts and answer', (text, parts) => expect(splitThinking(text)).toEqual(parts));

  test('a screen reader hears the beginning of an answer, without thoughts', () => {
    expect(announcement({ role: 'assistant', state: 'done', text: '<think>x</think>Yes.' })).toBe('Answer: Yes.');
    const long = announcement({ role: 'assistant', state: 'done', text: 'word '.repeat(1000) });
    expect(long.length).toBeLessThan(500);
    expect(announcement({ role: 'assistant', state: 'failed', text: '', error: 'Lost.' })).toContain('Lost.');
  });
});
