/** What a plan says, and whether it may be believed. */
import { aligned, count, intersect, normalize, subtract, words } from './ranges.ts';
import { BLOCK, groupSize, headUnit, type ModelShape, shapeFault } from './shape.ts';
import type { Plan, Range, Stage } from './types.ts';

/** KV heads that some query heads attend to. */
export function kvHeadsOf(qHeads: readonly Range[], shape: ModelShape): Range[] {
  const group = groupSize(shape);
  return normalize(qHeads.map(([from, to]): Range => [Math.floor(from / group), Math.ceil(to / group)]));
}

/**
 * Faults of a plan, in words; empty for a sound one. Sound: the stages' layers follow one another from 0 to the
 * model's end, no device appears twice, and within a stage heads and FFN columns (in the last one also vocabulary
 * rows) belong to exactly one member each, cut at whole blocks. KV heads follow from query heads, so they are then
 * covered too, by one member or more.
 */
export function checkPlan(plan: Plan, shape: ModelShape): string[] {
  const unfit = shapeFault(shape);
  if (unfit) return [unfit];
  const faults: string[] = [];
  if (!Number.isInteger(plan.epoch) || plan.epoch < 0) faults.push(`Epoch ${plan.epoch} is not a whole number from 0.`);

  let layer = 0;
  for (const [i, { layers }] of plan.stages.entries()) {
    const [from, to] = layers;
    if (from !== layer || !(to > from) || !Number.isInteger(to)) {
      faults.push(`Stage ${i} has layers [${from}, ${to}), but must begin at ${layer} and have at least one.`);
    }
    layer = to;
  }
  if (layer !== shape.layers) faults.push(`The stages end at layer ${layer}, but the model has ${shape.layers}.`);

  const devices = new Set<number>();
  for (const { device } of plan.stages.flatMap(({ members }) => members)) {
    if (!Number.isInteger(device) || device < 0) faults.push(`Device ${device} is not a whole number from 0.`);
    if (devices.has(device)) faults.push(`Device ${device} appears twice.`);
    devices.add(device);
  }

  for (const [i, stage] of plan.stages.entries()) {
    const vocab = i === plan.stages.length - 1 ? shape.vocab : 0;
    faults.push(
      ...coverFaults(stage, i, 'query heads', (member) => member.qHeads, shape.heads, headUnit(shape)),
      ...coverFaults(stage, i, 'FFN columns', (member) => member.ffn, shape.ffn, BLOCK),
      ...coverFaults(stage, i, 'vocabulary rows', (member) => member.vocab, vocab, BLOCK),
    );
  }
  return faults;
}

function coverFaults(
  { members }: Stage,
  stage: number,
  what: string,
  owned: (member: Stage['members'][number]) => Range[],
  total: number,
  unit: number,
): string[] {
  const faults: string[] = [];
  let seen: Range[] = [];
  for (const member of members) {
    const ranges = owned(member);
    const whose = `Stage ${stage}, device ${member.device}: ${what}`;
    if (!wellFormed(ranges, total)) {
      faults.push(`${whose} ${JSON.stringify(ranges)} are not ascending ranges within [0, ${total}).`);
      continue;
    }
    if (!aligned(ranges, unit, total)) faults.push(`${whose} ${words(ranges)} are not cut at multiples of ${unit}.`);
    const twice = intersect(seen, ranges);
    if (count(twice) > 0) faults.push(`${whose} ${words(twice)} belong to someone else too.`);
    seen = normalize([...seen, ...ranges]);
  }
  const missing = subtract([[0, total]], seen);
  if (count(missing) > 0) faults.push(`Stage ${stage}: ${what} ${words(missing)} belong to nobody.`);
  return faults;
}

function wellFormed(ranges: readonly Range[], total: number): boolean {
  let end = 0;
  for (const [from, to] of ranges) {
    if (!Number.isInteger(from) || !Number.isInteger(to) || from < end || to <= from || to > total) return false;
    end = to;
  }
  return true;
}
