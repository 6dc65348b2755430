import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AllReduce, createAllReduce } from '../../../web/mesh/all-reduce.ts';
import { createFrameBuffer, Kind } from '../../../web/mesh/frames.ts';
import type { Link } from '../../../web/mesh/link.ts';
import { digest, NUMBER_TYPES, type NumberType, roundTrip, wireBytes } from '../../../web/mesh/wire.ts';
import { meshed, settled } from './linked.ts';

const DIM = 96;
type Mesh = Map<number, Map<number, Link>>;

function reducers(links: Mesh, members: number[], wire: NumberType, epoch = 1, maxRows = 4): Map<number, AllReduce> {
  return new Map(
    members.map((self) => [
      self,
      createAllReduce({ members, self, links: links.get(self)!, epoch, wire, dim: DIM, maxRows }),
    ]),
  );
}
const noise = (seed: number, rows = 1) =>
  Float32Array.from({ length: rows * DIM }, (_, i) => Math.sin(seed * 999 + i * 1.7) * 3);
const at = (position: number, layer = 0, slot = 0) => ({ position, layer, slot });

/** What every member must get: the rounded parts, added in member order. */
function expected(parts: Float32Array[], wire: NumberType): Float32Array {
  const sum = new Float32Array(parts[0].length);
  const part = new Float32Array(parts[0].length);
  parts.forEach((values, i) => {
    roundTrip(wire, values, part);
    for (let j = 0; j < sum.length; j++) sum[j] = i === 0 ? part[j] : sum[j] + part[j];
  });
  return sum;
}

