/**
 * The signaling protocol: JSON texts between a page and the server over `/room`, and the greeting of `/relay`.
 * Shared by both sides; `docs/mesh.md` has them as tables. Nothing is believed before it has passed its schema.
 */
import * as v from 'valibot';

/** Version of the signaling protocol; the frames between devices have their own. */
export const SIGNALING_VERSION = 2;
/** Longest message in either direction, in bytes of UTF-8: an SDP offer takes 1 to 3 KB. */
export const MAX_MESSAGE_BYTES = 64 * 1024;
/** Longest sealed signal, in UTF-16 units. */
export const MAX_SIGNAL_LENGTH = 48 * 1024;
/** Longest part of an answer to the plan socket, in UTF-16 units, and most of all its parts together. */
export const MAX_PLAN_PART_LENGTH = 12 * 1024;
export const MAX_PLAN_REPLY_LENGTH = 4 * 1024 * 1024;
/** Most seats that a host may bring back into a room that it reopens. */
export const MAX_SEATS = 1024;
/** How often a page says that it is there, in ms. */
export const PING_INTERVAL_MS = 5_000;
export const ROOM_PATH = '/room';
export const RELAY_PATH = '/relay';

/** Why the server closes a socket. 4xxx is the range that applications may use. */
export const CloseCode = {
  /** The message that broke the protocol is described in the `error` before. */
  protocol: 4000,
  refused: 4001,
  removed: 4002,
  /** The same device has connected again: another tab, or a reload that overtook the old socket's end. */
  replaced: 4003,
  /** Not now: no such room yet, the server is full, its Redis is away. Worth another try. */
  unavailable: 4004,
  limit: 4005,
} as const;

