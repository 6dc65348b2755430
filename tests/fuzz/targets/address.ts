import fc from 'fast-check';
import { parseModelAddress, parseQuery } from '../../../web/components/state/query.ts';
import { pageOptions } from '../../../web/device/page-options.ts';
import { roomKeys } from '../../../web/mesh/secret.ts';
import { formatRatios, parseRatios, RatiosError } from '../../../web/plan/ratios.ts';
import { allow, check, target } from '../target.ts';

const ratios = fc.oneof(
  { weight: 6, arbitrary: fc.string({ unit: fc.constantFrom(...'0123456789:@*.,-e '), maxLength: 24 }) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.constantFrom('1:', '1*', '9', '1@1*', ' '), fc.nat(5000))
      .map(([part, times]) => `${part.repeat(times)}1`),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
);
const key = fc.constantFrom(
  'model',
  'backend',
  'threads',
  'context',
  'memory',
  'wire',
  'lend',
  'verify',
  'ratios',
  'emulate',
  'name',
  'x',
);
const value = fc.oneof(
  fc.string({ maxLength: 12 }),
  ratios,
  fc.constantFrom('wasm', '1e9', '-1', 'NaN', 'delay:3,slow:0', 'memory:-1', '%00', '\u0000', '1'.repeat(400)),
);
const search = fc.oneof(
  fc.array(fc.tuple(key, value), { maxLength: 6 }).map((pairs) => `?${new URLSearchParams(pairs)}`),
  fc.string({ maxLength: 60 }),
);

export async function make() {
  return target({
    cases: fc.record({
      ratios,
      devices: fc.nat(20),
      layers: fc.nat(130),
      search,
      address: fc.oneof(fc.webUrl(), fc.string()),
      secret: fc.string(),
    }),
    run({ ratios, devices, layers, search, address, secret }) {
      try {
        const room = { devices, layers };
        const parsed = parseRatios(ratios, room);
        check(
          parsed.stages.every(({ weights }) => weights.every(Number.isFinite)),
          'a weight that is no number',
        );
        parseRatios(formatRatios(parsed), room);
      } catch (error) {
        allow(error, RatiosError);
        if (error instanceof RatiosError) check(error.message.length < 500, 'a complaint as long as what it is about');
      }
      let longest = 0;
      const {
        threads = 1,
        context = 1,
        memory = 1,
        emulation,
      } = pageOptions(search, (text) => {
        longest = Math.max(longest, text.length);
      });
      check(
        [threads, context, memory, emulation.slowdown, emulation.delayMs].every(Number.isFinite),
        `numbers out of ${search}`,
      );
      check(longest < 200, 'a warning as long as what it is about');
      parseQuery(search);
      try {
        check(/^https?:$/.test(parseModelAddress(address).protocol), 'an address of another kind');
      } catch (error) {
        allow(error, Error);
      }
      const { id, proof } = roomKeys(secret);
      check(
        !secret || secret.length < 3 || !(id + proof).includes(secret),
        'the secret shows in what is derived from it',
      );
    },
  });
}
