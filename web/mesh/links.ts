/**
 * The engine's end of the mesh: takes the channels that the page makes, and gives links. Runs in the engine's Worker.
 */
import { delayedChannel, openChannel } from './channel.ts';
import type { FromEngine, ToEngine } from './engine-messages.ts';
import { MeshError } from './errors.ts';
import { type Link, openLink } from './link.ts';
import type { FromPulse } from './pulse.worker.ts';

/** Message size that every browser takes, for the time until the connection's own is known. */
const SAFE_MESSAGE_BYTES = 16 * 1024;

export interface LinksOptions {
  /** A link is up. Its end is told by its `onClosed`; a later one to the same device is another link. */
  onLink(link: Link): void;
  /** Holds back every message that arrives by so many ms (`?emulate=delay:`). */
  delayMs?: number;
}

export interface Links {
  /** Links that are up, by device. */
  readonly all: ReadonlyMap<number, Link>;
  close(): void;
}

/** A link from the moment its channels are here. */
interface Attempt {
  attempt: number;
  maxMessageBytes: number;
  drop(failure: MeshError): void;
}

/** Takes links from the page's mesh (see `createMesh`) at the other end of the port. */
export function receiveLinks(port: MessagePort, options: LinksOptions): Links {
  const all = new Map<number, Link>();
  const attempts = new Map<number, Attempt>();
  const tell = (message: FromEngine) => port.postMessage(message);

  function begin(message: Extract<ToEngine, { type: 'link' }>): void {
    const { self, peer, attempt, kind } = message;
    attempts.get(peer)?.drop(new MeshError('lost', `The link to device ${peer} is being made anew.`, peer));
    const [tensors, bulk] = [message.tensors, message.bulk].map((endpoint) =>
      delayedChannel(openChannel(endpoint), options.delayMs ?? 0),
    );
    let link: Link | undefined;
    let dropped: MeshError | undefined;
    const current: Attempt = {
      attempt,
      maxMessageBytes: SAFE_MESSAGE_BYTES,
      drop(failure) {
        dropped ??= failure;
        link?.close(failure);
        tensors.close();
        bulk.close();
      },
    };
    attempts.set(peer, current);
    const ended = (failure: MeshError) => {
      if (all.get(peer) === link) all.delete(peer);
      if (attempts.get(peer) === current) attempts.delete(peer);
      tell({ type: 'down', peer, attempt, code: failure.code, message: failure.message });
    };
    openLink({ self, peer, kind, tensors, bulk, maxMessageBytes: () => current.maxMessageBytes }).then((opened) => {
      link = opened;
      if (dropped) opened.close(dropped);
      if (opened.failure) {
        ended(opened.failure);
        return;
      }
      all.set(peer, opened);
      opened.onClosed(ended);
      tell({ type: 'up', peer, attempt });
      options.onLink(opened);
    }, ended);
  }

  function drop(peer: number, attempt: number, code: string, message: string): void {
    const current = attempts.get(peer);
    if (current?.attempt === attempt) current.drop(new MeshError(code, message, peer));
  }

  port.onmessage = ({ data }: MessageEvent<ToEngine>) => {
    if (data.type === 'link') begin(data);
    else if (data.type === 'drop') drop(data.peer, data.attempt, data.code, data.message);
    else if (data.type === 'size') {
      const current = attempts.get(data.peer);
      if (current?.attempt === data.attempt) current.maxMessageBytes = data.maxMessageBytes;
    } else
      data.port.onmessage = ({ data: pulse }: MessageEvent<FromPulse>) => {
        if (pulse.type === 'lost')
          drop(pulse.peer, pulse.attempt, 'lost', `Device ${pulse.peer} is gone: ${pulse.reason}.`);
      };
  };

  return {
    all,
    close() {
      for (const attempt of attempts.values()) attempt.drop(new MeshError('closed', 'This device has left the mesh.'));
      port.close();
    },
  };
}
