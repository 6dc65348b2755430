import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatRatios, parseRatios, RatiosError } from '../../web/plan/ratios.ts';
import { ratiosFor } from './plan-arbitraries.ts';

const parse = (text: string, devices: number, layers: number) =>
  parseRatios(text, { devices, layers }).stages.map((stage) => [stage.weights, stage.layers]);

/** The error of a text, with the piece of the text that it points to. */
function faultOf(text: string, devices: number, layers: number) {
  try {
    parseRatios(text, { devices, layers });
  } catch (error) {
    if (!(error instanceof RatiosError)) throw error;
    const { code, at, length, message } = error;
    return { code, at, piece: text.slice(at, at + length), message };
  }
  throw new Error(`"${text}" was read without a fault`);
}

describe('layouts that EdgeVisor reads', () => {
  test.each([
    ['2:3:3', 3, 30, [[[2, 3, 3], 30]]],
    ['2,3,3', 3, 30, [[[2, 3, 3], 30]]],
    ['1', 1, 30, [[[1], 30]]],
    ['0:1', 2, 30, [[[0, 1], 30]]],
    ['0.5:1.25:.25:2.', 4, 30, [[[0.5, 1.25, 0.25, 2], 30]]],
    [
      ' 2 : 3 * 1 @ 10 ',
      3,
      30,
      [
        [[2, 3], 20],
        [[1], 10],
      ],
    ],
    [
      '1@14*1:1@16',
      3,
      30,
      [
        [[1], 14],
        [[1, 1], 16],
      ],
    ],
    [
      '1@8;1@10|1@10',
      3,
      28,
      [
        [[1], 8],
        [[1], 10],
        [[1], 10],
      ],
    ],
    [
      '1,1:10*1',
      3,
      30,
      [
        [[1, 1], 10],
        [[1], 20],
      ],
    ],
    ['1:10', 2, 30, [[[1, 10], 30]]],
    [
      '1*1:1',
      3,
      30,
      [
        [[1], 10],
        [[1, 1], 20],
      ],
    ],
    [
      '1:1:1*1:1:1*1:1',
      8,
      28,
      [
        [[1, 1, 1], 11],
        [[1, 1, 1], 10],
        [[1, 1], 7],
      ],
    ],
  ])('form A: %s', (text, devices, layers, expected) => {
    expect(parse(text, devices, layers)).toEqual(expected);
  });

  test.each([
    [
      '1:2*1:1*2:3',
      4,
      30,
      [
        [[1, 1], 10],
        [[2, 3], 20],
      ],
    ],
    [
      '1,2*1:1*2:3',
      4,
      30,
      [
        [[1, 1], 10],
        [[2, 3], 20],
      ],
    ],
    [
      '1:2*1:1@12*2:3',
      4,
      30,
      [
        [[1, 1], 12],
        [[2, 3], 18],
      ],
    ],
    [
      '0:2*1:1@12*2:3',
      4,
      30,
      [
        [[1, 1], 12],
        [[2, 3], 18],
      ],
    ],
    ['1*2:3:3', 3, 30, [[[2, 3, 3], 30]]],
  ])('form B: %s', (text, devices, layers, expected) => {
    expect(parse(text, devices, layers)).toEqual(expected);
  });

  test('form A is taken where both fit', () => {
    expect(parse('1:2*1:1*2:3', 6, 30)).toEqual([
      [[1, 2], 9],
      [[1, 1], 6],
      [[2, 3], 15],
    ]);
  });

  test('every open stage gets a layer, however small its weight', () => {
    expect(parse('1*1000*1', 3, 30)).toEqual([
      [[1], 1],
      [[1000], 28],
      [[1], 1],
    ]);
  });
});

