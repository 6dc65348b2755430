/** Headers of GGUF files that were tampered with. */
import fc from 'fast-check';
import type { ByteSource } from '../../../web/model/types.ts';

export interface Edit {
  at: number;
  value: bigint;
  bytes: number;
}

/** A few numbers of a header's first `length` bytes, overwritten by others: small ones, and those near bounds. */
export const headerEdits = (length: number): fc.Arbitrary<Edit[]> =>
  fc.array(
    fc.record({
      at: fc.oneof(fc.nat(200), fc.nat(length - 8)),
      value: fc.oneof(
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.constantFrom(0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 60n),
      ),
      bytes: fc.constantFrom(1, 4, 8),
    }),
    { minLength: 1, maxLength: 4 },
  );

/** A file's bytes with these edits, without a copy of the whole file. */
export function patched(whole: Uint8Array, edits: readonly Edit[]): ByteSource {
  const end = Math.max(...edits.map(({ at }) => at)) + 8;
  const start = whole.slice(0, end);
  const view = new DataView(start.buffer);
  for (const { at, value, bytes } of edits) {
    if (bytes === 1) view.setUint8(at, Number(value & 255n));
    else if (bytes === 4) view.setUint32(at, Number(value & 0xffffffffn), true);
    else view.setBigUint64(at, value, true);
  }
  return {
    name: 'damaged.gguf',
    size: whole.length,
    async read(from, to) {
      const bytes = whole.slice(from, to);
      if (from < end) bytes.set(start.subarray(from, Math.min(to, end)));
      return bytes;
    },
  };
}
