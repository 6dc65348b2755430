/**
 * What each number type on the wire costs: bytes a token against error of the logits. `MESH_MEASURE=1` prints the table of
 * docs/mesh.md over all golden prompts; without, the bounds are held on the short ones.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Executor } from '../../../web/device/executor.ts';
import { readModel } from '../../../web/host/open-model.ts';
import { NUMBER_TYPES, type NumberType } from '../../../web/mesh/wire.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import type { HyperParameters } from '../../../web/model/types.ts';
import { parseRatios } from '../../../web/plan/ratios.ts';
import { makePlan } from '../../../web/plan/split.ts';
import { argmax, type GoldenCase, readGolden, rms, tieMargin, topError } from '../../support/golden.ts';
import { teacherForce } from '../../support/in-process.ts';
import { playMesh } from '../../support/mesh-in-process.ts';
import {
  DEFAULT_MODEL,
  haveDefaultModel,
  type OpenModel,
  openModel,
  repoPath,
  wholeShare,
} from '../../support/node-model.ts';

const MEASURE = process.env.MESH_MEASURE === '1';

/** Members of one stage with the shares that ratios give them. */
async function membersOf(model: OpenModel, ratios: string, devices: number): Promise<Executor[]> {
  const { hyper } = model;
  const plan = makePlan(
    parseRatios(ratios, { devices, layers: hyper.layers }),
    hyper,
    Array.from({ length: devices }, (_, i) => i),
    1,
  );
  const [{ layers, members }] = plan.stages;
  return Promise.all(
    members.map(({ qHeads, ffn, vocab }, i) =>
      model.executor({ layers, qHeads, ffn, vocab, head: true, embedding: i === 0 }),
    ),
  );
}

interface Cost {
  /** Root mean square over all logits of a position, against those of one device: mean over positions, and the worst. */
  meanRms: number;
  worstRms: number;
  /** Largest difference from the exact top 8. */
  topError: number;
  /** Steps whose best token is not one device's, and those whose exact best is clear but not ours. */
  flips: number;
  wrong: number;
  steps: number;
}

async function costs(
  members: Executor[],
  single: Executor,
  cases: GoldenCase[],
  types: readonly NumberType[],
): Promise<Map<NumberType, Cost>> {
  const result = new Map(
    types.map((type): [NumberType, Cost] => [
      type,
      { meanRms: 0, worstRms: 0, topError: 0, flips: 0, wrong: 0, steps: 0 },
    ]),
  );
  for (const { ids, greedy, steps } of cases) {
    const sequence = [...ids, ...greedy.slice(0, -1)];
    const alone = (await teacherForce([[single]], sequence)).slice(ids.length - 1);
    for (const [type, cost] of result) {
      const ours = (await teacherForce([members], sequence, 32, type)).slice(ids.length - 1);
      const error = Math.max(...ours.map((logits, i) => topError(logits, steps[i].exact)));
      cost.topError = Math.max(cost.topError, error);
      for (const [i, logits] of ours.entries()) {
        const difference = rms(logits, alone[i]);
        cost.meanRms += difference;
        cost.worstRms = Math.max(cost.worstRms, difference);
        if (argmax(logits) !== argmax(alone[i])) cost.flips++;
        const [[best, first], [, second]] = steps[i].exact;
        if (first - second > tieMargin(error) && argmax(logits) !== best) cost.wrong++;
        cost.steps++;
      }
    }
  }
  for (const cost of result.values()) cost.meanRms /= cost.steps;
  return result;
}

function table(costs: ReadonlyMap<NumberType, Cost>): string {
  const rows = [...costs].map(([type, { meanRms, worstRms, topError: top, flips, wrong, steps }]) =>
    [type, meanRms.toFixed(5), worstRms.toFixed(5), top.toFixed(4), flips, wrong, steps].join(' | '),
  );
  return ['type | mean rms | worst rms | top-8 error to exact | flips to one device | wrong | steps', ...rows].join(
    '\n',
  );
}

/** Bounds of docs/mesh.md: rms over the logits of any position against one device. */
const BOUNDS: Record<NumberType, number> = { f32: 0.004, f16: 0.03, q15: 0.02, q80: 1.5 };

