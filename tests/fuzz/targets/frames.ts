import fc from 'fast-check';
import { MeshError } from '../../../web/mesh/errors.ts';
import { Kind } from '../../../web/mesh/frames.ts';
import { type Link, openLink } from '../../../web/mesh/link.ts';
import { createPulse } from '../../../web/mesh/pulse.ts';
import { frameMessages, hostileMessage } from '../../unit/mesh/hostile-frames.ts';
import { settled } from '../../unit/mesh/linked.ts';
import { memoryChannels } from '../../unit/mesh/memory-channel.ts';
import { allow, check, target } from '../target.ts';

const PEER = 1;
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const hello = (device: unknown) => frameMessages({ kind: Kind.hello }, json({ device, version: 1 }), 0);

const channel = fc.constantFrom<'tensors' | 'bulk' | 'pulse'>('tensors', 'tensors', 'tensors', 'bulk', 'bulk', 'pulse');
const greeting = fc.oneof(
  { weight: 12, arbitrary: fc.constant<unknown>(PEER) },
  { weight: 1, arbitrary: fc.anything() },
);

/** Everything that a device of the room can do to another's link: greet, and then send what it wants on any channel. */
export async function make() {
  return target({
    cases: fc.record({
      greeting,
      messages: fc.array(fc.tuple(channel, hostileMessage), { minLength: 1, maxLength: 8 }),
      routed: fc.boolean(),
    }),
    async run({ greeting, messages, routed }) {
      const [tensors, theirTensors] = memoryChannels();
      const [bulk, theirBulk] = memoryChannels();
      const [pulse, theirPulse] = memoryChannels();
      const ends = { tensors: theirTensors, bulk: theirBulk, pulse: theirPulse };
      const events = { heard: () => undefined, beat: () => undefined, lost: () => undefined };
      const watching = createPulse(pulse, events);
      const opening = openLink({ self: 0, peer: PEER, kind: 'webrtc', tensors, bulk, maxMessageBytes: () => 65536 });
      opening.then(
        (link) => use(link, routed),
        () => undefined,
      );
      for (const part of hello(greeting)) for (const end of [theirTensors, theirBulk]) end.send(part);
      await settled();
      const next = { tensors: 1, bulk: 1, pulse: 0 };
      for (const [name, message] of messages) {
        for (const bytes of message(next[name])) ends[name].send(bytes);
        next[name]++;
      }
      await settled();
      watching.close();
      // Whoever never greeted waits for ever, as the link's maker knows: it gives up after a while.
      const link = await Promise.race([opening.catch((error: unknown) => error), Promise.resolve(undefined)]);
      if (link instanceof Error) allow(link, MeshError);
      else if (link) {
        const { failure, stats } = link as Link;
        if (failure) check(['malformed', 'version', 'lost'].includes(failure.code), `closed with ${failure.code}`);
        check(stats.framesReceived <= messages.length + 2, 'more frames than messages');
      }
      tensors.close();
      bulk.close();
    },
  });
}

function use(link: Link, routed: boolean): void {
  if (!routed) return;
  for (const kind of [Kind.partial, Kind.residual, Kind.candidates, Kind.tokens, Kind.digest] as const)
    link.route(kind, 1, () => undefined);
  link.onControl(() => undefined);
  link.onBulk(() => undefined);
}
