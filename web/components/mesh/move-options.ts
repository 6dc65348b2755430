/** What the buttons of the move form would ask for, and which of them are possible. */
import type { Migration, Plan } from '../../api.ts';
import { applyMove, type Move } from '../../plan/moves.ts';
import type { ModelShape } from '../../plan/shape.ts';

/** The form's fields: nodes and amounts. */
export interface MoveFields {
  from: number;
  to: number;
  heads: number;
  ffn: number;
  layers: number;
}

export interface MoveOption {
  name: 'heads' | 'ffn' | 'both' | 'layers';
  label: string;
  move: Extract<Migration, { from: number }>;
  /** Why it cannot be; undefined where it can, as far as this page knows. */
  refused: string | undefined;
}

/** One option a button. Without a shape nothing is refused here; the handle still may. */
export function moveOptions(fields: MoveFields, plan: Plan, shape: ModelShape | undefined): MoveOption[] {
  const { from, to, heads, ffn, layers } = fields;
  const option = (name: MoveOption['name'], label: string, move: MoveOption['move']): MoveOption => ({
    name,
    label,
    move,
    refused: shape && reason(plan, move, shape),
  });
  return [
    option('heads', 'Heads', { from, to, kind: 1, heads }),
    option('ffn', 'FFN', { from, to, kind: 2, ffn }),
    option('both', 'Both', { from, to, kind: 3, heads, ffn }),
    option('layers', 'Layers', { from, to, layers }),
  ];
}

function reason(plan: Plan, move: Move, shape: ModelShape): string | undefined {
  const result = applyMove(plan, move, shape);
  return 'refused' in result ? result.refused : undefined;
}
