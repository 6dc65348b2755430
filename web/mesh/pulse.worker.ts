/** The Worker that holds the heartbeats of all links of a page; see `pulse.ts`. */
import { type Endpoint, openChannel } from './channel.ts';
import { BEAT_MS, createPulse, type Pulse } from './pulse.ts';

export type ToPulse =
  /** Where losses are told besides the page: the engine must not wait for a busy page. */
  | { type: 'engine'; port: MessagePort }
  | { type: 'watch'; peer: number; attempt: number; endpoint: Endpoint }
  | { type: 'forget'; peer: number; attempt: number };

export type FromPulse =
  | { type: 'beat'; peer: number; attempt: number; rttMs: number }
  | { type: 'lost'; peer: number; attempt: number; reason: string };

const pulses = new Map<string, Pulse>();
let engine: MessagePort | undefined;

function lookAtAll(): void {
  const now = performance.now();
  for (const pulse of pulses.values()) pulse.look(now);
}

addEventListener('message', ({ data }: MessageEvent<ToPulse>) => {
  if (data.type === 'engine') {
    engine = data.port;
    return;
  }
  const { peer, attempt } = data;
  const key = `${peer} ${attempt}`;
  if (data.type === 'forget') {
    pulses.get(key)?.close();
    pulses.delete(key);
    return;
  }
  const report = (message: FromPulse) => postMessage(message);
  const pulse = createPulse(openChannel(data.endpoint), {
    heard: lookAtAll,
    beat: (rttMs) => report({ type: 'beat', peer, attempt, rttMs }),
    lost(reason) {
      const message: FromPulse = { type: 'lost', peer, attempt, reason };
      engine?.postMessage(message);
      report(message);
      pulses.delete(key);
    },
  });
  pulses.set(key, pulse);
});

setInterval(lookAtAll, BEAT_MS / 2);
