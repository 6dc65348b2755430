/** From ratios to a plan: the one place where shares are rounded. `docs/plan.md` has the rule with examples. */
import { apportion } from './apportion.ts';
import { formatRatios, type Ratios } from './ratios.ts';
import { BLOCK, groupSize, headUnit, lcm, type ModelShape, shapeFault } from './shape.ts';
import type { Member, Plan, Range } from './types.ts';

/**
 * The plan that ratios describe. Devices fill the stages from left to right; `devices` are their indices in the room.
 * Members of one stage own neighbouring ranges in their order; vocabulary rows belong to the last stage alone.
 *
 * @throws {RangeError} where the ratios do not fit the devices or the model, or the model cannot be cut.
 */
export function makePlan(ratios: Ratios, shape: ModelShape, devices: readonly number[], epoch: number): Plan {
  const fault = shapeFault(shape) ?? ratiosFault(ratios, shape, devices);
  if (fault) throw new RangeError(fault);

  let layer = 0;
  let device = 0;
  const stages = ratios.stages.map(({ weights, layers }, i) => {
    const heads = deal(shape.heads, headGranule(weights, shape), weights);
    const ffn = deal(shape.ffn, BLOCK, weights);
    const last = i === ratios.stages.length - 1;
    const vocab = last ? deal(shape.vocab, BLOCK, weights) : weights.map((): Range[] => []);
    const members = weights.map(
      (_, m): Member => ({ device: devices[device++], qHeads: heads[m], ffn: ffn[m], vocab: vocab[m] }),
    );
    const range: Range = [layer, layer + layers];
    layer += layers;
    return { layers: range, members };
  });
  return { epoch, stages };
}

/** Why ratios do not fit these devices and this model, in words; undefined when they do. */
export function ratiosFault(ratios: Ratios, shape: ModelShape, devices: readonly number[]): string | undefined {
  const text = formatRatios(ratios);
  const members = ratios.stages.reduce((sum, { weights }) => sum + weights.length, 0);
  if (members !== devices.length) {
    return `The ratios ${text} are for ${members} devices, but ${devices.length} would compute.`;
  }
  if (new Set(devices).size !== devices.length) return `A device is named twice among ${devices.join(', ')}.`;
  const layers = ratios.stages.reduce((sum, stage) => sum + stage.layers, 0);
  if (layers !== shape.layers || ratios.stages.some((stage) => !Number.isInteger(stage.layers) || stage.layers < 1)) {
    return `The ratios ${text} are for ${layers} layers, but the model has ${shape.layers}.`;
  }
  for (const { weights } of ratios.stages) {
    if (!weights.every((weight) => Number.isFinite(weight) && weight >= 0) || weights.every((weight) => weight === 0)) {
      return `The ratios ${text} have a stage whose weights are not numbers from 0 with one above 0.`;
    }
  }
  return undefined;
}

/**
 * Query heads that are dealt as one: a KV head with all its query heads (or several, until they fill whole blocks of
 * columns) where there are at least as many of these as members with a share; else the fewest heads that fill
 * whole blocks, so that KV heads are divided.
 */
function headGranule(weights: readonly number[], shape: ModelShape): number {
  const granule = lcm(groupSize(shape), headUnit(shape));
  const sharers = weights.filter((weight) => weight > 0).length;
  return sharers <= Math.ceil(shape.heads / granule) ? granule : headUnit(shape);
}

/** Cuts [0, total) into neighbouring ranges of whole units by weight; only the very last unit may be short. */
function deal(total: number, unit: number, weights: readonly number[]): Range[][] {
  let from = 0;
  return apportion(Math.ceil(total / unit), weights).map((units) => {
    const to = Math.min(total, from + units * unit);
    const range: Range = [from, to];
    from = to;
    return units === 0 ? [] : [range];
  });
}
