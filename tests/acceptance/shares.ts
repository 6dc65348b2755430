/** Who has what under a plan, in numbers that a person can compare. */
import type { ModelShape, Plan } from '../../web/api.ts';
import { kvHeadsOf } from '../../web/plan/inspect.ts';
import { nodesOf } from '../../web/plan/nodes.ts';
import { count } from '../../web/plan/ranges.ts';

export interface NodeShare {
  node: number;
  device: number;
  stage: number;
  /** First layer, and the one after the last. */
  layers: [number, number];
  qHeads: number;
  kvHeads: number;
  ffn: number;
  vocab: number;
}

export const sharesOf = (plan: Plan, shape: ModelShape): NodeShare[] =>
  nodesOf(plan).map(({ node, stage, member }) => ({
    ...{ node, stage, device: member.device, layers: plan.stages[stage]!.layers, qHeads: count(member.qHeads) },
    kvHeads: count(kvHeadsOf(member.qHeads, shape)),
    ...{ ffn: count(member.ffn), vocab: count(member.vocab) },
  }));