describe('the error of a number type is within its bound', () => {
  test.each([
    ['tiny-llama.Q4_0', '2:3:3'],
    ['tiny-qwen2.Q4_K_M', '1:1'],
    ['tiny-qwen3.Q4_0', '2:3:3'],
  ])('%s, %s', async (name, ratios) => {
    const model = await openModel(repoPath(`tests/fixtures/${name}.gguf`));
    const { cases } = readGolden(repoPath(`tests/fixtures/${name}.json`));
    const members = await membersOf(model, ratios, ratios.split(':').length);
    const found = await costs(members, await model.executor(wholeShare(model.hyper)), cases.slice(0, 3), NUMBER_TYPES);
    if (MEASURE) console.log(`${name}\n${table(found)}`);
    for (const [type, { worstRms }] of found) expect(worstRms, type).toBeLessThanOrEqual(BOUNDS[type]);
  });

  test.skipIf(!haveDefaultModel)(
    'SmolLM2-135M, 2:3:3 (skipped where models/ lacks it)',
    async () => {
      const model = await openModel(DEFAULT_MODEL);
      const golden = readGolden(repoPath('tests/fixtures/smollm2-135m-instruct.q4_1.json'));
      const cases = MEASURE ? golden.cases : golden.cases.filter(({ name }) => name === 'arith');
      const members = await membersOf(model, '2:3:3', 3);
      const found = await costs(members, await model.executor(wholeShare(model.hyper)), cases, NUMBER_TYPES);
      if (MEASURE) console.log(`SmolLM2-135M\n${table(found)}`);
      for (const [type, { worstRms, wrong }] of found) {
        expect(worstRms, type).toBeLessThanOrEqual(BOUNDS[type]);
        // Only bytes flip tokens that are no ties.
        if (type !== 'q80') expect(wrong, type).toBe(0);
      }
    },
    3_600_000,
  );
});

describe('bytes of a token', () => {
  /** What the host's links carry for one token of an answer, both ways. */
  async function bytesOfToken(
    path: string,
    ratios: string,
    wire: NumberType,
  ): Promise<{ bytes: number; hyper: HyperParameters }> {
    const model = await readModel(bytesSource(readFileSync(path), 'model.gguf'));
    const mesh = playMesh({ model });
    const devices = ratios.split(':').length - 1;
    for (let i = 1; i <= devices; i++) await mesh.join(i);
    const session = await mesh.load({ ratios, wire });
    const carried = () =>
      mesh.hub.devices
        .all()
        .filter(({ index }) => index !== 0)
        .reduce((sum, { link: { stats } }) => sum + stats.bytesSent + stats.bytesReceived, 0);
    const marks: number[] = [];
    await session.loop.generate(
      { ids: [1, 2, 3], maxTokens: 5, temperature: 0, ignoreEos: true },
      { onToken: () => marks.push(carried()) },
    );
    await mesh.close();
    const gaps = marks.slice(1).map((mark, i) => mark - marks[i]);
    // Once a second each device says how it fares, which is not of the token.
    return { bytes: Math.min(...gaps), hyper: model.catalogue.hyper };
  }

  test.each(NUMBER_TYPES)('%s: partial sums go once over every link, and little else', async (wire) => {
    const { bytes, hyper } = await bytesOfToken(repoPath('tests/fixtures/tiny-llama.Q4_0.gguf'), '2:3:3', wire);
    const sum = { f32: 4, f16: 2, q15: 62 / 32, q80: 34 / 32 }[wire] * hyper.dim + 16;
    const sums = 2 * hyper.layers * 2 * 2 * sum;
    expect(bytes).toBeGreaterThan(sums);
    expect(bytes).toBeLessThan(sums + 2 * (4 * hyper.dim + 16) + 400);
  });

  test.skipIf(!haveDefaultModel)(
    'of the default model, against EdgeVisor’s root (skipped where models/ lacks it)',
    async () => {
      // (n − 1) · (2L·S + 4·dim) sent, (n − 1) · 2L·S + 4 · (vocabulary − own part) received, S = 34/32 · dim.
      const edgevisor = 2 * (60 * 612 + 4 * 576) + 2 * 60 * 612 + (4 * 49152 * 2) / 3;
      const most: Partial<Record<NumberType, number>> = { q15: 1, q80: 0.55 };
      for (const wire of MEASURE ? NUMBER_TYPES : (['q15', 'q80'] as const)) {
        const { bytes } = await bytesOfToken(DEFAULT_MODEL, '1:1:1', wire);
        if (MEASURE) console.log(`${wire}: ${bytes} bytes a token, ${(bytes / edgevisor).toFixed(3)} of EdgeVisor's`);
        expect(bytes / edgevisor, wire).toBeLessThanOrEqual(most[wire] ?? 2);
      }
    },
  );
});
