/** What two members say to each other through the server until they are linked; sealed by the room. */
import * as v from 'valibot';

const attempt = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0x7fffffff));

const SignalSchema = v.variant('type', [
  /** A step of the WebRTC handshake, as simple-peer makes it. */
  v.strictObject({
    type: v.literal('rtc'),
    attempt,
    lane: v.picklist(['tensors', 'bulk', 'pulse']),
    step: v.union([
      v.strictObject({ type: v.picklist(['offer', 'answer']), sdp: v.string() }),
      v.strictObject({
        type: v.literal('candidate'),
        candidate: v.object({
          candidate: v.string(),
          sdpMLineIndex: v.nullish(v.number()),
          sdpMid: v.nullish(v.string()),
        }),
      }),
    ]),
  }),
  /** Lower to higher index: meet me at the relay. */
  v.strictObject({ type: v.literal('relay'), attempt }),
  /** Higher to lower index: this attempt has come to nothing, start another; at the relay, where WebRTC cannot work here. */
  v.strictObject({ type: v.literal('again'), attempt, relay: v.boolean() }),
]);

export type Signal = v.InferOutput<typeof SignalSchema>;
export type RtcStep = Extract<Signal, { type: 'rtc' }>['step'];

/** Undefined where a signal is none: one of another version, which the frames will name. */
export function parseSignal(text: string): Signal | undefined {
  try {
    const result = v.safeParse(SignalSchema, JSON.parse(text));
    return result.success ? result.output : undefined;
  } catch {
    return undefined;
  }
}
