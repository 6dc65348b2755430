/** Which plan a model gets: from ratios and the devices that are here, and without a device that has gone. */
import type { MemoryLimit } from '../../device/environment.ts';
import { deviceBytes } from '../../device/loader/tile-size.ts';
import type { Catalogue, HyperParameters } from '../../model/types.ts';
import { planBytes, type Sizes } from '../../plan/holdings.ts';
import { nodesOf } from '../../plan/nodes.ts';
import { count } from '../../plan/ranges.ts';
import { parseRatios, type Ratios, RatiosError } from '../../plan/ratios.ts';
import { makePlan } from '../../plan/split.ts';
import type { Plan, Range } from '../../plan/types.ts';
import type { DeviceNeeds } from '../context-size.ts';

/**
 * The plan that ratios describe over the first of `devices`, as many as they name.
 * Throws RatiosError (`devices`: they name more than there are) or RangeError.
 */
export function planFor(ratios: string, hyper: HyperParameters, devices: readonly number[], epoch: number): Plan {
  let failure: unknown;
  for (let used = devices.length; used > 0; used--) {
    try {
      const parsed = parseRatios(ratios, { devices: used, layers: hyper.layers });
      return makePlan(parsed, hyper, devices.slice(0, used), epoch);
    } catch (error) {
      if (!(error instanceof RatiosError) || error.code !== 'devices') throw error;
      failure ??= error;
    }
  }
  throw failure ?? new RatiosError('devices', 'There is no device that could compute.', 0, ratios.length);
}

/**
 * The same shape without some devices: what a stage's other members own says how they share the rest. Stages that are
 * left empty give their layers to the others. Undefined where nobody is left.
 */
export function planWithout(
  plan: Plan,
  gone: ReadonlySet<number>,
  hyper: HyperParameters,
  epoch: number,
): Plan | undefined {
  const stages = plan.stages
    .map(({ layers, members }) => ({
      layers: layers[1] - layers[0],
      members: members.filter(({ device }) => !gone.has(device)),
    }))
    .filter(({ members }) => members.length > 0);
  if (stages.length === 0) return undefined;
  const lost = hyper.layers - stages.reduce((sum, { layers }) => sum + layers, 0);
  const ratios: Ratios = {
    stages: stages.map(({ layers, members }, i) => {
      const weights = members.map(({ ffn }) => count(ffn));
      return {
        // The first of the stages that are left takes up what the empty ones had.
        layers: i === 0 ? layers + lost : layers,
        weights: weights.some((weight) => weight > 0) ? weights : weights.map(() => 1),
      };
    }),
  };
  const devices = stages.flatMap(({ members }) => members.map(({ device }) => device));
  return makePlan(ratios, hyper, devices, epoch);
}

/** Device bytes of weights and KV, for plan bytes and memory checks. The embedding lies with the first stage's leader. */
export function sizesOf(catalogue: Catalogue, plan: Plan, positions: number): Sizes {
  return {
    matrixBytes(role, layer) {
      const { type, rows, cols } = catalogue.matrix(role, layer);
      return deviceBytes(type, rows * cols);
    },
    positions,
    embedding: { device: plan.stages[0].members[0].device, tied: catalogue.hyper.tied },
  };
}

export const previewOf = (catalogue: Catalogue, plan: Plan, positions: number) => ({
  plan,
  devices: planBytes(plan, catalogue.hyper, sizesOf(catalogue, plan, positions)),
});

/** What each device of a plan holds and may, for the size of the context. */
export function needsOf(
  catalogue: Catalogue,
  plan: Plan,
  limitOf: (device: number) => MemoryLimit | undefined,
): DeviceNeeds[] {
  return planBytes(plan, catalogue.hyper, sizesOf(catalogue, plan, 1)).map(({ device, weightBytes, kvBytes }) => {
    const [from, to] = layersOf(plan, device);
    const whole = to - from === catalogue.hyper.layers;
    return {
      name: nameOf(device),
      part: whole ? 'weights and context' : `layers ${from} to ${to - 1}`,
      ...{ weightBytes, kvBytes, limit: limitOf(device) },
    };
  });
}

/** For people, in a sentence. */
export const nameOf = (device: number): string => (device === 0 ? 'this device' : `device ${device}`);

/** The layers that a device computes; none for one that the plan does not use. */
export function layersOf(plan: Plan, device: number): Range {
  return plan.stages.find(({ members }) => members.some((member) => member.device === device))?.layers ?? [0, 0];
}

/** Devices of a plan, in node order. */
export const devicesOf = (plan: Plan): number[] => nodesOf(plan).map(({ member }) => member.device);
