import { describe, expect, it } from 'vitest';
import { createSpareBuffers } from '../../../web/model/spare.ts';

const MIB = 1 << 20;

describe('spare buffers', () => {
  it('come back for what is as long or up to four times shorter, the shortest that fits first', () => {
    const buffers = createSpareBuffers(8 * MIB);
    const [long, short] = [buffers.take(2 * MIB), buffers.take(MIB)];
    expect([long.length, short.length]).toEqual([2 * MIB, MIB]);
    buffers.give(long);
    buffers.give(short);
    expect(buffers.take(MIB / 2).buffer).toBe(short.buffer);
    const next = buffers.take(MIB / 2);
    expect(next.buffer).toBe(long.buffer);
    expect([next.byteOffset, next.length]).toEqual([0, MIB / 2]);
    buffers.give(next);
    expect(buffers.take(MIB / 8).buffer).not.toBe(long.buffer);
    expect(buffers.take(3 * MIB).buffer).not.toBe(long.buffer);
    expect(buffers.take(2 * MIB).buffer).toBe(long.buffer);
  });

  it('are not kept beyond their limit, once they are closed, or when they are small', () => {
    const buffers = createSpareBuffers(3 * MIB);
    const [kept, over] = [buffers.take(2 * MIB), buffers.take(2 * MIB)];
    buffers.give(over);
    buffers.give(kept);
    expect(buffers.take(2 * MIB).buffer).toBe(over.buffer);
    const later = buffers.take(2 * MIB);
    expect(later.buffer).not.toBe(kept.buffer);
    const small = buffers.take(100);
    expect([small.length, small.buffer.byteLength]).toEqual([100, 100]);
    buffers.give(small);
    expect(buffers.take(100).buffer).not.toBe(small.buffer);
    buffers.give(later);
    buffers.close();
    const last = buffers.take(2 * MIB);
    expect(last.buffer).not.toBe(later.buffer);
    buffers.give(last);
    expect(buffers.take(2 * MIB).buffer).not.toBe(last.buffer);
  });
});
