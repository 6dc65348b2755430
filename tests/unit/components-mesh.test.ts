import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { MoveReport, PlanPreview } from '../../web/api.ts';
import { activity, layerWords, linkWords } from '../../web/components/contribute/lending-words.ts';
import { deviceMemory, memoryStops } from '../../web/components/contribute/memory-stops.ts';
import { invitation, secureOrigin } from '../../web/components/mesh/addresses.ts';
import { borderSteps, nearestStep } from '../../web/components/mesh/borders.ts';
import { forecastOf } from '../../web/components/mesh/mesh-session.ts';
import { moveOptions } from '../../web/components/mesh/move-options.ts';
import { amountWords, forecastWords, formatMs, isUnderWay, moveWords } from '../../web/components/mesh/move-words.ts';
import { planView } from '../../web/components/mesh/plan-view.ts';
import { faultOf, RatiosDraft } from '../../web/components/mesh/ratios-draft.ts';
import { speedRatios, suggestRatios } from '../../web/components/mesh/suggestions.ts';
import { checkPlan } from '../../web/plan/inspect.ts';
import { applyMove } from '../../web/plan/moves.ts';
import { parseRatios } from '../../web/plan/ratios.ts';
import type { ModelShape } from '../../web/plan/shape.ts';
import { makePlan } from '../../web/plan/split.ts';

const SMOLLM2: ModelShape = { layers: 30, dim: 576, heads: 9, kvHeads: 3, headDim: 64, ffn: 1536, vocab: 49152 };

const planOf = (ratios: string, devices: number, shape = SMOLLM2) =>
  makePlan(parseRatios(ratios, { devices, layers: shape.layers }), shape, [...Array(devices).keys()], 1);

