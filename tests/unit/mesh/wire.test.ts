import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HEADER_BYTES } from '../../../web/mesh/frames.ts';
import { BLOCK, decode, digest, encode, halfBits, NUMBER_TYPES, roundTrip, wireBytes } from '../../../web/mesh/wire.ts';

const bitsOf = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0];
const afterTrip = (type: (typeof NUMBER_TYPES)[number], values: Float32Array) => {
  const out = new Float32Array(values.length);
  roundTrip(type, values, out);
  return out;
};
/** Finite floats of the sizes that activations have, now and then a huge or a tiny one. */
const values = fc.float32Array({
  noNaN: true,
  noDefaultInfinity: true,
  minLength: 1,
  maxLength: 200,
  min: -65504,
  max: 65504,
});
const anyValues = fc.float32Array({ minLength: 1, maxLength: 100 });

describe('halves', () => {
  const halves = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits);
  const decoded = new Float32Array(halves.length);
  decode('f16', new Uint8Array(halves.buffer), decoded, true);

  test('all 65536 survive decoding and encoding', () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 0x10000; bits++) {
      const back = halfBits(bitsOf(decoded[bits]));
      const noNumber = (bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0;
      if (noNumber ? !Number.isNaN(decoded[bits]) || (back & 0x7fff) <= 0x7c00 : back !== bits) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  test('between any two neighbours, values round to the nearer, ties to even, also where the carry changes the exponent', () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 0x7bff; bits++) {
      const [low, high] = [decoded[bits], decoded[bits + 1]];
      const middle = (low + high) / 2; // Exact in f32: one bit more than a half has.
      const even = bits & 1 ? bits + 1 : bits;
      const below = new Float32Array(new Uint32Array([bitsOf(middle) - 1]).buffer)[0];
      const above = new Float32Array(new Uint32Array([bitsOf(middle) + 1]).buffer)[0];
      if (halfBits(bitsOf(middle)) !== even) wrong.push(bits);
      if (halfBits(bitsOf(below)) !== bits || halfBits(bitsOf(above)) !== bits + 1) wrong.push(bits);
      if (halfBits(bitsOf(-above)) !== bits + 1 + 0x8000) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  test('overflow gives infinity from 65520 on', () => {
    expect(halfBits(bitsOf(65519.996))).toBe(0x7bff);
    expect(halfBits(bitsOf(65520))).toBe(0x7c00);
    expect(halfBits(bitsOf(Number.NEGATIVE_INFINITY))).toBe(0xfc00);
  });
});

describe('every number type', () => {
  test.each(NUMBER_TYPES)('%s takes exactly the bytes it says', (type) => {
    fc.assert(
      fc.property(values, (source) => {
        const bytes = new Uint8Array(wireBytes(type, source.length) + 4).fill(0xa5);
        expect(encode(type, source, bytes)).toBe(bytes.length - 4);
        expect([...bytes.subarray(-4)]).toEqual([0xa5, 0xa5, 0xa5, 0xa5]);
      }),
    );
  });
  test('bytes of a row of 576', () => {
    expect(NUMBER_TYPES.map((type) => wireBytes(type, 576))).toEqual([2304, 1152, 612, 1116]);
  });
  test.each(NUMBER_TYPES)('%s decodes to the same bits after a second trip', (type) => {
    fc.assert(
      fc.property(values, (source) => {
        const first = afterTrip(type, source);
        // q80 and q15 may find another scale for what they have rounded; the others are exact from then on.
        if (type !== 'q80' && type !== 'q15') expect(digest(afterTrip(type, first))).toBe(digest(first));
      }),
    );
  });
  test.each(NUMBER_TYPES)('%s never turns NaN or infinity into a number', (type) => {
    fc.assert(
      fc.property(anyValues, (source) => {
        const trip = afterTrip(type, source);
        for (let i = 0; i < source.length; i++)
          if (!Number.isFinite(source[i])) expect(trip[i]).not.toSatisfy(Number.isFinite);
      }),
    );
  });
  test.each(NUMBER_TYPES)('%s reads from memory at any alignment', (type) => {
    const source = Float32Array.from({ length: 40 }, (_, i) => Math.sin(i));
    const bytes = new Uint8Array(wireBytes(type, 40));
    encode(type, source, bytes);
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    const out = new Float32Array(40);
    decode(type, shifted.subarray(1), out, true);
    expect(out).toEqual(afterTrip(type, source));
  });
  test.each(NUMBER_TYPES)('%s adds to what is there', (type) => {
    const source = Float32Array.from({ length: 33 }, (_, i) => i - 16);
    const bytes = new Uint8Array(wireBytes(type, 33));
    encode(type, source, bytes);
    const sum = new Float32Array(33).fill(2);
    decode(type, bytes, sum, false);
    expect(sum).toEqual(afterTrip(type, source).map((value) => value + 2));
  });
});

test('f32 keeps every bit, minus zero too', () => {
  const source = Float32Array.of(-0, 0, 1e-45, 3.4e38, -1 / 3);
  expect(Object.is(afterTrip('f32', source)[0], -0)).toBe(true);
  expect(digest(afterTrip('f32', source))).toBe(digest(source));
});

test("q15 errs by at most 2^-15 (1 + 2^-7) of the block's largest magnitude, whatever its size", () => {
  fc.assert(
    fc.property(values, fc.integer({ min: -60, max: 90 }), (source, power) => {
      const scaled = source.map((value) => value * 2 ** power);
      const trip = afterTrip('q15', scaled);
      for (let from = 0; from < scaled.length; from += BLOCK) {
        const block = scaled.subarray(from, from + BLOCK);
        const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        block.forEach((value, i) => {
          const bound = largest * 2 ** -15 * (1 + 2 ** -7) + 2 ** -134;
          expect(Math.abs(trip[from + i] - value)).toBeLessThanOrEqual(bound);
        });
      }
    }),
  );
});

test('q15 keeps every number of 15 bits at every place of a pack', () => {
  // 16383 in each block makes its scale 1; the others run through all numbers from -16383.
  for (let place = 0; place < 31; place++) {
    const source = new Float32Array(32);
    for (let number = -16383; number <= 16383; number += 61) {
      source
        .fill(-number)
        .fill(number, place, place + 1)
        .fill(16383, 31);
      expect(afterTrip('q15', source)).toEqual(source);
    }
    source.fill(0, 0, 31);
    expect(afterTrip('q15', source)).toEqual(source);
  }
  expect(afterTrip('q15', Float32Array.of(16383, -1, 0))).toEqual(Float32Array.of(16383, -1, 0));
});

test('a row of 576 as q15 fits into one packet of WebRTC beside an acknowledgement', () => {
  // RFC 9260: common header 12, data chunk 16, acknowledgement 16, in whole words; WebRTC's packets of SCTP have 1191 bytes.
  const room = Math.floor((1191 - 12 - 16 - 16) / 4) * 4;
  expect(HEADER_BYTES + wireBytes('q15', 576)).toBeLessThanOrEqual(room);
});

test('q80 is 127 units either way, with halves as scales', () => {
  fc.assert(
    fc.property(values, (source) => {
      const trip = afterTrip('q80', source);
      for (let from = 0; from < source.length; from += BLOCK) {
        const block = source.subarray(from, from + BLOCK);
        const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        // Half a unit, and at the end what the rounded scale cannot reach.
        const bound = largest * (1 / 254 + 2 ** -11) + 127 * 2 ** -24;
        block.forEach((value, i) => {
          expect(Math.abs(trip[from + i] - value)).toBeLessThanOrEqual(bound);
        });
      }
    }),
  );
});

test('a digest changes with every bit', () => {
  const source = Float32Array.from({ length: 576 }, (_, i) => Math.cos(i));
  const bits = new Uint32Array(source.buffer);
  const seen = new Set([digest(source)]);
  for (let i = 0; i < 576; i += 7)
    for (let bit = 0; bit < 32; bit += 5) {
      bits[i] ^= 1 << bit;
      seen.add(digest(source));
      bits[i] ^= 1 << bit;
    }
  expect(seen.size).toBe(1 + 83 * 7);
});
