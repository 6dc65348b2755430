/** What devices say of their last passes: which, under which plan, how long and how many bytes. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createPassLog, MOST_PASSES } from '../../../web/device/member/pass-log.ts';
import { passesOf } from '../../../web/host/mesh/passes.ts';
import { readModel } from '../../../web/host/open-model.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { playMesh } from '../../support/mesh-in-process.ts';
import { repoPath } from '../../support/node-model.ts';

const TOKENS = 12;
const MOVE_AFTER = 5;
const ids = [1, 2, 3, 4, 5];
const positions = Array.from({ length: TOKENS - 1 }, (_, i) => ids.length + i);

test('every device has every pass of an answer, with the epoch of the plan and its bytes', async () => {
  const name = 'tiny-llama.Q4_0.gguf';
  const model = await readModel(bytesSource(readFileSync(repoPath(`tests/fixtures/${name}`)), name));
  const mesh = playMesh({ model });
  try {
    await mesh.join(1);
    const session = await mesh.load({ ratios: '1:1' });
    const carried = () => mesh.statuses()[0].bytesSent;
    const before = carried();
    let moved: Promise<unknown> | undefined;
    let seen = 0;
    await session.loop.generate(
      { ids, maxTokens: TOKENS, temperature: 0, ignoreEos: true },
      {
        onToken() {
          seen++;
          if (seen === MOVE_AFTER) moved = session.moves.migrate({ from: 0, to: 1, kind: 1, heads: 4 });
        },
      },
    );
    const report = (await moved) as { epoch: number; position: number };
    const devices = await passesOf([0, 1], mesh.hub.devices.profile);
    expect(devices.map(({ device }) => device)).toEqual([0, 1]);
    for (const { passes } of devices) {
      expect(passes.map(({ position, tokens }) => [position, tokens])).toEqual([
        [0, ids.length],
        ...positions.map((position) => [position, 1]),
      ]);
      expect(passes.map(({ epoch }) => epoch)).toEqual(
        [0, ...positions].map((position) => (position < report.position ? 1 : report.epoch)),
      );
      for (const pass of passes) {
        for (const value of [pass.execMs, pass.syncMs, pass.bytesSent, pass.bytesReceived])
          expect(value).toBeGreaterThan(0);
      }
    }
    // Loading, before the first pass, is no part of them; what came after the last one neither.
    const sent = devices[0].passes.reduce((sum, { bytesSent }) => sum + bytesSent, 0);
    expect(sent).toBeLessThanOrEqual(carried() - before);
    expect(sent).toBeGreaterThan(0.95 * (carried() - before));
  } finally {
    await mesh.close();
  }
});

test('only so many are kept, and none for another model', () => {
  const log = createPassLog();
  for (let position = 0; position < MOST_PASSES + 3; position++) {
    log.add(1, { position, batchSize: 1, execUs: 1, syncUs: 1 }, { sent: 10 * position, received: 7 * position });
  }
  expect(log.records).toHaveLength(MOST_PASSES);
  expect(log.records[0]).toEqual([1, 3, 1, 1, 1, 10, 7]);
  log.clear();
  expect(log.records).toEqual([]);
});
