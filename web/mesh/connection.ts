/**
 * The page's side of keeping one other device linked: who starts, what is tried, and when it is tried again. The device
 * with the lower index makes the attempts, numbers them and says when to meet at the relay; the other follows.
 */
import { type Endpoint, endpointTransfer, pumpChannel } from './channel.ts';
import type { LinkKind, ToEngine } from './engine-messages.ts';
import type { IceServer, RelayHello, RoomMember } from './messages.ts';
import { type ChannelBytes, createPeerLink, type PeerLink, type PeerLinkEvents } from './peer-link.ts';
import type { ToPulse } from './pulse.worker.ts';
import { RELAY_MESSAGE_BYTES } from './relay-link.ts';
import type { Signal } from './signals.ts';

/** Time in ms for a WebRTC attempt to be up, before the relay is taken. */
export const CONNECT_MS = 8_000;
/** First and longest time in ms before the next attempt. */
const RETRY_MS = 200;
const MAX_RETRY_MS = 8_000;
/** Attempts start at a random number below, so that those of a page before its reload mean nothing. */
const FIRST_ATTEMPTS = 0x100000;

/** Attempts at WebRTC that fail before their time, after which the relay is taken too. */
const MAX_RTC_FAILURES = 2;

/** Failures after which the same page is not worth another try. */
const FINAL_CODES = new Set(['version', 'malformed']);

export interface LinkStatus {
  peer: number;
  /** `refused`: for good, until the other page is loaded anew. */
  state: 'connecting' | 'up' | 'lost' | 'refused';
  kind: LinkKind;
  /** Of the heartbeats; NaN before the first. */
  rttMs: number;
  /** Why it is lost or refused. */
  reason: string | undefined;
}

export interface ConnectionOptions {
  self: number;
  member: RoomMember;
  /** Whether this page can do WebRTC, and may. */
  rtc: boolean;
  iceServers: () => readonly IceServer[];
  relayEndpoints: (attempt: number) => Record<RelayHello['channel'], Endpoint>;
  signal: (signal: Signal) => void;
  toEngine: (message: ToEngine, transfer: Transferable[]) => void;
  toPulse: (message: ToPulse, transfer: Transferable[]) => void;
  changed: (status: LinkStatus) => void;
}

export interface Connection {
  readonly status: LinkStatus;
  /** The room says something new of the other device. */
  update(member: RoomMember): void;
  takeSignal(signal: Signal): void;
  /** From engine and heartbeats. */
  engineUp(attempt: number): void;
  beat(attempt: number, rttMs: number): void;
  down(attempt: number, code: string, message: string): void;
  channelBytes(): Promise<ChannelBytes[]>;
  sayGoodbye(): void;
  close(code: string, message: string): void;
}

