import fc from 'fast-check';
import { bulkAssembler, decodeKv, encodeKv } from '../../../web/device/member/kv-copy.ts';
import { decodeForwarded, decodeWant, encodeForwarded, encodeWant } from '../../../web/device/member/wanted-logits.ts';
import { FrameError } from '../../../web/mesh/frames.ts';
import { decode, NUMBER_TYPES, wireBytes } from '../../../web/mesh/wire.ts';
import { allow, check, target } from '../target.ts';

const HEAD_DIM = 32;
const word = fc.oneof(
  fc.nat(9),
  fc.nat(0xffffffff),
  fc.constantFrom(0x7fffffff, 0x80000000, 0xffffffff, 0x7fc00000, 0x7f800000),
);
const words = fc.array(word, { maxLength: 24 }).map((list) => new Uint8Array(Uint32Array.from(list).buffer));
const bytes = fc.oneof(words, fc.uint8Array({ maxLength: 120 }));
/** Right bytes, one word of them changed, or the end cut off. */
const damaged = (right: Uint8Array) =>
  fc.tuple(fc.nat(right.length - 1), word, fc.boolean()).map(([at, value, cut]) => {
    const out = right.slice();
    if (cut) return out.slice(0, at);
    new DataView(out.buffer).setUint32(Math.min(at & ~3, Math.max(0, out.length - 4)), value, true);
    return out;
  });

const want = encodeWant({
  positions: 'all',
  top: 4,
  temperature: 1,
  penalty: { ids: Uint32Array.of(1, 2), factor: 2 },
});
const forwarded = encodeForwarded({
  candidates: [{ ids: Uint32Array.of(3, 4), logits: Float32Array.of(1, 0), logSumExp: 1.3 }],
  full: new Float32Array(5),
});
const kv = encodeKv({
  ...{ layer: 1, kvHead: 0, from: 3, following: 2 },
  slice: {
    kScales: new Float32Array(2),
    vScales: new Float32Array(2),
    k: new Int16Array(2 * HEAD_DIM),
    v: new Int16Array(2 * HEAD_DIM),
  },
});
const number = fc.oneof(fc.nat(4), fc.nat(0xffffffff));
const pieces = fc.array(
  fc.record({
    epoch: fc.nat(2),
    slot: fc.nat(2),
    transfer: fc.nat(3),
    offset: number,
    total: number,
    bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
  }),
  { maxLength: 12 },
);

const cases = fc.oneof(
  fc.record({ what: fc.constant('want' as const), bytes: fc.oneof(bytes, damaged(want)) }),
  fc.record({ what: fc.constant('forwarded' as const), bytes: fc.oneof(bytes, damaged(forwarded)) }),
  fc.record({ what: fc.constant('kv' as const), bytes: fc.oneof(bytes, damaged(kv)) }),
  fc.record({
    what: fc.constant('numbers' as const),
    type: fc.constantFrom(...NUMBER_TYPES),
    bytes: fc.uint8Array({ minLength: 160, maxLength: 160 }),
  }),
  fc.record({ what: fc.constant('bulk' as const), pieces }),
);

export async function make() {
  return target({
    cases,
    run(given) {
      try {
        if (given.what === 'want') decodeWant(given.bytes);
        else if (given.what === 'forwarded') {
          for (const { ids, logits } of decodeForwarded(given.bytes).candidates)
            check(ids.length === logits.length, 'uneven candidates');
        } else if (given.what === 'kv') decodeKv(given.bytes, HEAD_DIM);
        else if (given.what === 'numbers') {
          const values = new Float32Array(32);
          decode(given.type, given.bytes.subarray(0, wireBytes(given.type, values.length)), values, true);
        } else {
          const take = bulkAssembler((_slot, _epoch, _transfer, whole) =>
            check(whole.length <= 100, 'more bytes than came'),
          );
          for (const piece of given.pieces) take(piece);
        }
      } catch (error) {
        // Callers turn a RangeError of these two into the fault of a frame.
        if (given.what === 'want' || given.what === 'forwarded') allow(error, RangeError);
        else allow(error, FrameError);
      }
    },
  });
}
