/**
 * Requests of the plan socket, EdgeVisor's JSON lines: what each may hold, and what is meant where something is absent.
 * The server reads them from its Unix socket, the host's page once more; docs/plan-socket.md describes them.
 */
import * as v from 'valibot';
import { MessageError } from './messages.ts';

/** Longest request line in bytes, without its end. */
export const MAX_LINE_BYTES = 256 * 1024;
/** EdgeVisor's most moves in one command. */
export const MAX_MOVES = 64;
const MAX_UINT = 0xffffffff;

const uint = v.pipe(
  v.number('is no number'),
  v.integer('is no whole number'),
  v.minValue(0, 'is below 0'),
  v.maxValue(MAX_UINT, `is above ${MAX_UINT}`),
);
const kind = v.picklist([1, 2, 3], 'is none of 1 (heads), 2 (FFN), 3 (both)');
const mode = v.picklist(['exact', 'next_barrier', 'next'], 'is none of exact, next_barrier, next');
const path = v.pipe(v.string('is no text'), v.maxLength(4096, 'is longer than 4096 characters'));

const MoveSchema = v.object({
  fromNodeIndex: v.optional(uint, 0),
  toNodeIndex: v.optional(uint, 1),
  cmdKind: v.optional(kind, 3),
  headMove: v.optional(uint, 1),
  ffnMove: v.optional(uint, 256),
});

const when = {
  seq: uint,
  mode: v.optional(mode, 'next_barrier'),
  stageIndex: v.optional(uint, 0),
  triggerPos: v.optional(uint),
  triggerLayer: v.optional(uint),
  fromNodeIndex: v.optional(uint, 0),
  toNodeIndex: v.optional(uint, 1),
};

const SetPlanSchema = v.object({
  ...when,
  cmdKind: v.optional(kind, 3),
  nHeadsToMove: v.optional(uint, 1),
  nFfnToMove: v.optional(uint, 256),
  moves: v.optional(
    v.pipe(v.array(MoveSchema, 'is no list'), v.maxLength(MAX_MOVES, `has more than ${MAX_MOVES} entries`)),
  ),
});

const SetLayersSchema = v.object({ ...when, stageIndex: v.optional(uint, MAX_UINT), layerCount: v.optional(uint, 1) });

const RequestSchema = v.variant('op', [
  v.object({ op: v.literal('ping') }),
  v.object({ op: v.literal('status') }),
  v.object({ op: v.literal('perf') }),
  v.object({
    op: v.literal('layer_prof'),
    layerIndex: v.optional(uint),
    all: v.optional(v.boolean('is neither true nor false')),
    stageIndex: v.optional(uint),
    rootNodeIndex: v.optional(uint),
    path: v.optional(path, ''),
  }),
  v.object({ op: v.literal('set_plan'), cmd: SetPlanSchema }),
  v.object({ op: v.literal('set_pp_migration'), cmd: SetLayersSchema }),
  v.object({ op: v.literal('set_runtime_gate') }),
  v.object({ op: v.literal('set_primary_layer') }),
  v.object({ op: v.literal('clear') }),
]);

export type PlanRequest = v.InferOutput<typeof RequestSchema>;
export type RequestOf<T extends PlanRequest['op']> = Extract<PlanRequest, { op: T }>;
export type SetPlan = v.InferOutput<typeof SetPlanSchema>;
export type SetLayers = v.InferOutput<typeof SetLayersSchema>;

/** A request with its defaults filled in; fields that it does not know are left out. Throws MessageError in words. */
export function parsePlanRequest(value: unknown): PlanRequest {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new MessageError('the request is no JSON object');
  const result = v.safeParse(RequestSchema, value, { abortEarly: true });
  if (!result.success) throw new MessageError(fault(result.issues[0]));
  const request = result.output;
  if (request.op === 'layer_prof' && request.layerIndex === undefined && !request.all)
    throw new MessageError('layer_prof needs layerIndex or all');
  return request;
}

function fault(issue: v.BaseIssue<unknown>): string {
  const at = v.getDotPath(issue) ?? 'request';
  if (at === 'op') return 'unknown op';
  return issue.received === 'undefined' ? `${at} is missing` : `${at} ${issue.message}`;
}
