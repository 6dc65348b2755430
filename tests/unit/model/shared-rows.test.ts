import { describe, expect, it } from 'vitest';
import { withSharedRows } from '../../../web/model/shared-rows.ts';
import { countingSource, patternBytes } from '../store/support.ts';

const FILE = patternBytes(5_000_000);
const columns = (offset: number, stride: number, length: number, count: number) =>
  Buffer.concat(
    Array.from({ length: count }, (_, i) => FILE.subarray(offset + i * stride, offset + i * stride + length)),
  );

const most = (counts: Uint8Array) => counts.reduce((a, b) => Math.max(a, b), 0);

describe('rows that several take columns of', () => {
  it('are fetched once, whoever asks and in whatever order', async () => {
    const source = countingSource(FILE);
    const shared = withSharedRows(source);
    const shares = [0, 200, 400, 600].map((column) => [1000 + column, 800, 200, 6000] as const);
    const cut = await Promise.all(shares.map((share) => shared.readStrided!(...share)));
    for (const [i, share] of shares.entries()) expect(Buffer.compare(cut[i]!, columns(...share))).toBe(0);
    expect(most(source.counts)).toBe(1);
  });

  it('are fetched again where they are too many to be kept, or could not be had', async () => {
    const source = countingSource(FILE);
    const { read } = source;
    let fail = true;
    source.read = async (...range) => {
      if (fail) throw new Error('played');
      return read(...range);
    };
    const shared = withSharedRows(source, 2 * 2 ** 20);
    await expect(shared.readStrided!(0, 1000, 10, 5000)).rejects.toThrow('played');
    fail = false;
    for (let i = 0; i < 2; i++) {
      expect(Buffer.compare(await shared.readStrided!(0, 1000, 10, 5000), columns(0, 1000, 10, 5000))).toBe(0);
    }
    expect(most(source.counts)).toBe(2);
  });

  it('leave ranges as they are', async () => {
    const source = countingSource(FILE);
    expect(Buffer.compare(await withSharedRows(source).read(10, 20), FILE.subarray(10, 20))).toBe(0);
    expect(source.requests).toEqual([{ from: 10, bytes: 10 }]);
  });
});
