/** A link whose two ends are in the same Worker: from the host to its own device. */
import type { Channel } from './channel.ts';
import { type Link, openLink } from './link.ts';

const NO_LIMIT = 2 ** 30;

function ends(): [Channel, Channel] {
  const make = (other: () => Channel): Channel => {
    let open = true;
    const channel: Channel = {
      ready: Promise.resolve(),
      buffered: 0,
      send(message) {
        const copy = message.slice().buffer;
        // In a later microtask, as a network would: a handler never runs inside a send.
        queueMicrotask(() => open && other().onmessage?.(copy));
      },
      drained: () => Promise.resolve(),
      onmessage: undefined,
      onclose: undefined,
      close() {
        if (!open) return;
        open = false;
        queueMicrotask(() => {
          channel.onclose?.('closed here');
          other().close();
        });
      },
    };
    return channel;
  };
  const a: Channel = make(() => b);
  const b: Channel = make(() => a);
  return [a, b];
}

/** Both ends of a link from `self` to itself: the host's end and the device's. */
export async function loopback(self: number): Promise<[host: Link, device: Link]> {
  const tensors = ends();
  const bulk = ends();
  const open = (side: 0 | 1) =>
    openLink({
      self,
      peer: self,
      kind: 'webrtc',
      tensors: tensors[side],
      bulk: bulk[side],
      maxMessageBytes: () => NO_LIMIT,
    });
  const [host, device] = await Promise.all([open(0), open(1)]);
  return [host, device];
}
