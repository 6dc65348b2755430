/** Stands in for the engine's Worker: answers tests about links. */
import { expose } from 'comlink';
import { createAllReduce } from '../../../web/mesh/all-reduce.ts';
import { createFrameBuffer, type Header, Kind } from '../../../web/mesh/frames.ts';
import type { Link } from '../../../web/mesh/link.ts';
import { type Links, receiveLinks } from '../../../web/mesh/links.ts';
import { digest, type NumberType } from '../../../web/mesh/wire.ts';

let links: Links;
/** The channels under the links, as they came. */
const channels: { peer: number; channel: RTCDataChannel }[] = [];
const ends: string[] = [];
const frames: { peer: number; position: number; bytes: number; sum: number }[] = [];
const controls: unknown[] = [];
/** Of the bulk that has come: bytes, and a sum that depends on their places. */
const bulk = { bytes: 0, sum: 0 };
/** Time in ms that the reader of bulk takes for a piece. */
let pieceMs = 0;

addEventListener('message', ({ data }: MessageEvent<{ mesh?: MessagePort }>) => {
  if (!data.mesh) return;
  data.mesh.addEventListener('message', ({ data: message }) => {
    if (message.type === 'link' && message.tensors.kind === 'data-channel')
      channels.push({ peer: message.peer, channel: message.tensors.channel });
  });
  links = receiveLinks(data.mesh, { onLink });
});

function onLink(link: Link): void {
  link.onClosed((failure) => {
    ends.push(`${link.peer} ${failure.code}`);
    if (failure.code !== 'left') console.log(`link to ${link.peer} ended: ${failure.message}`);
  });
  link.onControl((message) => controls.push(message));
  link.route(Kind.residual, 1, ({ position, payload }) =>
    frames.push({ peer: link.peer, position, bytes: payload.length, sum: checksum(payload, 0) }),
  );
  link.onBulk(async ({ bytes, offset }) => {
    if (pieceMs > 0) await new Promise((resolve) => setTimeout(resolve, pieceMs));
    bulk.bytes += bytes.length;
    bulk.sum = (bulk.sum + checksum(bytes, offset)) >>> 0;
  });
}

function checksum(bytes: Uint8Array, offset: number): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum = (sum + bytes[i] * ((offset + i) % 65521)) >>> 0;
  return sum;
}
const pattern = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) & 0xff);

function linkTo(peer: number): Link {
  const link = links.all.get(peer);
  if (!link) throw new Error(`no link to ${peer}`);
  return link;
}

const engine = {
  peers: () => [...links.all.values()].map(({ peer, kind }) => ({ peer, kind })),
  isWorker: () => typeof document === 'undefined',
  ends: () => ends,
  frames: () => frames,
  controls: () => controls,
  bulk: () => ({ ...bulk }),
  slowReader(ms: number): void {
    pieceMs = ms;
  },
  stats: (peer: number) => ({ ...linkTo(peer).stats }),

  /** Sends one frame; gives the checksum that must arrive. */
  async sendFrame(peer: number, bytes: number, position: number): Promise<number> {
    const buffer = createFrameBuffer(bytes);
    buffer.payload.set(pattern(bytes, position));
    const header: Header = { kind: Kind.residual, type: 'f32', slot: 0, epoch: 1, layer: 0, position, rows: 1 };
    await linkTo(peer).send(buffer, header, bytes);
    return checksum(buffer.payload, 0);
  },
  sendControl: (peer: number, message: unknown) => linkTo(peer).sendControl(message),

  async sendBulk(peer: number, bytes: number): Promise<{ sum: number; ms: number; highest: number }> {
    const data = pattern(bytes, 7);
    const link = linkTo(peer);
    const before = link.stats.bytesSent;
    const start = performance.now();
    let highest = 0;
    const watch = setInterval(() => {
      highest = Math.max(highest, link.stats.bytesSent - before);
    }, 10);
    await link.sendBulk({ epoch: 1, slot: 0, transfer: 1 }, data);
    clearInterval(watch);
    return { sum: checksum(data, 0), ms: performance.now() - start, highest };
  },

  async pings(peer: number, payload: number, count: number): Promise<number[]> {
    const times = [];
    for (let i = 0; i < count; i++) times.push(await linkTo(peer).ping(payload));
    return times;
  },

  /** Computes without a pause, as a kernel does. */
  block(ms: number): void {
    const end = performance.now() + ms;
    while (performance.now() < end);
  },

  /** So many all-reduces one after another; gives the digest of each sum, and the time. */
  async allReduce(
    members: number[],
    self: number,
    wire: NumberType,
    rounds: number,
    epoch: number,
  ): Promise<{ digests: number[]; ms: number }> {
    const dim = 576;
    const all = createAllReduce({ members, self, links: links.all, epoch, wire, dim, maxRows: 1 });
    const partial = new Float32Array(dim);
    const digests = [];
    const start = performance.now();
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < dim; i++) partial[i] = Math.sin(self * 1000 + round + i);
      digests.push(digest(await all.run({ layer: round, slot: 0, position: 0 }, partial, new Float32Array(dim))));
    }
    return { digests, ms: performance.now() - start };
  },

  /** Ends the transport of a link, without a word to it. */
  dropChannels(peer: number): void {
    for (const { peer: of, channel } of channels) if (of === peer) channel.close();
  },

  /** Sends what is no frame, from under the link. */
  sendNonsense(peer: number): void {
    const header = { kind: 99, type: 'f32', slot: 0, epoch: 1, layer: 0, position: 0, rows: 0 } as unknown as Header;
    void linkTo(peer).send(createFrameBuffer(0), header, 0);
  },
};
export type TestEngine = typeof engine;
expose(engine);
