/** What a device does, in words. */
import type { ContributeStatus } from '../../api.ts';
import { formatBytes, percent } from '../format.ts';
import { formatMs } from '../mesh/move-words.ts';

/** Round-trip times in ms up to which a link is called good, and fair. A token waits for it again and again. */
const GOOD_MS = 10;
const FAIR_MS = 40;

/** `direct, 3.2 ms: good`. */
export function linkWords({ link, rttMs }: Pick<ContributeStatus, 'link' | 'rttMs'>): string {
  if (link === 'none') return 'not connected to the host yet';
  const way = link === 'webrtc' ? 'direct' : 'relayed by the server';
  if (rttMs <= 0) return way;
  const quality = rttMs <= GOOD_MS ? 'good' : rttMs <= FAIR_MS ? 'fair' : 'slow';
  return `${way}, ${formatMs(rttMs)}: ${quality}`;
}

/** `14–29 (16 layers)`, without the count where there is one. */
export function layerWords([from, to]: [from: number, to: number]): string {
  return to - from === 1 ? `${from}` : `${from}–${to - 1} (${to - from} layers)`;
}

export interface Headline {
  title: string;
  text: string;
}

/** What a device in the room is doing now. */
export function activity(status: ContributeStatus): Headline {
  const { state, model, layers, loaded, total } = status;
  if (state === 'paused') {
    return { title: 'Paused', text: 'The others compute without this device until you go on.' };
  }
  if (total > 0 && loaded < total) {
    return {
      title: 'Loading its share',
      text: `${formatBytes(loaded)} of ${formatBytes(total)} · ${percent(loaded, total)} %`,
    };
  }
  if (!layers) {
    return { title: 'Ready', text: 'The host has not given this device a share yet. Leave this page open.' };
  }
  return { title: 'Lending', text: `This device computes a part of ${model ?? 'the model'}. Leave this page open.` };
}

/** What is said where the device is not in the room, by `ContributeStatus.state`. */
export function waiting(state: string, wasJoined: boolean): Headline | undefined {
  switch (state) {
    case 'connecting':
      return wasJoined
        ? {
            title: 'Connection lost',
            text: 'This page comes back by itself as the same device; nothing has to be done.',
          }
        : { title: 'Connecting…', text: 'The device is measured and enters the room.' };
    case 'waiting':
      return {
        title: 'The host is not there yet',
        text: 'This device joins as soon as the host page is open. Leave this page open.',
      };
    case 'pending':
      return { title: 'Waiting to be let in', text: 'The host is asked whether this device may join.' };
    default:
      return undefined;
  }
}

/** What is said where it ended without a wish of this page's person. */
export function ended(state: string): (Headline & { again: string }) | undefined {
  switch (state) {
    case 'refused':
      return { title: 'Not let in', text: 'The host refused this device.', again: 'Ask again' };
    case 'removed':
      return { title: 'Removed', text: 'The host removed this device from the room.', again: 'Ask again' };
    case 'failed':
      return { title: 'This device cannot lend', text: '', again: 'Try again' };
    default:
      return undefined;
  }
}
