import { beforeEach, describe, expect, test } from 'vitest';
import { FRAME_VERSION } from '../../../web/mesh/frames.ts';
import { BEAT_MS, createPulse, LOST_MS, type Pulse } from '../../../web/mesh/pulse.ts';
import { settled } from './linked.ts';
import { type MemoryChannel, memoryChannels } from './memory-channel.ts';

let now = 0;
let channels: [MemoryChannel, MemoryChannel];
let a: Pulse;
let b: Pulse;
let heard: string[];
let lost: string[];

beforeEach(async () => {
  now = 1000;
  heard = [];
  lost = [];
  channels = memoryChannels();
  [a, b] = channels.map((channel, i) => {
    const name = 'ab'[i];
    return createPulse(
      channel,
      {
        heard: () => heard.push(name),
        beat: (rttMs) => heard.push(`${name} ${rttMs}`),
        lost: (reason) => lost.push(`${name}: ${reason}`),
      },
      () => now,
    );
  }) as [Pulse, Pulse];
  await settled();
});

/** Lets time pass, with a look of each side every so often. */
async function pass(ms: number, sides: Pulse[], step = BEAT_MS / 2): Promise<void> {
  for (const end = now + ms; now < end; ) {
    now += step;
    for (const side of sides) side.look(now);
    await settled();
  }
}

describe('heartbeats', () => {
  test('measure the round trip and keep both sides content', async () => {
    await pass(10_000, [a, b]);
    expect(lost).toEqual([]);
    expect(heard).toContain('a 0');
    expect(heard).toContain('b 0');
    expect(heard.filter((entry) => entry === 'a 0').length).toBe(10_000 / BEAT_MS);
  });

  test('show the time on the way', async () => {
    channels[0].held = true;
    a.look(now);
    now += 30;
    channels[0].deliver();
    channels[0].held = false;
    await settled();
    expect(heard).toContain('a 30');
  });

  test('end within 2 seconds of silence', async () => {
    await pass(2000, [a, b]);
    channels[1].held = true;
    const silentSince = now;
    while (lost.length === 0 && now < silentSince + 5000) await pass(BEAT_MS / 2, [a]);
    expect(lost).toEqual(['a: it has been silent for too long', 'b: closed here']);
    expect(now - silentSince).toBeLessThanOrEqual(2000);
    expect(now - silentSince).toBeGreaterThan(LOST_MS - BEAT_MS);
  });

  test('answer also where the own timers rest, as on a hidden page', async () => {
    await pass(60_000, [a]);
    expect(lost).toEqual([]);
  });

  test('forgive a look that comes late: what came meanwhile has not been read', async () => {
    await pass(2000, [a, b]);
    channels[1].held = true;
    b.look(now + 1);
    now += 5000;
    a.look(now);
    channels[1].deliver();
    channels[1].held = false;
    await settled();
    await pass(1000, [a, b]);
    expect(lost).toEqual([]);
  });

  test('but not silence that goes on after it', async () => {
    await pass(2000, [a, b]);
    channels[1].held = true;
    now += 5000;
    a.look(now);
    now += BEAT_MS;
    a.look(now);
    expect(lost).toHaveLength(1);
    await settled();
  });

  test('say nothing of a side that has never spoken', async () => {
    channels[1].held = true;
    await pass(10_000, [a]);
    expect(lost).toEqual([]);
  });

  test('end with the channel, and with nonsense', async () => {
    channels[1].send(Uint8Array.of(FRAME_VERSION, 2, 3));
    await settled();
    expect(lost).toEqual(['a: it sent a message shorter than a header', 'b: closed here']);
  });

  test('that are closed say nothing more', async () => {
    await pass(1000, [a, b]);
    a.close();
    b.close();
    await settled();
    await pass(5000, [a, b]);
    expect(lost).toEqual([]);
  });
});