describe('layouts that cannot be used say why and where', () => {
  test.each([
    ['', 1, 30, 'empty', 0, ''],
    ['2::3', 3, 30, 'empty', 2, ''],
    ['2:3*', 3, 30, 'empty', 4, ''],
    ['1@', 1, 30, 'empty', 2, ''],
    ['2:x3:3', 3, 30, 'number', 2, 'x3'],
    ['2:-3:3', 3, 30, 'number', 2, '-3'],
    ['1e3', 1, 30, 'number', 0, '1e3'],
    ['Infinity', 1, 30, 'number', 0, 'Infinity'],
    ['1:9999999999', 2, 30, 'number', 2, '9999999999'],
    ['1:0.0000001', 2, 30, 'number', 2, '0.0000001'],
    ['1@2@3', 1, 30, 'separator', 4, '3'],
    ['1:1,1', 3, 30, 'separator', 0, '1:1,1'],
    ['1,1:1:1', 4, 30, 'separator', 0, '1,1:1:1'],
    ['1,1:10@5', 2, 30, 'separator', 0, '1,1:10'],
    ['1,1:2.5', 3, 30, 'separator', 0, '1,1:2.5'],
    ['2:3:3', 2, 30, 'devices', 4, '3'],
    ['2:3:3', 4, 30, 'devices', 5, ''],
    ['1:1*1:1*1', 4, 30, 'devices', 8, '1'],
    ['1*0:0*1', 4, 30, 'zero', 2, '0:0'],
    ['0', 1, 30, 'zero', 0, '0'],
    ['0:0', 2, 30, 'zero', 0, '0:0'],
    ['0:1*1:1*2:3', 4, 30, 'zero', 0, '0'],
    ['0:0*1:1*2:3', 4, 30, 'zero', 0, '0'],
    ['1@31', 1, 30, 'layers', 2, '31'],
    ['1@14*1:1@17', 3, 30, 'layers', 9, '17'],
    ['1@14*1:1@14', 3, 30, 'layers', 9, '14'],
    ['1@30*1', 2, 30, 'layers', 5, '1'],
    ['1*1*1', 3, 2, 'layers', 4, '1'],
    ['1@0*1', 2, 30, 'layers', 2, '0'],
    ['1@2.5*1', 2, 30, 'layers', 2, '2.5'],
  ])('%s', (text, devices, layers, code, at, piece) => {
    expect(faultOf(text, devices, layers)).toMatchObject({ code, at, piece });
  });

  test('in words', () => {
    expect(faultOf('2:3:3', 2, 30).message).toBe('The ratios are for 3 devices, but 2 devices would compute.');
    expect(faultOf('1:1*1:1*1', 4, 30).message).toBe(
      "The ratios are for 5 devices (or 3, with the stages' weights in front), but 4 devices would compute.",
    );
    expect(faultOf('1@14*1:1@14', 3, 30).message).toBe(
      "The stages ask for 28 layers, but the model has 30; 2 layers would be nobody's.",
    );
    expect(faultOf('1'.repeat(1001), 1, 30)).toMatchObject({ code: 'length', at: 1000 });
  });
});

test('what is printed is read back as the same layout', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }).chain((layers) => fc.tuple(fc.constant(layers), ratiosFor(layers))),
      ([layers, ratios]) => {
        const devices = ratios.stages.flatMap(({ weights }) => weights).length;
        expect(parseRatios(formatRatios(ratios), { devices, layers })).toEqual(ratios);
      },
    ),
  );
  expect(formatRatios({ stages: [{ weights: [2, 3, 3], layers: 30 }] })).toBe('2:3:3');
  expect(
    formatRatios({
      stages: [
        { weights: [1], layers: 14 },
        { weights: [1, 0.5], layers: 16 },
      ],
    }),
  ).toBe('1@14*1:0.5@16');
});

test('no text throws anything but RatiosError, and its place lies in the text', () => {
  const nearly = fc
    .array(fc.constantFrom('1', '2', '0', '10', '.', ':', ',', '*', ';', '|', '@', ' ', '-', 'e', 'é'), {
      maxLength: 14,
    })
    .map((pieces) => pieces.join(''));
  fc.assert(
    fc.property(
      fc.oneof({ weight: 4, arbitrary: nearly }, { weight: 1, arbitrary: fc.string({ unit: 'binary' }) }),
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 1, max: 12 }),
      (text, devices, layers) => {
        try {
          const { stages } = parseRatios(text, { devices, layers });
          expect(stages.flatMap(({ weights }) => weights).length).toBe(devices);
          expect(stages.reduce((sum, stage) => sum + stage.layers, 0)).toBe(layers);
          expect(stages.every((stage) => stage.layers >= 1 && stage.weights.some((w) => w > 0))).toBe(true);
        } catch (error) {
          if (!(error instanceof RatiosError)) throw error;
          expect(error.at).toBeGreaterThanOrEqual(0);
          expect(error.length).toBeGreaterThanOrEqual(0);
          expect(error.at + error.length).toBeLessThanOrEqual(text.length);
          expect(error.message).not.toBe('');
        }
      },
    ),
    { numRuns: 3000 },
  );
});
