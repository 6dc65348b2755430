/**
 * The page's part of a WebRTC link, through simple-peer: a connection for each of tensors, bulk and heartbeats, since what
 * shares a connection shares its congestion: lost packets of a large transfer would hold up tokens, and seem a lost device.
 * The channels are handed to Workers in the task that makes them; simple-peer's own stays on the page and says only goodbye.
 */
import SimplePeer from 'simple-peer/simplepeer.min.js';
import type { IceServer } from './messages.ts';
import type { RtcStep } from './signals.ts';

export const LANES = ['tensors', 'bulk', 'pulse'] as const;
export type Lane = (typeof LANES)[number];

/** Stream number that both sides agree on; simple-peer's own channel takes one of the first. */
const CHANNEL_ID = 10;
/** Longer messages would be legal between most browsers, but nothing else gets through while one is being sent. */
const LARGEST_MESSAGE_BYTES = 64 * 1024;
const GOODBYE = 'leaving';

export interface PeerLinkEvents {
  /** To be signalled to the other side. */
  step(lane: Lane, step: RtcStep): void;
  /** All connections are up. */
  connected(): void;
  /** Once, when the first of them has ended; the reason in words. */
  closed(reason: string): void;
  /** The other page is being left. */
  leaving(): void;
}

export interface ChannelBytes {
  label: string;
  bytesSent: number;
  bytesReceived: number;
}

export interface PeerLink {
  readonly channels: Record<Lane, RTCDataChannel>;
  takeStep(lane: Lane, step: RtcStep): void;
  /** Once connected: largest message to send. */
  maxMessageBytes(): number;
  /** From the browser's own statistics. */
  channelBytes(): Promise<ChannelBytes[]>;
  sayGoodbye(): void;
  close(): void;
}

/** Whether this page can make WebRTC connections. */
export const hasWebRtc = () => typeof RTCPeerConnection !== 'undefined';

/** Throws where the browser makes no (more) connections, or does not take the servers. */
export function createPeerLink(initiator: boolean, iceServers: readonly IceServer[], events: PeerLinkEvents): PeerLink {
  const lanes: Partial<Record<Lane, ReturnType<typeof createLane>>> = {};
  let closed = false;
  const all = () => LANES.flatMap((lane) => lanes[lane] ?? []);
  const close = () => {
    closed = true;
    for (const { peer } of all()) peer.destroy();
  };

  try {
    for (const lane of LANES)
      lanes[lane] = createLane(lane, initiator, iceServers, {
        step: (step) => events.step(lane, step),
        connected: () => {
          if (all().every(({ peer }) => peer.connected)) events.connected();
        },
        closed(reason) {
          if (closed) return;
          close();
          events.closed(reason);
        },
        leaving: events.leaving,
      });
  } catch (error) {
    close();
    throw error;
  }
  const { tensors, bulk, pulse } = lanes as Record<Lane, ReturnType<typeof createLane>>;

  return {
    channels: { tensors: tensors.channel, bulk: bulk.channel, pulse: pulse.channel },
    takeStep: (lane, step) => lanes[lane]?.peer.signal(step as SimplePeer.SignalData),
    maxMessageBytes: () =>
      Math.min(
        LARGEST_MESSAGE_BYTES,
        ...[tensors, bulk].map((lane) => lane.connection.sctp?.maxMessageSize ?? Infinity),
      ),
    async channelBytes() {
      const reports = await Promise.all(all().map(({ connection }) => connection.getStats()));
      return reports.flatMap((report) =>
        [...(report as unknown as Map<string, Record<string, unknown>>).values()]
          .filter(({ type }) => type === 'data-channel')
          .map(({ label, bytesSent, bytesReceived }) => ({
            label: String(label),
            bytesSent: Number(bytesSent),
            bytesReceived: Number(bytesReceived),
          })),
      );
    },
    sayGoodbye() {
      if (tensors.peer.connected) tensors.peer.send(GOODBYE);
    },
    close,
  };
}

interface LaneEvents {
  step(step: RtcStep): void;
  connected(): void;
  closed(reason: string): void;
  leaving(): void;
}

function createLane(lane: Lane, initiator: boolean, iceServers: readonly IceServer[], events: LaneEvents) {
  const peer = new SimplePeer({ initiator, config: { iceServers: iceServers as RTCIceServer[] } });
  const connection = (peer as unknown as { _pc: RTCPeerConnection })._pc;
  // A heartbeat that is lost is not worth repeating: the next one says the same.
  const loss = lane === 'pulse' ? { ordered: false, maxRetransmits: 0 } : {};
  const channel = connection.createDataChannel(lane, { negotiated: true, id: CHANNEL_ID, ...loss });
  let reason = 'the connection closed';

  peer.on('signal', (data) => {
    if (data.type === 'offer' || data.type === 'answer') events.step({ type: data.type, sdp: data.sdp ?? '' });
    else if (data.type === 'candidate') {
      const { candidate, sdpMLineIndex, sdpMid } = data.candidate;
      events.step({ type: 'candidate', candidate: { candidate, sdpMLineIndex, sdpMid } });
    }
  });
  peer.on('connect', () => events.connected());
  peer.on('data', (data: Uint8Array) => {
    if (new TextDecoder().decode(data) === GOODBYE) events.leaving();
  });
  peer.on('error', (error) => {
    reason = error.message;
  });
  peer.on('close', () => events.closed(reason));
  return { peer, connection, channel };
}
