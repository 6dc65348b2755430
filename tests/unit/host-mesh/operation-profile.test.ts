/** `?profile=1`: devices sum the times of their operations, and compute the same as without. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { DeviceProfile, OperationMs, PhaseProfile } from '../../../web/api.ts';
import { createOperationProfile } from '../../../web/device/member/operation-profile.ts';
import { linkDelays } from '../../../web/host/mesh/delays.ts';
import { clearProfiles, profilesOf } from '../../../web/host/mesh/operation-profile.ts';
import { readModel } from '../../../web/host/open-model.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { playMesh, wasmBackend } from '../../support/mesh-in-process.ts';
import { repoPath } from '../../support/node-model.ts';

const TOKENS = 6;
const ids = [1, 2, 3, 4, 5];
const request = { ids, maxTokens: TOKENS, temperature: 0, ignoreEos: true, reuse: false, top: 8 };

async function answers(ratios: string, devices: number, profile: boolean, wholeSteps = false) {
  const name = 'tiny-llama.Q4_0.gguf';
  const model = await readModel(bytesSource(readFileSync(repoPath(`tests/fixtures/${name}`)), name));
  const mesh = playMesh({ model });
  try {
    for (let index = 1; index < devices; index++) await mesh.join(index, wholeSteps ? { makeBackend: untimed } : {});
    const session = await mesh.load({ ratios, profile });
    const all = Array.from({ length: devices }, (_, index) => index);
    const ask = mesh.hub.devices.profile;
    // What an earlier answer took is no part of the sums.
    await session.loop.generate({ ...request, maxTokens: 2 });
    await clearProfiles(all, ask);
    const { top } = await session.loop.generate(request);
    return {
      top,
      profiles: await profilesOf(all, ask),
      delays: await linkDelays(all.slice(1), 900, mesh.hub.devices.echo),
    };
  } finally {
    await mesh.close();
  }
}

/** As WebGPU without timestamps. */
async function untimed(options: Parameters<typeof wasmBackend>[0]) {
  return { ...(await wasmBackend(options)), timesOperations: false };
}

const names = (ms: OperationMs) => Object.keys(ms);
const sum = (ms: OperationMs) => Object.values(ms).reduce((a, b) => a + b, 0);
const accounted = ({ layers, rest }: PhaseProfile) => layers.reduce((total, { ms }) => total + sum(ms), sum(rest));

const HALVES = ['attentionNorm', 'qkv', 'rope', 'scores', 'join', 'o', 'ffnNorm', 'gateUp', 'act', 'down'];

function expectPasses({ prefill, decode }: DeviceProfile): void {
  expect(prefill).toMatchObject({ batches: 1, tokens: ids.length });
  expect(decode).toMatchObject({ batches: TOKENS - 1, tokens: TOKENS - 1 });
  for (const phase of [prefill, decode]) {
    expect(accounted(phase)).toBeGreaterThan(0);
    // A hundredth for the rounding to whole microseconds.
    expect(accounted(phase)).toBeLessThanOrEqual(1.01 * phase.totalMs);
  }
}

test('alone: every operation of every layer, and the same logits as without', async () => {
  const [plain, timed] = [await answers('1', 1, false), await answers('1', 1, true)];
  expect(timed.top).toEqual(plain.top);
  expect(plain.profiles).toEqual([]);
  const [own] = timed.profiles;
  expect(own).toMatchObject({ device: 0, timesOperations: true });
  expectPasses(own);
  for (const { layers, rest } of [own.prefill, own.decode]) {
    expect(layers.map(({ layer }) => layer)).toEqual([0, 1, 2, 3]);
    for (const { ms } of layers) expect(names(ms)).toEqual(HALVES);
    expect(names(rest)).toEqual(['embed', 'head']);
  }
});

test('two members and a stage of one: waiting for sums is told, and the logits stay', async () => {
  const [plain, timed] = [await answers('1:1@3*1@1', 3, false), await answers('1:1@3*1@1', 3, true)];
  expect(timed.top).toEqual(plain.top);
  const [lead, second, last] = timed.profiles;
  for (const profile of timed.profiles) expectPasses(profile);
  for (const { decode } of [lead, second]) {
    expect(decode.layers.map(({ layer }) => layer)).toEqual([0, 1, 2]);
    for (const { ms } of decode.layers) expect(names(ms)).toContain('wait');
  }
  expect(names(lead.decode.rest)).toContain('embed');
  expect(last.decode.layers.map(({ layer }) => layer)).toEqual([3]);
  expect(names(last.decode.layers[0].ms)).not.toContain('wait');
  expect(names(last.decode.rest)).toEqual(['head']);
});

test('a backend that times no operations has whole steps, halves where a stage is shared', async () => {
  const { profiles } = await answers('1:1@3*1@1', 3, true, true);
  const [, second, last] = profiles;
  expect(second.timesOperations).toBe(false);
  for (const { ms } of second.decode.layers) expect(names(ms).sort()).toEqual(['attention', 'ffn', 'wait']);
  expect(last.decode.layers).toEqual([]);
  expect(names(last.decode.rest)).toEqual(['step']);
});

test('a link is timed by echoes', async () => {
  const { delays } = await answers('1:1', 2, false);
  expect(delays).toEqual([{ device: 1, bytes: 900, oneWayMs: expect.any(Number) }]);
  expect(delays[0].oneWayMs).toBeGreaterThan(0);
});

describe('sums', () => {
  test('a batch counts when it is over, in the phase of its size', () => {
    const profile = createOperationProfile();
    const broken = profile.begin(1);
    broken.timer('qkv', 0, 100);
    for (const ms of [1, 2]) {
      const batch = profile.begin(1);
      batch.timer('qkv', 3, ms);
      batch.timer('qkv', 0, 0.5);
      batch.timer('qkv', 3, 0.25);
      batch.timer('head', undefined, 1);
      batch.end(10);
    }
    profile.begin(4).end(7);
    expect(profile.times(true)).toEqual({
      timesOperations: true,
      prefill: { batches: 1, tokens: 4, us: 7000, layers: [], rest: [] },
      decode: {
        ...{ batches: 2, tokens: 2, us: 20_000 },
        layers: [
          [0, [['qkv', 1000]]],
          [3, [['qkv', 3500]]],
        ],
        rest: [['head', 2000]],
      },
    });
    profile.clear();
    expect(profile.times(true).decode).toEqual({ batches: 0, tokens: 0, us: 0, layers: [], rest: [] });
  });
});
