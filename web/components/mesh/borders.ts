/** Where the border between two members' bars may be dragged to, and what each place asks for. */
import { applyMove } from '../../plan/moves.ts';
import { nodeAt } from '../../plan/nodes.ts';
import { BLOCK, type ModelShape } from '../../plan/shape.ts';
import type { Plan } from '../../plan/types.ts';
import { amountOf } from './plan-view.ts';

/** Kinds that two members can trade; vocabulary rows stay where the plan put them. */
export type TradedKind = 'heads' | 'ffn';

/** A move as the handle takes it, from one member of a stage to its neighbour. */
export interface BorderMove {
  stage: number;
  from: number;
  to: number;
  kind: 1 | 2;
  heads?: number;
  ffn?: number;
}

export interface BorderStep {
  /** What the upper member would own then: query heads or FFN columns. */
  amount: number;
  /** Undefined where the border is now. */
  move: BorderMove | undefined;
}

/**
 * The legal places of the border below `node`, ascending by what that member owns then; the present one is among them.
 * Empty where the stage ends with it, or where the model's shape would be needed and is not known.
 */
export function borderSteps(plan: Plan, node: number, kind: TradedKind, shape: ModelShape | undefined): BorderStep[] {
  const upper = nodeAt(plan, node);
  const lower = nodeAt(plan, node + 1);
  if (!upper || !lower || upper.stage !== lower.stage) return [];
  const now = amountOf(kind, upper.member);
  const down = { stage: upper.stage, from: node, to: node + 1 };
  const up = { stage: upper.stage, from: node + 1, to: node };
  const here: BorderStep = { amount: now, move: undefined };
  if (kind === 'ffn') {
    const steps = (columns: number) => Array.from({ length: Math.floor(columns / BLOCK) }, (_, i) => (i + 1) * BLOCK);
    return [
      ...steps(now)
        .reverse()
        .map((ffn): BorderStep => ({ amount: now - ffn, move: { ...down, kind: 2, ffn } })),
      here,
      ...steps(amountOf(kind, lower.member)).map(
        (ffn): BorderStep => ({ amount: now + ffn, move: { ...up, kind: 2, ffn } }),
      ),
    ];
  }
  if (!shape) return [];
  return [...headSteps(plan, node, down, shape), here, ...headSteps(plan, node, up, shape)].sort(
    (a, b) => a.amount - b.amount,
  );
}

/** Every number of KV heads that the giver may give; a KV head can mean fewer query heads where it is divided. */
function headSteps(plan: Plan, node: number, way: Omit<BorderMove, 'kind'>, shape: ModelShape): BorderStep[] {
  return Array.from({ length: shape.kvHeads }, (_, i) => i + 1).flatMap((heads): BorderStep[] => {
    const move: BorderMove = { ...way, kind: 1, heads };
    const result = applyMove(plan, move, shape);
    if ('refused' in result) return [];
    return [{ amount: amountOf('heads', nodeAt(result.plan, node)!.member), move }];
  });
}

/** Index of the step whose amount is nearest. */
export function nearestStep(steps: readonly BorderStep[], amount: number): number {
  let best = 0;
  for (const [i, step] of steps.entries()) {
    if (Math.abs(step.amount - amount) < Math.abs(steps[best]!.amount - amount)) best = i;
  }
  return best;
}
