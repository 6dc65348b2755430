/** Pictures of the benchmarks: points where the numbers say, and every label. */
import { describe, expect, test } from 'vitest';
import { barPlot, linePlot, roundTicks, scale } from './plot.ts';

const numbers = (text: string | undefined) => (text ?? '').split(/[ ,]/).map(Number);

describe('axes', () => {
  test('a scale meets both ends, straight or by factors', () => {
    const straight = scale({}, [0, 10], [100, 200]);
    expect([0, 5, 10].map(straight)).toEqual([100, 150, 200]);
    const factors = scale({ logarithmic: true }, [1, 100], [0, 200]);
    expect([1, 10, 100].map((value) => Math.round(factors(value)))).toEqual([0, 100, 200]);
  });

  test('round ticks reach the highest value with at most six steps', () => {
    expect(roundTicks(95)).toEqual([0, 20, 40, 60, 80, 100]);
    expect(roundTicks(0.3)).toEqual([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]);
    expect(roundTicks(1000)).toEqual([0, 200, 400, 600, 800, 1000]);
    for (const most of [0.07, 1, 3.3, 12, 47, 101, 9999]) {
      const ticks = roundTicks(most);
      expect(ticks.at(-1)).toBeGreaterThanOrEqual(most);
      expect(ticks.length).toBeLessThanOrEqual(7);
    }
  });
});

describe('lines', () => {
  const svg = linePlot({
    title: 'Speed & position',
    x: { label: 'position' },
    y: { label: 'tok/s' },
    series: [
      {
        name: 'WASM',
        points: [
          { x: 0, y: 100 },
          { x: 50, y: 50 },
          { x: 100, y: 0 },
        ],
      },
      {
        name: 'the work alone',
        calculated: true,
        points: [
          { x: 0, y: 100 },
          { x: 100, y: 100 },
        ],
      },
    ],
  });

  test('points lie where the axes say, and measured ones have marks', () => {
    const [measured, calculated] = [...svg.matchAll(/<polyline [^>]*points="([^"]+)"/g)].map(([, points]) =>
      numbers(points),
    );
    const [x0, top, x1, middle, x2, bottom] = measured as number[];
    expect((x1 as number) - (x0 as number)).toBeCloseTo((x2 as number) - (x1 as number));
    expect((middle as number) - (top as number)).toBeCloseTo((bottom as number) - (middle as number));
    expect(bottom).toBeGreaterThan(top as number);
    expect(calculated).toEqual([x0, top, x2, top]);
    expect([...svg.matchAll(/<circle /g)]).toHaveLength(3);
  });

  test('title, axes, ticks and names are written, escaped, inside the picture', () => {
    for (const text of ['Speed &amp; position', 'position', 'tok/s', 'WASM', 'the work alone', '>100<', '>50<'])
      expect(svg).toContain(text);
    for (const [, x] of svg.matchAll(/<text x="([\d.]+)"/g)) expect(Number(x)).toBeLessThan(720);
    expect(svg).toContain('prefers-color-scheme: dark');
  });

  test('names of lines that end in one place do not lie on each other', () => {
    const ending = (name: string) => ({
      name,
      points: [
        { x: 1, y: 1 },
        { x: 2, y: 2 },
      ],
    });
    const close = linePlot({
      title: 't',
      x: { label: 'x' },
      y: { label: 'y' },
      series: [ending('one'), ending('two')],
    });
    const place = (name: string) => Number(close.match(new RegExp(`y="([\\d.]+)"[^>]*>${name}<`))?.[1]);
    expect(place('two') - place('one')).toBe(16);
  });

  test('nothing to draw is an error', () => {
    expect(() => linePlot({ title: 't', x: { label: '' }, y: { label: '' }, series: [] })).toThrow(/Nothing to draw/);
  });
});

test('bars are as long as their values, with names and figures', () => {
  const svg = barPlot({
    title: 'Peers',
    unit: 'tokens a second',
    reference: 50,
    groups: [
      {
        name: 'decode, 1 thread',
        bars: [
          { name: 'ours', value: 100, text: '100.0' },
          { name: 'wllama', value: 25, text: '25.0' },
        ],
      },
    ],
  });
  const [ours, wllama] = [...svg.matchAll(/<rect class="f\d" [^>]*width="([\d.]+)"/g)].map(([, width]) =>
    Number(width),
  );
  expect((ours as number) / (wllama as number)).toBeCloseTo(4, 1);
  for (const text of ['Peers', 'decode, 1 thread', 'ours', 'wllama', '100.0', '25.0', 'tokens a second'])
    expect(svg).toContain(`>${text}<`);
  expect(svg).toContain('stroke-dasharray="4 3"');
});
