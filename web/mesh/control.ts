/**
 * What the host and the devices of its mesh say to each other besides tensors: JSON on a link, in order with them.
 * Nothing is believed before it has passed its schema; docs/mesh.md has the messages as a table.
 */
import * as v from 'valibot';
import { FrameError } from './frames.ts';
import { OPERATIONS } from './operations.ts';
import { NUMBER_TYPES } from './wire.ts';

const natural = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 48));
const device = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff));
const text = (length: number) => v.pipe(v.string(), v.maxLength(length));
const finite = v.pipe(v.number(), v.finite());
const list = <T extends v.GenericSchema>(item: T, most: number) => v.pipe(v.array(item), v.maxLength(most));

const RangeSchema = v.pipe(
  v.tuple([natural, natural]),
  v.check(([from, to]) => from <= to, 'a range that ends before it begins'),
);
/** More ranges than a model has blocks can only be nonsense. */
const RangesSchema = list(RangeSchema, 4096);

const TYPES = ['F32', 'F16', 'BF16', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q4_K', 'Q5_K', 'Q6_K'] as const;
const ROLES = [
  ...['q', 'k', 'v', 'o', 'gate', 'up', 'down', 'embedding', 'head'],
  ...['attentionNorm', 'ffnNorm', 'outputNorm', 'qBias', 'kBias', 'vBias', 'oBias', 'qNorm', 'kNorm'],
] as const;

/** Characters of an `echo`. */
export const MOST_ECHOED = 2 ** 18;

/** Dimensions, and bytes of one read. */
const size = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2 ** 26));

const HyperSchema = v.strictObject({
  architecture: v.picklist(['llama', 'qwen2', 'qwen3']),
  ...{ layers: size, dim: size, heads: size, kvHeads: size, headDim: size, ffn: size, vocab: size, context: size },
  normEpsilon: finite,
  rope: v.strictObject({
    layout: v.picklist(['pairs', 'halves']),
    dims: size,
    frequencies: list(finite, 4096),
    magnitude: finite,
  }),
  ...{ tied: v.boolean(), qkvBias: v.boolean(), qkNorm: v.boolean() },
});

const TensorSchema = v.strictObject({
  role: v.picklist(ROLES),
  layer: natural,
  name: text(256),
  type: v.picklist(TYPES),
  ...{ rows: size, cols: size, offset: natural, bytes: natural },
});

