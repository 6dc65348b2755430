/** Node indices, as EdgeVisor's commands count: members over all stages in plan order, from 0. */
import type { Member, Plan } from './types.ts';

export interface Node {
  node: number;
  /** Index of its stage. */
  stage: number;
  /** Index of the member within its stage; 0 is the stage's leader. */
  index: number;
  member: Member;
}

/** All nodes of a plan, in order. */
export function nodesOf(plan: Plan): Node[] {
  let node = 0;
  return plan.stages.flatMap(({ members }, stage) =>
    members.map((member, index) => ({ node: node++, stage, index, member })),
  );
}

/** The node of that number; undefined where the plan has none. */
export function nodeAt(plan: Plan, node: number): Node | undefined {
  return nodesOf(plan)[node];
}

/** The node that a device is; undefined for a device that the plan does not use. */
export function nodeOfDevice(plan: Plan, device: number): Node | undefined {
  return nodesOf(plan).find(({ member }) => member.device === device);
}