const hex = (digits: number) => v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${digits}}$`)));
const name = v.pipe(v.string(), v.minLength(1), v.maxLength(64));
const index = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff));
const id = hex(32);
const key = hex(32);
const planId = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffffffff));

export const ProfileSchema = v.strictObject({
  name,
  /** For people: `Firefox 153 on Android`. */
  browser: v.pipe(v.string(), v.maxLength(64)),
  /** Whether the page can make WebRTC connections at all. */
  rtc: v.boolean(),
  /** Random number of this page's life; see `newSession`. */
  session: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0x7fffffff)),
});

const SeatSchema = v.strictObject({ id, index });
const SignalSchema = v.strictObject({
  type: v.literal('signal'),
  /** Index of the other member: the receiver on the way up, the sender on the way down. */
  peer: index,
  data: v.pipe(v.string(), v.maxLength(MAX_SIGNAL_LENGTH)),
  seal: hex(32),
});

/** From a page to the server. */
export const UpSchema = v.variant('type', [
  /** The host opens its room, or comes back to it. */
  v.strictObject({
    type: v.literal('open'),
    version: v.number(),
    room: id,
    proof: hex(64),
    key,
    profile: ProfileSchema,
    /** New devices wait until the host admits them. */
    ask: v.boolean(),
    /** Who sat where, should the server have forgotten. */
    seats: v.pipe(v.array(SeatSchema), v.maxLength(MAX_SEATS)),
    /** Ids of removed devices, should the server have forgotten. */
    banned: v.pipe(v.array(id), v.maxLength(MAX_SEATS)),
  }),
  v.strictObject({
    type: v.literal('join'),
    version: v.number(),
    room: id,
    proof: hex(64),
    key,
    profile: ProfileSchema,
  }),
  SignalSchema,
  v.strictObject({ type: v.literal('profile'), profile: ProfileSchema }),
  v.strictObject({ type: v.literal('leave') }),
  v.strictObject({ type: v.literal('ping') }),
  // The host's own.
  v.strictObject({ type: v.literal('admit'), id }),
  v.strictObject({ type: v.literal('refuse'), id }),
  v.strictObject({ type: v.literal('remove'), index }),
  v.strictObject({ type: v.literal('rename'), index, name }),
  v.strictObject({ type: v.literal('ask'), ask: v.boolean() }),
  /** A part of the answer to `plan`; the last one has `last`. */
  v.strictObject({
    type: v.literal('plan-reply'),
    id: planId,
    text: v.pipe(v.string(), v.maxLength(MAX_PLAN_PART_LENGTH)),
    last: v.boolean(),
  }),
]);

export const MemberSchema = v.strictObject({
  ...ProfileSchema.entries,
  index,
  id,
  /** False while the member's socket is gone and the server waits for it to come back. */
  online: v.boolean(),
});

const IceServerSchema = v.object({
  urls: v.union([v.string(), v.array(v.string())]),
  username: v.optional(v.string()),
  credential: v.optional(v.string()),
});

/** From the server to a page. */
export const DownSchema = v.variant('type', [
  v.strictObject({
    type: v.literal('welcome'),
    index,
    members: v.array(MemberSchema),
    ask: v.boolean(),
    iceServers: v.array(IceServerSchema),
    /** Shown to `/relay`; good for this room and this member. */
    ticket: v.string(),
  }),
  v.strictObject({ type: v.literal('pending') }),
  /** A member is new, or something about it has changed. */
  v.strictObject({ type: v.literal('member'), member: MemberSchema }),
  v.strictObject({ type: v.literal('left'), index, reason: v.picklist(['left', 'removed', 'lost']) }),
  SignalSchema,
  // To the host only.
  v.strictObject({ type: v.literal('knock'), id, name, browser: v.string() }),
  v.strictObject({ type: v.literal('knock-gone'), id }),
  v.strictObject({ type: v.literal('ask'), ask: v.boolean() }),
  /** A request from the server's plan socket, as JSON; see `plan-request.ts`. */
  v.strictObject({
    type: v.literal('plan'),
    id: planId,
    request: v.pipe(v.string(), v.maxLength(MAX_SIGNAL_LENGTH)),
  }),
  v.strictObject({ type: v.literal('error'), code: v.string(), message: v.string() }),
  v.strictObject({ type: v.literal('pong') }),
]);

/** First message on `/relay`; every later one is binary and goes to the other end as it is. */
export const RelayHelloSchema = v.strictObject({
  type: v.literal('relay'),
  version: v.number(),
  room: id,
  from: index,
  to: index,
  ticket: v.pipe(v.string(), v.maxLength(128)),
  /** Both ends name the same channel and the same attempt, or they do not meet. */
  channel: v.picklist(['tensors', 'bulk', 'pulse']),
  attempt: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0x7fffffff)),
});

export type Profile = v.InferOutput<typeof ProfileSchema>;
export type Up = v.InferOutput<typeof UpSchema>;
export type UpOf<T extends Up['type']> = Extract<Up, { type: T }>;
export type Down = v.InferOutput<typeof DownSchema>;
export type DownOf<T extends Down['type']> = Extract<Down, { type: T }>;
export type RoomMember = v.InferOutput<typeof MemberSchema>;
export type IceServer = v.InferOutput<typeof IceServerSchema>;
export type RelayHello = v.InferOutput<typeof RelayHelloSchema>;

/** Why a message was not believed, in words: the path to the first fault and what was expected there. */
export class MessageError extends Error {
  override name = 'MessageError';
}

export const parseUp = (text: string): Up => parse(UpSchema, text);
export const parseDown = (text: string): Down => parse(DownSchema, text);
export const parseRelayHello = (text: string): RelayHello => parse(RelayHelloSchema, text);

function parse<T extends v.GenericSchema>(schema: T, text: string): v.InferOutput<T> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new MessageError('not JSON');
  }
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  // Neither the value received nor the rest of the message: it may hold a proof or a key.
  const issue = result.issues[0];
  throw new MessageError(`${v.getDotPath(issue) ?? 'message'}: expected ${issue.expected ?? issue.type}`);
}
