/** Columns over HTTP: our own server cuts them, through its limits and a faulty network. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { serveModels } from '../../../signaling-server/model-routes.ts';
import { httpSource, urlSource } from '../../../web/model/http.ts';
import { type ByteSource, bytesOfRuns, type Runs } from '../../../web/model/types.ts';
import { failure } from './failure.ts';

const FILE = Uint8Array.from({ length: 3_000_000 }, (_, i) => (Math.imul(i, 2654435761) >>> 24) ^ (i >>> 13));
const FAST = { retryDelayMs: 1 };

let directory: string;
let server: Server | undefined;
let asked: URL[];
/** Bytes of bodies sent, over all answers. */
let sent: number;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'edgevisor-strided-'));
  asked = [];
  sent = 0;
});
afterEach(() => {
  vi.unstubAllGlobals();
  server?.closeAllConnections();
  server?.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Serves the directory as the page's own server, or as another's; `fault` may spoil an answer. */
async function serve(options: {
  own: boolean;
  fault?: (request: IncomingMessage, response: ServerResponse, number: number) => void;
}): Promise<string> {
  server = createServer((request, response) => {
    asked.push(new URL(request.url ?? '', 'http://server'));
    const write = response.write.bind(response) as (chunk: Uint8Array, ...rest: unknown[]) => boolean;
    response.write = ((chunk: Uint8Array, ...rest: unknown[]) => {
      sent += chunk.length;
      return write(chunk, ...rest);
    }) as typeof response.write;
    options.fault?.(request, response, asked.length);
    if (!response.headersSent && !request.socket.destroyed) void serveModels(directory, request, response);
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const here = options.own ? origin : 'http://page.example';
  vi.stubGlobal('location', { origin: here, href: `${here}/host.html` });
  return `${origin}/models/`;
}

function runs(offset: number, stride: number, length: number, count: number, file = FILE): Uint8Array {
  return Buffer.concat(
    Array.from({ length: count }, (_, i) => file.subarray(offset + i * stride, offset + i * stride + length)),
  );
}

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

async function readMany(source: ByteSource, places: Runs[]): Promise<Uint8Array> {
  const bytes = new Uint8Array(bytesOfRuns(places));
  await source.readMany!(places, bytes);
  return bytes;
}

describe('columns over HTTP', () => {
  it('are cut by our own server: no more bytes travel than are asked for', async () => {
    writeFileSync(join(directory, 'm.gguf'), FILE);
    const source = await httpSource(`${await serve({ own: true })}m.gguf`, FAST);
    sent = 0;
    const got = await source.readStrided!(1000, 720, 160, 4000);
    expect(same(got, runs(1000, 720, 160, 4000))).toBe(true);
    expect(sent).toBe(160 * 4000);
    expect(asked.at(-1)!.pathname).toBe('/models/m.gguf/strided');
  });

  it('are not asked of another site', async () => {
    writeFileSync(join(directory, 'm.gguf'), FILE);
    const source = await httpSource(`${await serve({ own: false })}m.gguf`, FAST);
    expect(source.readStrided).toBeUndefined();
  });

  it('go on after the last whole piece when the connection breaks', async () => {
    writeFileSync(join(directory, 'm.gguf'), FILE);
    const base = await serve({
      own: true,
      fault(request, response, number) {
        if (!request.url?.includes('strided')) return;
        if (number === 2) response.writeHead(503).end();
        if (number === 3) {
          // Two pieces and a half of what was asked for.
          response.writeHead(200, { ETag: tag, 'Content-Length': 10 * 100_000 });
          response.write(runs(0, 200_000, 100_000, 10).subarray(0, 250_000), () => response.destroy());
        }
      },
    });
    const tag = (await fetch(`${base}m.gguf`, { method: 'HEAD' })).headers.get('etag')!;
    asked.length = 0;
    const source = await httpSource(`${base}m.gguf`, FAST);
    expect(same(await source.readStrided!(0, 200_000, 100_000, 10), runs(0, 200_000, 100_000, 10))).toBe(true);
    expect(asked.at(-1)!.searchParams.get('count')).toBe('8');
    expect(asked.at(-1)!.searchParams.get('offset')).toBe('400000');
  });

  it('of several places come in one request, which goes on after the last whole piece when the connection breaks', async () => {
    writeFileSync(join(directory, 'm.gguf'), FILE);
    const places: Parameters<typeof runs>[] = [
      [1000, 720, 160, 40],
      [500_000, 90_000, 90_000, 1],
      [0, 200_000, 100_000, 10],
    ];
    const all = Buffer.concat(places.map((place) => runs(...place)));
    const base = await serve({
      own: true,
      fault(request, response, number) {
        if (!request.url?.includes('strided') || number !== 2) return;
        // The first place, the second, two pieces and a half of the third.
        response.writeHead(200, { ETag: tag, 'Content-Length': all.length });
        response.write(all.subarray(0, 160 * 40 + 90_000 + 250_000), () => response.destroy());
      },
    });
    const tag = (await fetch(`${base}m.gguf`, { method: 'HEAD' })).headers.get('etag')!;
    asked.length = 0;
    const source = await httpSource(`${base}m.gguf`, FAST);
    const many = places.map(([offset, stride, length, count]) => ({ offset, stride, length, count }));
    expect(same(await readMany(source, many), all)).toBe(true);
    const strided = asked.filter(({ pathname }) => pathname.endsWith('strided'));
    expect(strided.map(({ searchParams }) => searchParams.getAll('offset'))).toEqual([
      ['1000', '500000', '0'],
      ['400000'],
    ]);
  });

  it('of one place in one piece go on within it, however short each answer breaks off', async () => {
    writeFileSync(join(directory, 'm.gguf'), FILE);
    const fault = (_request: IncomingMessage, response: ServerResponse) => {
      let left = 100_000;
      const write = response.write.bind(response) as (chunk: Uint8Array, ...rest: unknown[]) => boolean;
      response.write = ((chunk: Uint8Array, ...rest: unknown[]) => {
        const part = chunk.subarray(0, left);
        left -= part.length;
        return left > 0 ? write(part, ...rest) : write(part, () => response.destroy());
      }) as typeof response.write;
    };
    const source = await httpSource(`${await serve({ own: true, fault })}m.gguf`, FAST);
    const place = { offset: 1000, stride: 900_000, length: 900_000, count: 1 };
    expect(same(await readMany(source, [place]), FILE.subarray(1000, 901_000))).toBe(true);
  });

  it('of several places with a large one among them take a request for it and one for those on either side', async () => {
    writeFileSync(join(directory, 'm.gguf'), FILE);
    const source = await httpSource(`${await serve({ own: true })}m.gguf`, FAST);
    const small = (offset: number): Runs => ({ offset, stride: 500, length: 100, count: 40 });
    const large: Runs = { offset: 100_000, stride: 1_500_000, length: 1_500_000, count: 1 };
    const places = [small(0), small(30_000), large, small(1_700_000), small(1_800_000), small(1_900_000)];
    const before = asked.length;
    const all = Buffer.concat(places.map(({ offset, stride, length, count }) => runs(offset, stride, length, count)));
    expect(same(await readMany(source, places), all)).toBe(true);
    const counts = asked.slice(before).map(({ searchParams }) => searchParams.getAll('offset').length);
    expect(counts).toEqual([2, 0, 3]);
  });

  it('wider than a piece may be are read as they lie', async () => {
    writeFileSync(join(directory, 'm.gguf'), FILE);
    const source = await httpSource(`${await serve({ own: true })}m.gguf`, FAST);
    expect(same(await source.readStrided!(5, 1_200_000, 1_100_000, 2), runs(5, 1_200_000, 1_100_000, 2))).toBe(true);
    expect(asked.every(({ pathname }) => !pathname.endsWith('strided'))).toBe(true);
  });

  it('come from the right file of a split model, and from two where they cross', async () => {
    writeFileSync(join(directory, 'm-00001-of-00002.gguf'), FILE.subarray(0, 1_000_000));
    writeFileSync(join(directory, 'm-00002-of-00002.gguf'), FILE.subarray(1_000_000));
    const source = await urlSource(`${await serve({ own: true })}m-00001-of-00002.gguf`, FAST);
    const places: Parameters<typeof runs>[] = [
      [999_000, 500, 100, 2],
      [1_000_000, 1000, 32, 500],
      [900_000, 1000, 300, 300],
    ];
    for (const place of places)
      expect(same(await source.readStrided!(place[0], place[1], place[2], place[3]), runs(...place))).toBe(true);
    const many = places.map(([offset, stride, length, count]) => ({ offset, stride, length, count }));
    const all = Buffer.concat(places.map((place) => runs(...place)));
    const before = asked.length;
    expect(same(await readMany(source, many), all)).toBe(true);
    expect(same(await readMany(source, many.slice(1, 2)), runs(...places[1]!))).toBe(true);
    expect(asked.at(-1)!.pathname).toBe('/models/m-00002-of-00002.gguf/strided');
    asked.length = before;
    const cut = asked
      .filter(({ pathname }) => pathname.endsWith('strided'))
      .map(({ pathname }) => pathname.slice(8, 15));
    expect(cut).toEqual(['m-00001', 'm-00002']);
  });

  it('of a file that has changed, or beyond its end, are refused', async () => {
    writeFileSync(join(directory, 'm.gguf'), FILE);
    const source = await httpSource(`${await serve({ own: true })}m.gguf`, FAST);
    await expect(source.readStrided!(0, 1000, 100, 3001)).rejects.toEqual(failure('truncated', /incomplete/));
    writeFileSync(join(directory, 'm.gguf'), FILE.subarray(0, 2_999_999));
    await expect(source.readStrided!(0, 1000, 100, 10)).rejects.toEqual(failure('network', /changed/));
  });
});