export function createConnection(options: ConnectionOptions): Connection {
  const { self } = options;
  const peer = options.member.index;
  const leads = self < peer;
  let member = options.member;
  let attempt = 0;
  /** Attempts with the page that the other side has now. */
  const begun = new Set<number>();
  let kind: LinkKind = 'webrtc';
  let state: LinkStatus['state'] = 'connecting';
  let rttMs = Number.NaN;
  let reason: string | undefined;
  let peerLink: PeerLink | undefined;
  /** An attempt is on, or its link is up. */
  let active = false;
  let engineIsUp = false;
  let failures = 0;
  /** Attempts at WebRTC that have failed since its last success, and whether it has ever come up with this page. */
  let rtcFailures = 0;
  let rtcWasUp = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const status = (): LinkStatus => ({ peer, state, kind, rttMs, reason });
  function setState(next: LinkStatus['state'], why?: string): void {
    state = next;
    reason = why;
    options.changed(status());
  }

  function begin(number: number, by: LinkKind): void {
    end('lost', `The link to device ${peer} is being made anew.`);
    attempt = number;
    begun.add(number);
    kind = by;
    active = true;
    rttMs = Number.NaN;
    setState('connecting');
    // The follower waits longer: what comes next is the leader's to say.
    timer = setTimeout(tooLate, leads ? CONNECT_MS : 2 * CONNECT_MS);
    if (by === 'webrtc') beginRtc(number);
    else {
      handOver(options.relayEndpoints(number), []);
      options.toEngine({ type: 'size', peer, attempt: number, maxMessageBytes: RELAY_MESSAGE_BYTES }, []);
    }
  }

  function beginRtc(number: number): void {
    const isCurrent = () => active && attempt === number;
    const lost = (why: string) => down(number, 'lost', `Device ${peer} is gone: ${why}.`);
    const events: PeerLinkEvents = {
      step: (lane, step) => isCurrent() && options.signal({ type: 'rtc', attempt: number, lane, step }),
      connected: () => {
        const maxMessageBytes = peerLink?.maxMessageBytes();
        if (isCurrent() && maxMessageBytes)
          options.toEngine({ type: 'size', peer, attempt: number, maxMessageBytes }, []);
      },
      closed: lost,
      leaving: () => down(number, 'left', `Device ${peer} has left.`),
    };
    let link: PeerLink;
    try {
      link = createPeerLink(leads, options.iceServers(), events);
    } catch (error) {
      // Too many connections, or servers that the browser does not take.
      rtcFailures = MAX_RTC_FAILURES;
      lost(error instanceof Error ? error.message : String(error));
      return;
    }
    peerLink = link;
    // In the task that made the channels, or they could not be transferred.
    handOver(
      {
        tensors: { kind: 'data-channel', channel: link.channels.tensors },
        bulk: { kind: 'data-channel', channel: link.channels.bulk },
        pulse: { kind: 'data-channel', channel: link.channels.pulse },
      },
      Object.values(link.channels),
    );
  }

  function handOver(endpoints: Record<RelayHello['channel'], Endpoint>, channels: RTCDataChannel[]): void {
    const post = ({ tensors, bulk, pulse }: typeof endpoints) => {
      const transfer = [...endpointTransfer(tensors), ...endpointTransfer(bulk)];
      options.toEngine({ type: 'link', self, peer, attempt, kind, tensors, bulk }, transfer);
      options.toPulse({ type: 'watch', peer, attempt, endpoint: pulse }, endpointTransfer(pulse));
    };
    try {
      post(endpoints);
    } catch (error) {
      // This browser cannot transfer data channels: they stay here, and the Workers get a port to each.
      if (!(error instanceof DOMException) || error.name !== 'DataCloneError') throw error;
      const [tensors, bulk, pulse] = channels.map((channel): Endpoint => {
        const { port1, port2 } = new MessageChannel();
        pumpChannel(channel, port1);
        return { kind: 'port', port: port2 };
      });
      post({ tensors, bulk, pulse });
    }
  }

  /** Ends what the present attempt holds. */
  function end(code: string, message: string): void {
    clearTimeout(timer);
    if (!active) return;
    active = false;
    engineIsUp = false;
    options.toEngine({ type: 'drop', peer, attempt, code, message }, []);
    options.toPulse({ type: 'forget', peer, attempt }, []);
    peerLink?.close();
    peerLink = undefined;
  }

  function tooLate(): void {
    if (kind === 'webrtc') rtcFailures = MAX_RTC_FAILURES;
    down(attempt, 'lost', `Device ${peer} could not be reached.`);
  }

  function maybeUp(): void {
    // The heartbeats must work too, or nobody would notice the end.
    if (state === 'up' || !engineIsUp || Number.isNaN(rttMs)) return;
    clearTimeout(timer);
    failures = 0;
    if (kind === 'webrtc') {
      rtcFailures = 0;
      rtcWasUp = true;
    }
    setState('up');
  }

  function down(of: number, code: string, message: string): void {
    // Why a link ended may be told after the other side has asked for the next one.
    if (FINAL_CODES.has(code) && begun.has(of) && state !== 'refused') {
      end(code, message);
      setState('refused', message);
      return;
    }
    if (!active || of !== attempt) return;
    if (kind === 'webrtc' && state !== 'up') rtcFailures++;
    // The network may be another one by now.
    if (kind === 'relay' && state === 'up' && rtcWasUp) rtcFailures = 0;
    end(code, message);
    setState('lost', message);
    // One that said goodbye comes back by itself, if at all.
    if (code === 'left' || !member.online) return;
    if (!leads) {
      options.signal({ type: 'again', attempt, relay: rtcFailures >= MAX_RTC_FAILURES });
      return;
    }
    const delay = failures === 0 ? 0 : Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** failures);
    failures++;
    timer = setTimeout(lead, delay);
  }

  /** Starts the next attempt. */
  function lead(): void {
    if (!member.online || state === 'refused') return;
    const by: LinkKind = options.rtc && member.rtc && rtcFailures < MAX_RTC_FAILURES ? 'webrtc' : 'relay';
    const number = attempt === 0 ? 1 + Math.floor(Math.random() * FIRST_ATTEMPTS) : attempt + 1;
    if (by === 'relay') options.signal({ type: 'relay', attempt: number });
    begin(number, by);
  }

  if (leads) lead();
  else setState('connecting');

  return {
    get status() {
      return status();
    },
    update(next) {
      const before = member;
      member = next;
      if (next.session !== before.session) {
        end('lost', `Device ${peer} has been loaded anew.`);
        rtcFailures = 0;
        rtcWasUp = false;
        failures = 0;
        begun.clear();
        if (!leads) attempt = 0;
        setState('connecting');
        if (leads) lead();
      } else if (next.online && !before.online && !active && state !== 'refused' && leads) lead();
    },
    takeSignal(signal) {
      if (signal.type === 'again') {
        if (!leads || signal.attempt !== attempt || !active) return;
        if (signal.relay) rtcFailures = MAX_RTC_FAILURES;
        down(attempt, 'lost', `Device ${peer} has lost the link.`);
        return;
      }
      if (!leads && signal.attempt > attempt && state !== 'refused') {
        if (signal.type === 'relay') begin(signal.attempt, 'relay');
        else if (options.rtc) begin(signal.attempt, 'webrtc');
      }
      if (signal.type === 'rtc' && signal.attempt === attempt && active) peerLink?.takeStep(signal.lane, signal.step);
    },
    engineUp(of) {
      if (!active || of !== attempt) return;
      engineIsUp = true;
      maybeUp();
    },
    beat(of, ms) {
      if (!active || of !== attempt) return;
      rttMs = ms;
      maybeUp();
    },
    down,
    channelBytes: () => peerLink?.channelBytes() ?? Promise.resolve([]),
    sayGoodbye: () => peerLink?.sayGoodbye(),
    close(code, message) {
      end(code, message);
      state = 'lost';
      reason = message;
    },
  };
}