describe('the plan as it is drawn', () => {
  test('bars follow one another and fill their stage', () => {
    const [first, second] = planView(planOf('1@14*1:3@16', 3), SMOLLM2);
    expect(first?.members.map(({ node, device }) => [node, device])).toEqual([[0, 0]]);
    expect(first?.totals).toEqual({ heads: 9, ffn: 1536, vocab: 0 });
    expect(second?.layers).toEqual([14, 30]);
    expect(second?.members.map(({ bars }) => bars.ffn)).toEqual([
      { from: 0, to: 0.25, amount: 384 },
      { from: 0.25, to: 1, amount: 1152 },
    ]);
    expect(second?.members.map(({ node, kvHeads }) => [node, kvHeads])).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  test('a share that is scattered after moves is one bar', () => {
    const result = applyMove(planOf('1:1:1', 3), { from: 0, to: 2, kind: 2, ffn: 64 }, SMOLLM2);
    const [stage] = planView('plan' in result ? result.plan : planOf('1:1:1', 3), SMOLLM2);
    expect(stage?.members.map(({ bars }) => bars.ffn.amount)).toEqual([448, 512, 576]);
    expect(stage?.members.at(-1)?.bars.ffn.to).toBe(1);
  });
});

describe('borders', () => {
  test('go in steps of a KV head and of 32 columns', () => {
    const plan = planOf('1:1:1', 3);
    expect(borderSteps(plan, 0, 'heads', SMOLLM2)).toEqual([
      { amount: 0, move: { stage: 0, from: 0, to: 1, kind: 1, heads: 1 } },
      { amount: 3, move: undefined },
      { amount: 6, move: { stage: 0, from: 1, to: 0, kind: 1, heads: 1 } },
    ]);
    const ffn = borderSteps(plan, 1, 'ffn', SMOLLM2);
    expect(ffn).toHaveLength(33);
    expect(ffn.map(({ amount }) => amount)).toEqual(Array.from({ length: 33 }, (_, i) => i * 32));
    expect(ffn[15]?.move).toEqual({ stage: 0, from: 1, to: 2, kind: 2, ffn: 32 });
  });

  test('end with the stage, and need the model’s shape for heads', () => {
    expect(borderSteps(planOf('1*1', 2), 0, 'ffn', SMOLLM2)).toEqual([]);
    expect(borderSteps(planOf('1:1', 2), 0, 'heads', undefined)).toEqual([]);
    expect(borderSteps(planOf('1:1', 2), 0, 'ffn', undefined).length).toBeGreaterThan(1);
  });

  test('every step is a legal move that leaves what it says', () => {
    const arbitrary = fc.record({
      weights: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 6 }),
      kvHeads: fc.integer({ min: 1, max: 6 }),
      group: fc.integer({ min: 1, max: 4 }),
      headDim: fc.constantFrom(8, 16, 64, 80),
      border: fc.nat(),
    });
    fc.assert(
      fc.property(arbitrary, ({ weights, kvHeads, group, headDim, border }) => {
        const shape = { ...SMOLLM2, kvHeads, heads: kvHeads * group, headDim, ffn: 512, vocab: 320 };
        const plan = planOf(weights.join(':'), weights.length, shape);
        const node = border % (weights.length - 1);
        for (const kind of ['heads', 'ffn'] as const) {
          const steps = borderSteps(plan, node, kind, shape);
          expect(steps.filter(({ move }) => move === undefined)).toHaveLength(1);
          expect(steps.map(({ amount }) => amount)).toEqual(steps.map(({ amount }) => amount).sort((a, b) => a - b));
          for (const { amount, move } of steps) {
            if (!move) continue;
            const result = applyMove(plan, move, shape);
            if (!('plan' in result)) throw new Error(result.refused);
            expect(checkPlan(result.plan, shape)).toEqual([]);
            expect(planView(result.plan, shape)[0]?.members[node]?.bars[kind].amount).toBe(amount);
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  test('the nearest step is taken', () => {
    const steps = [0, 3, 6].map((amount) => ({ amount, move: undefined }));
    expect([-5, 1.4, 1.6, 99].map((amount) => nearestStep(steps, amount))).toEqual([0, 0, 1, 2]);
  });
});

describe('moves', () => {
  test('have words', () => {
    const name = (node: number) => ['Desk', 'Phone'][node] ?? '?';
    expect(moveWords({ from: 0, to: 1, kind: 3 }, name)).toBe('1 KV head and 256 FFN columns from Desk to Phone');
    expect(moveWords({ from: 1, to: 0, layers: 2 }, name)).toBe('2 layers from Phone to Desk');
    expect(moveWords({ moves: [{ from: 0, to: 1, kind: 1, heads: 2 }] }, name)).toBe('2 KV heads from Desk to Phone');
    expect(amountWords({ kind: 2, ffn: 32 })).toBe('32 FFN columns');
    expect([0, 0.42, 12.3, 1234].map(formatMs)).toEqual(['0 ms', '0.4 ms', '12 ms', '1.2 s']);
    const states: MoveReport['state'][] = [
      'queued',
      'preparing',
      'copying',
      'committed',
      'refused',
      'cancelled',
      'failed',
    ];
    expect(states.filter((state) => isUnderWay({ state }))).toEqual(['queued', 'preparing', 'copying']);
  });

  test('are offered as far as they are legal', () => {
    const fields = { from: 0, to: 1, heads: 1, ffn: 40, layers: 1 };
    const refused = moveOptions(fields, planOf('1:1', 2), SMOLLM2).map(({ name, refused }) => [name, refused]);
    expect(refused).toEqual([
      ['heads', undefined],
      ['ffn', expect.stringContaining('not a multiple')],
      ['both', expect.stringContaining('not a multiple')],
      ['layers', expect.stringContaining('both in stage 0')],
    ]);
    expect(moveOptions(fields, planOf('1:1', 2), undefined).every(({ refused }) => refused === undefined)).toBe(true);
  });

  test('are foretold by what each device would hold beyond what it holds', () => {
    const device = (index: number, weightBytes: number, kvBytes: number) => ({
      ...{ device: index, attention: 0, ffn: 0, head: 0, embedding: 0, weightBytes, kvBytes },
    });
    const plan = planOf('1:1', 2);
    const now: PlanPreview = { plan, devices: [device(0, 100, 50), device(1, 100, 50)] };
    const then: PlanPreview = { plan, devices: [device(0, 80, 40), device(1, 120, 60)] };
    const move = { from: 0, to: 1, kind: 1 as const };
    const forecast = forecastOf(move, now, then);
    expect(forecast).toEqual({ move, weightBytes: 20, kvBytes: 10, receivers: [{ device: 1, bytes: 180 }] });
    expect(forecastWords(forecast, () => 'Phone')).toBe(
      '20 B of weights and up to 10 B of KV would travel; Phone then holds 180 B.',
    );
  });
});

describe('suggested ratios', () => {
  test('follow the speeds in small numbers', () => {
    expect(speedRatios([9.1, 13.4, 13.9])).toEqual([2, 3, 3]);
    expect(speedRatios([8.8, 8.5])).toEqual([1, 1]);
    expect(speedRatios([1, 10])).toEqual([1, 10]);
    expect(Math.min(...speedRatios([0.1, 50]))).toBe(1);
  });

  test('are each offered once, and by speed only where all are measured', () => {
    const devices = (...speeds: number[]) => speeds.map((gmacs, i) => ({ self: i === 0, gmacs }));
    expect(suggestRatios(devices(8, 8)).map(({ ratios }) => ratios)).toEqual(['1:1', '1*1', '1']);
    expect(suggestRatios(devices(8, 16)).map(({ ratios }) => ratios)).toEqual(['1:1', '1:2', '1*2', '1']);
    expect(suggestRatios(devices(8, 0)).map(({ label }) => label)).not.toContain('By speed');
    expect(suggestRatios(devices(8))).toEqual([]);
    expect(
      suggestRatios([
        { self: false, gmacs: 0 },
        { self: false, gmacs: 0 },
      ]).map(({ ratios }) => ratios),
    ).toEqual(['1:1', '1*1']);
  });
});

describe('ratios that are typed', () => {
  const preview: PlanPreview = { plan: planOf('1:1', 2), devices: [] };

  test('an answer that comes late does not speak for a newer text', async () => {
    const answers: ((preview: PlanPreview) => void)[] = [];
    const draft = new RatiosDraft({
      previewRatios: () => new Promise((resolve) => answers.push(resolve)),
      setRatios: async () => ({ epoch: 2, plan: preview.plan }),
    });
    draft.type('1:1', 0);
    await expect.poll(() => answers.length).toBe(1);
    draft.type('1:2', 0);
    answers[0]?.(preview);
    await expect.poll(() => answers.length).toBe(2);
    expect([draft.state, draft.preview]).toEqual(['checking', undefined]);
    answers[1]?.(preview);
    await expect.poll(() => draft.state).toBe('good');
    await draft.apply();
    expect([draft.state, draft.text, draft.preview]).toEqual(['empty', '', undefined]);
  });

  test('a fault keeps its place within the text', () => {
    const error = (at: unknown, length: unknown) => Object.assign(new Error('no'), { at, length });
    expect(faultOf(error(2, 1), '2:x')).toEqual({ message: 'no', at: 2, length: 1 });
    expect(faultOf(error(9, 9), '2:x')).toEqual({ message: 'no', at: 3, length: 0 });
    expect(faultOf(error('2', 1), '2:x')).toEqual({ message: 'no', at: undefined, length: 0 });
  });
});

describe('addresses', () => {
  const https = ['https://192.168.1.7:8081', 'https://10.0.0.2:8081', 'https://localhost:8081'];
  const http = ['http://192.168.1.7:8080', 'http://localhost:8080'];
  const hash = '/#room=x';

  test.each([
    [`http://localhost:8080${hash}`, https, `https://192.168.1.7:8081${hash}`, 'whole'],
    [`https://127.0.0.1:8081${hash}`, https, `https://192.168.1.7:8081${hash}`, 'whole'],
    [`http://10.0.0.2:8080${hash}`, https, `https://10.0.0.2:8081${hash}`, 'whole'],
    [`https://my.example${hash}`, https, `https://my.example${hash}`, 'whole'],
    [`http://localhost:8080${hash}`, [], `http://192.168.1.7:8080${hash}`, 'plain'],
    [`http://192.168.1.7:8080${hash}`, [], `http://192.168.1.7:8080${hash}`, 'plain'],
  ])('%s is given out as what reaches most', (link, secure, given, reach) => {
    expect(invitation(link, { http, https: secure })).toMatchObject({ link: given, reach });
  });

  test('a machine without a network says so', () => {
    const alone = { http: ['http://localhost:8080'], https: ['https://localhost:8081'] };
    expect(invitation(`http://localhost:8080${hash}`, alone)).toEqual({
      ...{ link: `http://localhost:8080${hash}`, reach: 'local', here: undefined },
    });
    expect(secureOrigin('192.168.1.7', { http, https: [] })).toBeUndefined();
  });
});

describe('lending', () => {
  test('memory stops hold the present limit and stay below the device’s memory', () => {
    expect(memoryStops(4 * 2 ** 30, 60e6)[0]).toBe(60e6);
    expect(memoryStops(4 * 2 ** 30, 0).at(-1)).toBe(3e9);
    expect(memoryStops(undefined, 9e9).at(-1)).toBe(9e9);
    expect([deviceMemory({ deviceMemory: 8 }), deviceMemory({})]).toEqual([8 * 2 ** 30, undefined]);
  });

  test('has words', () => {
    expect(linkWords({ link: 'webrtc', rttMs: 20 })).toBe('direct, 20 ms: fair');
    expect(linkWords({ link: 'none', rttMs: 0 })).toBe('not connected to the host yet');
    expect([layerWords([3, 4]), layerWords([0, 30])]).toEqual(['3', '0–29 (30 layers)']);
    const status = {
      ...{
        state: 'joined',
        name: '',
        backend: '',
        threads: 0,
        gmacs: 0,
        memoryLimit: 0,
        memoryUsed: 0,
        memoryWarm: 0,
        heads: 0,
      },
      ...{ ffn: 0, loaded: 0, total: 0, tokens: 0, link: 'none' as const, rttMs: 0, awake: false },
    };
    expect(activity(status).title).toBe('Ready');
    expect(activity({ ...status, layers: [0, 3] }).title).toBe('Lending');
    expect(activity({ ...status, layers: [0, 3], loaded: 1, total: 2 }).title).toBe('Loading its share');
    expect(activity({ ...status, state: 'paused', layers: [0, 3] }).title).toBe('Paused');
  });
});
