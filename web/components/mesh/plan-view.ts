/** A plan as it is drawn: for every stage its members, and their shares as lengths between 0 and 1. */
import { kvHeadsOf } from '../../plan/inspect.ts';
import { count } from '../../plan/ranges.ts';
import type { ModelShape } from '../../plan/shape.ts';
import type { Member, Plan, Range } from '../../plan/types.ts';

/** What a stage divides among its members, in the order of drawing. */
export const KINDS = ['heads', 'ffn', 'vocab'] as const;
export type Kind = (typeof KINDS)[number];

export const KIND_LABELS: Record<Kind, string> = { heads: 'Heads', ffn: 'FFN', vocab: 'Vocab' };

/**
 * A member's share of one kind. Bars follow one another in the order of the members, whatever ranges these own after
 * moves: the border between two bars is then always what the two could trade.
 */
export interface Bar {
  from: number;
  to: number;
  amount: number;
}

export interface MemberView {
  /** Its node index, as moves name it. */
  node: number;
  device: number;
  bars: Record<Kind, Bar>;
  /** KV heads that it keeps; undefined while the model's shape is not known. */
  kvHeads: number | undefined;
}

export interface StageView {
  stage: number;
  layers: Range;
  totals: Record<Kind, number>;
  members: MemberView[];
}

const owned: Record<Kind, (member: Member) => Range[]> = {
  heads: ({ qHeads }) => qHeads,
  ffn: ({ ffn }) => ffn,
  vocab: ({ vocab }) => vocab,
};

/** How much of a kind a member owns: query heads, FFN columns or vocabulary rows. */
export const amountOf = (kind: Kind, member: Member): number => count(owned[kind](member));

export function planView(plan: Plan, shape: ModelShape | undefined): StageView[] {
  let node = 0;
  return plan.stages.map(({ layers, members }, stage) => {
    const totals = perKind((kind) => members.reduce((sum, member) => sum + amountOf(kind, member), 0));
    const before = perKind(() => 0);
    const views = members.map((member): MemberView => {
      const bars = perKind((kind) => {
        const amount = amountOf(kind, member);
        const from = before[kind];
        before[kind] += amount;
        const whole = totals[kind] || 1;
        return { from: from / whole, to: before[kind] / whole, amount };
      });
      const kvHeads = shape && count(kvHeadsOf(member.qHeads, shape));
      return { node: node++, device: member.device, bars, kvHeads };
    });
    return { stage, layers, totals, members: views };
  });
}

function perKind<T>(value: (kind: Kind) => T): Record<Kind, T> {
  return { heads: value('heads'), ffn: value('ffn'), vocab: value('vocab') };
}
