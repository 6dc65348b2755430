/** Evidence of a sound run of the fifth acceptance test, for tests to spoil. */

import type { DeviceStatus, MoveReport, Pass, Plan } from '../../../web/api.ts';
import { parseRatios } from '../../../web/plan/ratios.ts';
import { makePlan } from '../../../web/plan/split.ts';
import { CASES, type MoveCommand } from '../../acceptance/cases.ts';
import type { Evidence } from '../../acceptance/play.ts';

export const SHAPE = { layers: 4, dim: 256, heads: 16, kvHeads: 8, headDim: 16, ffn: 768, vocab: 512 };
const PROMPT = 10;
const TOKENS = 20;
/** The first token of the new plan. */
const FIRST = 9;
const DEVICES = [0, 1, 2];

const planOf = (ratios: string, epoch: number): Plan =>
  makePlan(parseRatios(ratios, { devices: DEVICES.length, layers: SHAPE.layers }), SHAPE, DEVICES, epoch);

/** @param number of the test: 5 moves a head, 7 a layer */
export function evidence(number: 5 | 7): Evidence {
  const test = CASES.find((one) => one.number === number)!;
  const move = test.move as MoveCommand;
  // A head of 8 from the second of 2:3:3; a layer of 4 from the first of two stages.
  const [before, after] =
    number === 5 ? [planOf('2:3:3', 1), planOf('2:2:4', 2)] : [planOf('1:1*2', 1), planOf('1:1@1*2@3', 2)];
  // A move of heads leaves the rest as it was.
  if (number === 5) {
    for (const [i, member] of after.stages[0]!.members.entries()) {
      const { ffn, vocab } = before.stages[0]!.members[i]!;
      Object.assign(member, { ffn, vocab });
    }
  }
  const ids = Array.from({ length: TOKENS }, (_, i) => 100 + i);
  const takeover = PROMPT + FIRST - 1;
  const report: MoveReport = {
    ...{ id: 1, state: 'committed', epoch: 2, position: takeover, weightBytes: 1000, kvBytes: 100 },
    ...{ prepareMs: 5, copyMs: 4, commitMs: 3, longestGapMs: 20 },
  };
  const passes: Pass[] = [0, ...Array.from({ length: TOKENS - 1 }, (_, i) => PROMPT + i)].map((position) => ({
    ...{ position, tokens: position === 0 ? PROMPT : 1, epoch: position < takeover ? 1 : 2 },
    ...{ execMs: 2, syncMs: 1, bytesSent: 1500, bytesReceived: 1400 },
  }));
  const device = (index: number): DeviceStatus => ({
    ...{ index, id: `${index}`, name: `Device ${index}`, self: index === 0, state: 'ready', browser: 'Chrome' },
    ...{ backend: 'wasm', description: 'WASM SIMD, 1 thread', threads: 1, gmacs: 5, readbackMs: 0, link: 'webrtc' },
    ...{ memoryLimit: 1e9, memoryUsed: 1e6, memoryWarm: 0, weightBytes: 1e6, kvBytes: 1e5, rttMs: 1 },
    ...{ bytesSent: 30_000, bytesReceived: 28_000, tokens: PROMPT + TOKENS - 1 },
  });
  const { op } = move;
  return {
    task: { backend: 'wasm', ratios: test.ratios, prompt: 'P2', steps: TOKENS, ignoreEos: false, move },
    addresses: DEVICES.map((index) => `http://localhost/${index ? '' : 'host.html'}#room=(the room’s secret)`),
    ...{ options: { maxTokens: TOKENS }, promptText: 'Count | now', loadMs: 1, browser: 'Chromium 1', logs: [] },
    info: {
      ...{ model: 'tiny', architecture: 'llama', layers: SHAPE.layers, context: 512, backend: 'wasm', threads: 1 },
      ...{ bytes: 1, plan: before, shape: SHAPE, notes: [] },
    },
    ...{ before, after },
    generation: {
      ...{ ids, promptIds: Array.from({ length: PROMPT }, (_, i) => i), text: '1, 2', finishReason: 'length', seed: 1 },
      timings: {
        ...{ promptTokens: PROMPT, cachedTokens: 0, prefillMs: 50, decodeTokens: TOKENS - 1, decodeMs: 190 },
        gapsMs: Array.from({ length: TOKENS - 1 }, () => 10),
      },
    },
    tokens: ids.map((id, i) => ({ id, text: i % 2 ? '|' : '`\n', at: i })),
    passes: DEVICES.map((index) => ({ device: index, passes })),
    status: { state: 'ready', devices: DEVICES.map(device), moves: [report] },
    exchanges: [
      { request: JSON.stringify(move), answer: '{"ok":true,"state":"preparing","epoch":2}', seen: [6, 7] },
      {
        request: '{"op":"status"}',
        answer: JSON.stringify({ ok: true, moves: [{ ...report, op, seq: move.cmd.seq }] }),
        seen: [TOKENS, TOKENS],
      },
    ],
    perf: { ok: true, perf: [{ position: 28, nodeIndex: 0, stageIndex: 0, execUs: 2000, syncUs: 1000 }] },
    layers: { ok: true, layer_prof: { layers: [[{ ok: true, nodeIndex: 0, layerIndex: 0, attnUs: 3, ffnUs: 4 }]] } },
  };
}