/** A model as a device needs to know it: what the header says of shapes and places, without vocabulary or template. */
export const WireModelSchema = v.strictObject({
  name: text(256),
  digest: v.pipe(v.string(), v.regex(/^[0-9a-f]{16,128}$/)),
  bytes: natural,
  /** Where its bytes come from: an address that the device can reach itself, or the host. */
  origin: v.variant('kind', [
    /** A file among the server's models. */
    v.strictObject({ kind: v.literal('server'), files: list(text(256), 1024) }),
    /** An address anywhere: whole rows from there, columns from the host. */
    v.strictObject({ kind: v.literal('url'), url: v.pipe(text(4096), v.regex(/^https?:\/\//i)) }),
    v.strictObject({ kind: v.literal('host') }),
  ]),
  hyper: HyperSchema,
  tensors: list(TensorSchema, 65536),
});

export const AssignmentSchema = v.strictObject({
  epoch: natural,
  /** Undefined: the device has no part in this plan. */
  share: v.optional(
    v.strictObject({
      layers: RangeSchema,
      ...{ qHeads: RangesSchema, ffn: RangesSchema, vocab: RangesSchema },
      ...{ embedding: v.boolean(), head: v.boolean() },
    }),
  ),
  /** Devices of its stage in plan order, itself among them; the first is the stage's leader. */
  members: list(device, 1024),
  /** Leader of the stage before; undefined for the first stage. */
  previous: v.optional(device),
  /** Devices of the next stage; none after the last. */
  next: list(device, 1024),
  wire: v.picklist(NUMBER_TYPES),
  /** Compare the replicas' digests in every batch. */
  verify: v.boolean(),
  /** Time every operation, for `profiled`. */
  profile: v.boolean(),
  context: size,
  maxBatch: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(4096)),
});

const KvHeadSchema = v.strictObject({ layer: natural, kvHead: natural });

/** From the host to a device. */
export const ToDeviceSchema = v.variant('type', [
  v.strictObject({ type: v.literal('model'), model: WireModelSchema }),
  /** Load what the assignment needs beyond the present one, without disturbing it. */
  v.strictObject({ type: v.literal('prepare'), assignment: AssignmentSchema }),
  /** Send KV of these heads over positions [from, to) to another device, which keeps it for `epoch`. */
  v.strictObject({
    type: v.literal('send-kv'),
    epoch: natural,
    to: device,
    heads: list(KvHeadSchema, 65536),
    range: RangeSchema,
  }),
  /** At this position, compute only the layers before `layer`, keep the residual and say `held`. Answered by `holding`. */
  v.strictObject({ type: v.literal('hold'), epoch: natural, position: natural, layer: natural }),
  /** From now on the prepared assignment holds. */
  v.strictObject({ type: v.literal('commit'), epoch: natural }),
  /** Forget a prepared assignment. */
  v.strictObject({ type: v.literal('cancel'), epoch: natural }),
  /** Forget everything: another model comes, or none. */
  v.strictObject({ type: v.literal('unload') }),
  /** The bytes that `read` asked for cannot be had. */
  v.strictObject({ type: v.literal('unreadable'), transfer: natural, code: text(32), message: text(1024) }),
  /**
   * Asks for `profiled`; with `layers`, for the times of each layer too, which may take until the next pass; with
   * `passes`, for the passes before the last one too; with `operations`, for sums since these were cleared, where the
   * assignment has them measured. `clear` begins new sums.
   */
  v.strictObject({
    type: v.literal('profile'),
    id: natural,
    ...{ layers: v.boolean(), passes: v.boolean(), operations: v.boolean(), clear: v.boolean() },
  }),
  /** Asks for `echoed` with the same text: how long a message of that size takes. */
  v.strictObject({ type: v.literal('echo'), id: natural, text: text(MOST_ECHOED) }),
]);

const AboutSchema = v.strictObject({
  backend: v.picklist(['wasm', 'webgpu']),
  description: text(256),
  threads: natural,
  gmacs: finite,
  readbackMs: finite,
  /** Bytes that the device lends. */
  memoryLimit: natural,
});

/** Microseconds of each operation; none where it took place nowhere. */
const TimesSchema = list(v.tuple([v.picklist(OPERATIONS), natural]), OPERATIONS.length);

/** Sums over batches. */
const PhaseSchema = v.strictObject({
  ...{ batches: natural, tokens: natural },
  /** From the arrival of each batch to its end, waiting included. */
  us: natural,
  layers: list(v.tuple([natural, TimesSchema]), 4096),
  /** Of what belongs to no layer. */
  rest: TimesSchema,
});

const OperationTimesSchema = v.strictObject({
  /** False: the backend can time whole steps only. */
  timesOperations: v.boolean(),
  /** Batches of several tokens, and of one. */
  ...{ prefill: PhaseSchema, decode: PhaseSchema },
});

/** From a device to the host. `epoch` says which request an answer belongs to. */
export const ToHostSchema = v.variant('type', [
  v.strictObject({ type: v.literal('about'), about: AboutSchema }),
  /** Wants no part in plans for now; or wants one again. */
  v.strictObject({ type: v.literal('paused'), paused: v.boolean() }),
  v.strictObject({
    type: v.literal('progress'),
    epoch: natural,
    ...{ stored: natural, fetched: natural, transferred: natural, total: natural },
  }),
  v.strictObject({ type: v.literal('prepared'), epoch: natural }),
  /** All of the KV of one `send-kv` has arrived. */
  v.strictObject({ type: v.literal('kv-received'), epoch: natural, from: device, bytes: natural }),
  v.strictObject({ type: v.literal('committed'), epoch: natural }),
  v.strictObject({ type: v.literal('holding'), epoch: natural }),
  /** The residual of a position is kept before the layer that `hold` named. */
  v.strictObject({ type: v.literal('held'), epoch: natural }),
  /** Bytes of the model, where the host is their origin: `count` pieces of `length`, `stride` apart. Answered in bulk. */
  v.strictObject({
    type: v.literal('read'),
    transfer: natural,
    ...{
      offset: natural,
      stride: natural,
      length: size,
      count: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2 ** 24)),
    },
  }),
  /** A request could not be fulfilled; the assignment before still holds. `device`: as in `broken`. */
  v.strictObject({
    type: v.literal('refused'),
    epoch: natural,
    code: text(32),
    message: text(1024),
    device: v.optional(device),
  }),
  /** The running assignment cannot go on. `device`: who is to blame, where that is known. */
  v.strictObject({
    type: v.literal('broken'),
    epoch: natural,
    code: text(32),
    message: text(1024),
    device: v.optional(device),
  }),
  v.strictObject({
    type: v.literal('stats'),
    /** Bytes of memory by purpose; warm: weights that were given away and are kept while there is room. */
    ...{ weights: natural, kv: natural, scratch: natural, warm: natural },
    tokens: natural,
    /** Bytes over all links of the device, since it joined. */
    ...{ sent: natural, received: natural },
    /** Of the last batch, in microseconds: computing, and waiting for others. */
    ...{ position: natural, batchSize: natural, execUs: natural, syncUs: natural },
  }),
  /** Times of the last batch, as in `stats`, and of each layer in it: its number, attention and FFN in microseconds. */
  v.strictObject({
    type: v.literal('profiled'),
    id: natural,
    ...{ position: natural, batchSize: natural, execUs: natural, syncUs: natural },
    layers: list(v.tuple([natural, natural, natural]), 4096),
    /** Oldest first: epoch, position, tokens, microseconds of computing and of waiting, bytes sent and received. */
    passes: list(v.tuple([natural, natural, natural, natural, natural, natural, natural]), 4096),
    /** Where they were asked for and measured. */
    operations: v.optional(OperationTimesSchema),
  }),
  v.strictObject({ type: v.literal('echoed'), id: natural, text: text(MOST_ECHOED) }),
]);

export type WireModel = v.InferOutput<typeof WireModelSchema>;
export type Assignment = v.InferOutput<typeof AssignmentSchema>;
export type ToDevice = v.InferOutput<typeof ToDeviceSchema>;
export type ToHost = v.InferOutput<typeof ToHostSchema>;
export type OperationTimes = v.InferOutput<typeof OperationTimesSchema>;
export type PhaseTimes = v.InferOutput<typeof PhaseSchema>;
export type About = v.InferOutput<typeof AboutSchema>;

/** Throws FrameError, which closes the sender's link. */
export const parseToDevice = (message: unknown): ToDevice => check(ToDeviceSchema, message);
export const parseToHost = (message: unknown): ToHost => check(ToHostSchema, message);

function check<T extends v.GenericSchema>(schema: T, message: unknown): v.InferOutput<T> {
  const result = v.safeParse(schema, message, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  throw new FrameError(`a control message with a fault at ${v.getDotPath(issue) ?? 'its top'}: ${issue.message}`);
}