describe('all-reduce', () => {
  test.each(NUMBER_TYPES)('gives all members the same bits over %s, in the order of the plan', async (wire) => {
    const members = [2, 0, 5];
    const all = reducers(await meshed([0, 2, 5]), members, wire);
    const parts = members.map((device) => noise(device, 3));
    const sums = await Promise.all(
      members.map((device, i) => all.get(device)!.run(at(7), parts[i], new Float32Array(parts[i].length))),
    );
    const due = digest(expected(parts, wire));
    expect(sums.map(digest)).toEqual([due, due, due]);
  });

  test('sends its payload once to every other member', async () => {
    const links = await meshed([0, 1, 2]);
    const before = [...links.get(0)!.values()].map((link) => link.stats.bytesSent);
    const all = reducers(links, [0, 1, 2], 'q15');
    await Promise.all([0, 1, 2].map((device) => all.get(device)!.run(at(0), noise(device), new Float32Array(DIM))));
    const sent = [...links.get(0)!.values()].map((link, i) => link.stats.bytesSent - before[i]);
    expect(sent).toEqual([16 + wireBytes('q15', DIM), 16 + wireBytes('q15', DIM)]);
  });

  test('sums in place, and one member alone still rounds', async () => {
    const [all] = reducers(await meshed([0]), [0], 'q80').values();
    const values = noise(1);
    const due = expected([values], 'q80');
    expect(await all.run(at(0), values, values)).toEqual(due);
  });

  test('survives any order of arrival, with several exchanges in flight', async () => {
    const members = [0, 1, 2];
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 6 }), { minLength: 3, maxLength: 3 }),
        async (orders) => {
          const all = reducers(await meshed(members), members, 'q15');
          const results = await Promise.all(
            members.map(async (device, m) => {
              const sums = new Map<number, Promise<Float32Array>>();
              for (const exchange of orders[m]) {
                const where = at(exchange >> 2, exchange & 1, (exchange >> 1) & 1);
                sums.set(exchange, all.get(device)!.run(where, noise(device * 10 + exchange), new Float32Array(DIM)));
                if (exchange % 2 === m % 2) await settled();
              }
              return Promise.all([0, 1, 2, 3, 4, 5].map(async (exchange) => digest(await sums.get(exchange)!)));
            }),
          );
          const due = [0, 1, 2, 3, 4, 5].map((exchange) =>
            digest(
              expected(
                members.map((device) => noise(device * 10 + exchange)),
                'q15',
              ),
            ),
          );
          expect(results).toEqual([due, due, due]);
        },
      ),
      { numRuns: 15 },
    );
  });

  test('of the next plan may start on one member before the others have it', async () => {
    const links = await meshed([0, 1]);
    const first = createAllReduce({
      members: [0, 1],
      self: 0,
      links: links.get(0)!,
      epoch: 2,
      wire: 'f32',
      dim: DIM,
      maxRows: 1,
    });
    const early = first.run(at(0), noise(0), new Float32Array(DIM));
    await settled();
    const second = createAllReduce({
      members: [0, 1],
      self: 1,
      links: links.get(1)!,
      epoch: 2,
      wire: 'f32',
      dim: DIM,
      maxRows: 1,
    });
    const sums = await Promise.all([early, second.run(at(0), noise(1), new Float32Array(DIM))]);
    expect(sums.map(digest)).toEqual([digest(sums[0]), digest(sums[0])]);
  });

  test('ends for everyone else when a member is lost, and names it', async () => {
    const links = await meshed([0, 1, 2]);
    const all = reducers(links, [0, 1, 2], 'f16');
    const sums = [0, 1].map((device) => all.get(device)!.run(at(0), noise(device), new Float32Array(DIM)));
    for (const link of links.get(2)!.values()) link.close(Object.assign(new Error('x'), { code: 'left', device: 2 }));
    for (const sum of await Promise.allSettled(sums))
      expect(sum).toMatchObject({ reason: { code: 'lost', device: 2 } });
    await expect(all.get(0)!.run(at(1), noise(0), new Float32Array(DIM))).rejects.toMatchObject({ device: 2 });
  });

  test('of a member without a link is refused', async () => {
    const links = await meshed([0, 1]);
    expect(() => reducers(links, [0, 1, 2], 'f16')).toThrow('There is no link to device 2.');
  });

  test('takes no more after it was closed', async () => {
    const all = reducers(await meshed([0, 1]), [0, 1], 'f32');
    const sum = all.get(0)!.run(at(0), noise(0), new Float32Array(DIM));
    all.get(0)!.close();
    await expect(sum).rejects.toMatchObject({ code: 'closed' });
  });

  test.each([
    ['another number type', { type: 'f16' as const, rows: 1, bytes: wireBytes('f16', DIM) }],
    ['too many rows', { type: 'q15' as const, rows: 5, bytes: wireBytes('q15', 5 * DIM) }],
    ['no rows', { type: 'q15' as const, rows: 0, bytes: 0 }],
    ['a byte too much', { type: 'q15' as const, rows: 1, bytes: wireBytes('q15', DIM) + 1 }],
    ['rows that others do not have', { type: 'q15' as const, rows: 2, bytes: wireBytes('q15', 2 * DIM) }],
  ])('closes the link of a member that sends %s', async (_, { type, rows, bytes }) => {
    const links = await meshed([0, 1]);
    const [all] = reducers(links, [0, 1], 'q15').values();
    const sum = all.run(at(0), noise(0), new Float32Array(DIM));
    const header = { kind: Kind.partial, type, slot: 0, epoch: 1, layer: 0, position: 0, rows };
    void links.get(1)!.get(0)!.send(createFrameBuffer(bytes), header, bytes);
    await expect(sum).rejects.toMatchObject({ code: 'malformed', device: 1 });
  });

  test('finds out which replica differs', async () => {
    const all = reducers(await meshed([0, 1, 2]), [0, 1, 2], 'f32');
    const replica = noise(1);
    await Promise.all([0, 1, 2].map((device) => all.get(device)!.verify(at(0), replica)));
    const odd = replica.slice();
    odd[50] += 2 ** -20;
    const checks = await Promise.allSettled(
      [0, 1, 2].map((device) => all.get(device)!.verify(at(1), device === 1 ? odd : replica)),
    );
    const reasons = checks.map((check) => (check.status === 'rejected' ? check.reason : undefined));
    expect(reasons[0]).toMatchObject({ code: 'diverged', device: 1 });
    expect(reasons[1]).toMatchObject({ code: 'diverged' });
    expect(reasons[2].message).toBe('The replicas of devices 2 and 1 differ at position 1.');
  });
});
