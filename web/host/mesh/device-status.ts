/** What the page and scripts are told of every device. */
import type { DeviceStatus } from '../../api.ts';
import type { Neighbour } from '../../mesh/page-mesh.ts';
import type { Session } from '../session.ts';
import type { DeviceStats, MeshDevice } from './devices.ts';
import { type Hub, OWN } from './hub.ts';
import { devicesOf } from './layout.ts';

export interface StatusParts {
  hub: Hub;
  roster: readonly Neighbour[];
  session: Session | undefined;
  /** Tokens are being computed right now. */
  computing: boolean;
  /** This browser's name. */
  browser: string;
}

/** All devices that are in the room or computing, ascending by index. */
export function deviceStatuses(parts: StatusParts): DeviceStatus[] {
  const { hub, roster, session } = parts;
  const indices = new Set([...hub.devices.all().map(({ index }) => index), ...roster.map(({ index }) => index)]);
  if (session) indices.add(OWN);
  const members = new Set(session ? devicesOf(session.info.plan) : []);
  return [...indices]
    .sort((a, b) => a - b)
    .map((index) => {
      const entry = roster.find((one) => one.index === index);
      return statusOf(index, hub.devices.get(index), entry, members.has(index), parts);
    });
}

function statusOf(
  index: number,
  device: MeshDevice | undefined,
  entry: Neighbour | undefined,
  member: boolean,
  { hub, session, computing, browser }: StatusParts,
): DeviceStatus {
  const self = index === OWN;
  const { about, stats, progress } = device ?? {};
  const { weights = 0, kv = 0, scratch = 0, warm = 0 } = stats ?? {};
  const present = device !== undefined;
  const state = !present
    ? self
      ? 'ready'
      : entry?.online
        ? 'joining'
        : 'lost'
    : hub.distrusted.has(index)
      ? 'lost'
      : // This device is in its own mesh before it has been measured.
        progress || (self && !about)
        ? 'loading'
        : !about
          ? 'joining'
          : device.paused
            ? 'paused'
            : member && computing
              ? 'computing'
              : 'ready';
  const kind = device?.link.kind ?? entry?.link;
  return {
    index,
    id: self ? 'self' : (entry?.id ?? String(index)),
    name: entry?.name ?? (self ? 'This device' : `Device ${index}`),
    self,
    state,
    browser: self ? browser : (entry?.browser ?? ''),
    backend: about?.backend ?? (self ? (session?.info.backend ?? '') : ''),
    ...(about && { description: about.description }),
    threads: about?.threads ?? 0,
    gmacs: about?.gmacs ?? 0,
    readbackMs: about?.readbackMs ?? 0,
    memoryLimit: about?.memoryLimit ?? (self ? (session?.memoryLimit ?? 0) : 0),
    memoryUsed: weights + kv + scratch + warm,
    memoryWarm: warm,
    weightBytes: weights,
    kvBytes: kv,
    link: self ? 'self' : kind === 'relay' ? 'relay' : 'webrtc',
    rttMs: self ? 0 : (entry?.rttMs ?? 0),
    ...bytesOf(index, hub, stats),
    tokens: self && session ? session.tokens : (stats?.tokens ?? 0),
    ...(progress && { loaded: progress.stored + progress.fetched, total: progress.total }),
  };
}

/** Bytes over all links of a device: as it says itself, and before it has, those of its link to the host. */
function bytesOf(index: number, { devices }: Hub, stats: DeviceStats | undefined) {
  if (index === OWN) {
    const links = devices.all().flatMap(({ index: other, link }) => (other === OWN ? [] : [link.stats]));
    const sum = (of: 'bytesSent' | 'bytesReceived') => links.reduce((total, link) => total + link[of], 0);
    return { bytesSent: sum('bytesSent'), bytesReceived: sum('bytesReceived') };
  }
  const { bytesSent = 0, bytesReceived = 0 } = devices.get(index)?.link.stats ?? {};
  return { bytesSent: stats?.sent ?? bytesReceived, bytesReceived: stats?.received ?? bytesSent };
}
