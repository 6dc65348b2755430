/** The host's view of its mesh over the life of the page: links come and go, models are loaded and dropped. */
import type { MemberService } from '../../device/member/service.ts';
import { MeshError } from '../../mesh/errors.ts';
import type { Link } from '../../mesh/link.ts';
import { loopback } from '../../mesh/loopback.ts';
import type { ByteSource } from '../../model/types.ts';
import { createDevices, type Devices } from './devices.ts';

/** The host's own device. */
export const OWN = 0;

export interface HubOptions {
  onChange(index: number): void;
  modelBytes(): ByteSource | undefined;
}

export interface Hub {
  readonly devices: Devices;
  /** Indices of devices that computed wrongly: no plan uses them any more. An index is never given to another device. */
  readonly distrusted: Set<number>;
  /** Called when the running plan cannot go on; by whoever holds it. */
  onBroken: ((error: MeshError, device: number | undefined, epoch?: number) => void) | undefined;
  addLink(link: Link): void;
  /** Puts the host's own device into the mesh, in place of the one before. */
  setOwn(own: MemberService): Promise<void>;
  dropOwn(): Promise<void>;
  /** Calls the listener after every change of a device. Returns the function that ends it. */
  watch(listener: () => void): () => void;
  /** Resolves at the next change of a device; rejects with the signal's reason. */
  change(until: AbortSignal): Promise<void>;
}

export function createHub({ onChange, modelBytes }: HubOptions): Hub {
  const links = new Map<number, Link>();
  const watchers = new Set<() => void>();
  let own: { service: MemberService; end: Link } | undefined;

  const hub: Hub = {
    devices: createDevices({
      onChange(index) {
        onChange(index);
        for (const watcher of watchers) watcher();
      },
      onBroken: (error, device, epoch) => hub.onBroken?.(error, device, epoch),
      modelBytes,
    }),
    distrusted: new Set(),
    onBroken: undefined,
    addLink(link) {
      links.set(link.peer, link);
      link.onClosed(() => {
        if (links.get(link.peer) === link) links.delete(link.peer);
      });
      hub.devices.add(link);
      own?.service.addPeer(link);
    },
    async setOwn(service) {
      await hub.dropOwn();
      const [end, deviceEnd] = await loopback(OWN);
      own = { service, end };
      hub.devices.add(end);
      service.setHost(deviceEnd);
      for (const link of links.values()) service.addPeer(link);
    },
    async dropOwn() {
      const leaving = own;
      own = undefined;
      if (!leaving) return;
      leaving.end.close(new MeshError('closed', 'This device computes no more.', OWN));
      await leaving.service.close();
    },
    watch(listener) {
      watchers.add(listener);
      return () => watchers.delete(listener);
    },
    change(until) {
      return new Promise((resolve, reject) => {
        const done = () => {
          end();
          until.removeEventListener('abort', stop);
        };
        const stop = () => {
          done();
          reject(until.reason);
        };
        const end = hub.watch(() => {
          done();
          resolve();
        });
        until.addEventListener('abort', stop);
        if (until.aborted) stop();
      });
    },
  };
  return hub;
}
