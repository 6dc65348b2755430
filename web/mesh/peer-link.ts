/**
 * The page's part of a WebRTC link, through simple-peer. Its own channel stays on the page and says only goodbye; tensors,
 * bulk and heartbeats have channels of their own, which are handed to Workers in the task that makes them.
 */
import SimplePeer from 'simple-peer/simplepeer.min.js';
import type { IceServer } from './messages.ts';
import type { RtcStep } from './signals.ts';

/** Stream numbers that both sides agree on; simple-peer's own channel takes one of the first. */
const CHANNEL_IDS = { tensors: 10, bulk: 11, pulse: 12 } as const;
/** Larger messages would be legal between some browsers; they only delay what is behind them. */
const LARGEST_MESSAGE_BYTES = 256 * 1024;
const GOODBYE = 'leaving';

export interface PeerLinkEvents {
  /** To be signalled to the other side. */
  step(step: RtcStep): void;
  connected(): void;
  /** Once; the reason in words. */
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
  readonly channels: Record<keyof typeof CHANNEL_IDS, RTCDataChannel>;
  takeStep(step: RtcStep): void;
  /** Once connected: largest message that the other side takes. */
  maxMessageBytes(): number;
  /** From the browser's own statistics. */
  channelBytes(): Promise<ChannelBytes[]>;
  sayGoodbye(): void;
  close(): void;
}

/** Whether this page can make WebRTC connections. */
export const hasWebRtc = () => typeof RTCPeerConnection !== 'undefined';

export function createPeerLink(initiator: boolean, iceServers: readonly IceServer[], events: PeerLinkEvents): PeerLink {
  const peer = new SimplePeer({ initiator, config: { iceServers: iceServers as RTCIceServer[] } });
  const connection = (peer as unknown as { _pc: RTCPeerConnection })._pc;
  const channel = (label: keyof typeof CHANNEL_IDS) =>
    connection.createDataChannel(label, { negotiated: true, id: CHANNEL_IDS[label] });
  const channels = { tensors: channel('tensors'), bulk: channel('bulk'), pulse: channel('pulse') };
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

  return {
    channels,
    takeStep: (step) => peer.signal(step as SimplePeer.SignalData),
    maxMessageBytes: () => Math.min(LARGEST_MESSAGE_BYTES, connection.sctp?.maxMessageSize ?? LARGEST_MESSAGE_BYTES),
    async channelBytes() {
      const stats: ChannelBytes[] = [];
      const report = (await connection.getStats()) as unknown as Map<string, Record<string, unknown>>;
      for (const entry of report.values())
        if (entry.type === 'data-channel')
          stats.push({
            label: String(entry.label),
            bytesSent: Number(entry.bytesSent),
            bytesReceived: Number(entry.bytesReceived),
          });
      return stats;
    },
    sayGoodbye: () => {
      if (peer.connected) peer.send(GOODBYE);
    },
    close: () => peer.destroy(),
  };
}
