import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashHex, sha256Hex } from '../../../web/model/hash.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

describe('hashHex', () => {
  it('is MurmurHash3 x86 128', () => {
    expect(hashHex(bytes(''))).toBe('00000000000000000000000000000000');
    expect(hashHex(bytes("I will not buy this tobacconist's, it is scratched."))).toBe(
      '9b5b7ba2ef3f7866889adeaf00f3f98e',
    );
  });

  it('changes with every single byte and with the length', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 70 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (data, at, by) => {
          const changed = data.slice();
          changed[at % data.length]! ^= by;
          expect(hashHex(changed)).not.toBe(hashHex(data));
          expect(hashHex(data.subarray(0, -1))).not.toBe(hashHex(data));
        },
      ),
    );
  });

  it('does not depend on where the bytes lie in their buffer', () => {
    const data = Uint8Array.from({ length: 100 }, (_, i) => i);
    expect(hashHex(data.subarray(1, 50))).toBe(hashHex(data.slice(1, 50)));
  });
});

describe('sha256Hex', () => {
  it("equals node's", () => {
    const data = Uint8Array.from({ length: 1000 }, (_, i) => i * 7);
    expect(sha256Hex(data)).toBe(createHash('sha256').update(data).digest('hex'));
  });
});
