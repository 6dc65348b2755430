/** A model that exists nowhere: its bytes follow from their place, so that any of them can be checked anywhere. */
import { createHash } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tensorOf } from '../../unit/store/support.ts';
import { fillPattern } from './pattern.ts';

/** Tensors of every kind of piece: many in one request, one in many pieces, cut by columns, a vector. */
export const TENSORS = (() => {
  let offset = 4096;
  const next = (...[name, type, rows, cols]: [string, 'F32' | 'Q4_1' | 'Q8_0', number, number]) => {
    const tensor = tensorOf(name, type, rows, cols, offset);
    offset += Math.ceil(tensor.bytes / 32) * 32;
    return tensor;
  };
  return [
    next('token_embd.weight', 'Q8_0', 24_000, 576),
    ...Array.from({ length: 8 }, (_, layer) => [
      next(`blk.${layer}.attn_norm.weight`, 'F32', 1, 576),
      next(`blk.${layer}.ffn_down.weight`, 'Q4_1', 2048, 2048),
      next(`blk.${layer}.attn_q.weight`, 'Q4_1', 576, 576),
    ]).flat(),
  ];
})();

const last = TENSORS.at(-1)!;
export const FILE_BYTES = last.offset + last.bytes;
export const TENSOR_BYTES = TENSORS.reduce((sum, { bytes }) => sum + bytes, 0);

/** SHA-256 of all tensors' bytes, one after the other. */
export function expectedHash(): string {
  const hash = createHash('sha256');
  for (const { offset, bytes } of TENSORS) hash.update(fillPattern(offset, new Uint8Array(bytes)));
  return hash.digest('hex');
}

export interface CountingServer {
  url: string;
  /** Bytes of weights sent since the last call; the look at the file's first bytes does not count. */
  taken(): number;
  /** From now on, answers after so many bytes wait until `release`. */
  holdAfter(bytes: number): void;
  release(): void;
  close(): Promise<void>;
}

/** Serves the file by ranges to pages of any origin. */
export async function serveVirtualModel(): Promise<CountingServer> {
  let taken = 0;
  let room = Number.POSITIVE_INFINITY;
  let held: (() => void)[] = [];

  const answer = (response: ServerResponse, from: number, to: number) => {
    if (from >= TENSORS[0]!.offset) taken += to - from;
    response.writeHead(206, {
      'Content-Range': `bytes ${from}-${to - 1}/${FILE_BYTES}`,
      'Content-Length': to - from,
      'Content-Type': 'application/octet-stream',
      'Cross-Origin-Resource-Policy': 'cross-origin',
      'Access-Control-Allow-Origin': '*',
      'Access-Control-Expose-Headers': 'Content-Range',
    });
    response.end(fillPattern(from, new Uint8Array(to - from)));
  };
  const server = createServer((request, response) => {
    if (request.method === 'OPTIONS') {
      response.writeHead(204, { 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': 'Range' }).end();
      return;
    }
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const [from, to] = match ? [Number(match[1]), Number(match[2]) + 1] : [0, FILE_BYTES];
    room -= to - from;
    if (room >= 0) answer(response, from, to);
    else held.push(() => response.writable && answer(response, from, to));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/virtual.gguf`,
    taken() {
      const bytes = taken;
      taken = 0;
      return bytes;
    },
    holdAfter(bytes) {
      room = bytes;
    },
    release() {
      room = Number.POSITIVE_INFINITY;
      for (const go of held) go();
      held = [];
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}
