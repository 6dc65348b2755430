import type { Endpoint } from './channel.ts';
import { RELAY_PATH, type RelayHello, SIGNALING_VERSION } from './messages.ts';

/** Largest message to send through the relay, which takes more: as over WebRTC. */
export const RELAY_MESSAGE_BYTES = 64 * 1024;

export interface RelayLinkOptions {
  /** Origin of the server. */
  server: string;
  room: string;
  ticket: string;
  self: number;
  peer: number;
  attempt: number;
}

/** The three channels of a link through the server. Workers open them themselves: a busy page delays nothing. */
export function relayEndpoints(options: RelayLinkOptions): Record<RelayHello['channel'], Endpoint> {
  const { room, ticket, self: from, peer: to, attempt } = options;
  const url = new URL(RELAY_PATH, options.server).href.replace(/^http/, 'ws');
  const endpoint = (channel: RelayHello['channel']): Endpoint => ({
    kind: 'socket',
    url,
    hello: { type: 'relay', version: SIGNALING_VERSION, room, from, to, ticket, channel, attempt },
  });
  return { tensors: endpoint('tensors'), bulk: endpoint('bulk'), pulse: endpoint('pulse') };
}
