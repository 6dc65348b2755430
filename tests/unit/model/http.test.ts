import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { httpSource, urlSource } from '../../../web/model/http.ts';
import { failure } from './failure.ts';

const FILE = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 2654435761) >>> 24);
const FAST = { retryDelayMs: 1 };

type Handler = (request: IncomingMessage, response: ServerResponse, number: number) => void;

let server: Server | undefined;
afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  server?.closeAllConnections();
  server?.close();
});

/** Starts a server; `number` counts the requests from 1. */
async function serve(handler: Handler): Promise<string> {
  let number = 0;
  server = createServer((request, response) => {
    number++;
    handler(request, response, number);
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Answers with the range asked for; `limit` cuts the body short of what the headers promise. */
function range(
  request: IncomingMessage,
  response: ServerResponse,
  file = FILE,
  limit = Number.POSITIVE_INFINITY,
): void {
  const [, from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '')!.map(Number);
  const end = Math.min(to! + 1, file.length);
  response.writeHead(206, {
    'Content-Range': `bytes ${from}-${end - 1}/${file.length}`,
    'Content-Length': end - from!,
    'Content-Type': 'application/octet-stream',
    ETag: '"one"',
  });
  const body = file.subarray(from, Math.min(end, from! + limit));
  response.write(body, () => {
    if (body.length < end - from!) response.destroy();
    else response.end();
  });
}

describe('httpSource', () => {
  it('learns name and size and reads ranges', async () => {
    const base = await serve((request, response) => range(request, response));
    const source = await httpSource(`${base}/my%20model.gguf?download=true`, FAST);
    expect(source).toMatchObject({ name: 'my model.gguf', size: FILE.length });
    expect(await source.read(1000, 70_000)).toEqual(FILE.slice(1000, 70_000));
    expect(await source.read(FILE.length - 1, FILE.length)).toEqual(FILE.slice(-1));
    await expect(source.read(0, FILE.length + 1)).rejects.toEqual(failure('truncated', /incomplete/));
  });

  it('takes bodies through one buffer of a bounded size, and as they come where they are no streams of bytes', async () => {
    const sizes: number[] = [];
    const plain = ReadableStreamBYOBReader.prototype.read;
    vi.spyOn(ReadableStreamBYOBReader.prototype, 'read').mockImplementation(function read(
      this: ReadableStreamBYOBReader,
      view: Uint8Array<ArrayBuffer>,
    ) {
      sizes.push(view.buffer.byteLength);
      return plain.call(this, view);
    } as typeof plain);
    const base = await serve((request, response) => range(request, response));
    const source = await httpSource(`${base}/model.gguf`, FAST);
    expect(await source.read(0, FILE.length)).toEqual(FILE);
    expect(new Set(sizes)).toEqual(new Set([256 * 1024]));

    // As a browser whose bodies know no readers with buffers of their own.
    sizes.length = 0;
    const { fetch } = globalThis;
    vi.stubGlobal('fetch', async (...args: Parameters<typeof fetch>) => {
      const { body, headers, status } = await fetch(...args);
      return new Response(body?.pipeThrough(new TransformStream()), { headers, status });
    });
    expect(await (await httpSource(`${base}/model.gguf`, FAST)).read(0, FILE.length)).toEqual(FILE);
    expect(sizes).toEqual([]);
  });

  it('reads through connection resets at every tenth range, 5xx answers and short bodies', async () => {
    const base = await serve((request, response, number) => {
      if (number % 10 === 0) request.socket.destroy();
      else if (number % 7 === 0) response.writeHead(503).end();
      else if (number % 3 === 0) range(request, response, FILE, 5000);
      else range(request, response);
    });
    const source = await httpSource(`${base}/model.gguf`, FAST);
    for (let from = 0; from < FILE.length; from += 10_000) {
      expect(await source.read(from, from + 10_000)).toEqual(FILE.slice(from, from + 10_000));
    }
  });

  it('goes on where a broken connection stopped', async () => {
    const asked: string[] = [];
    const base = await serve((request, response, number) => {
      asked.push(request.headers.range!);
      range(request, response, FILE, number === 2 ? 65_536 : undefined);
    });
    const source = await httpSource(`${base}/model.gguf`, FAST);
    expect(await source.read(0, 200_000)).toEqual(FILE.slice(0, 200_000));
    expect(asked).toHaveLength(3);
    const resumed = Number(/=(\d+)/.exec(asked[2]!)![1]);
    expect(resumed).toBeGreaterThan(0);
    expect(resumed).toBeLessThanOrEqual(65_536);
  });

  it('takes a silent connection for a broken one', async () => {
    const base = await serve((request, response, number) => {
      if (number !== 2) range(request, response);
    });
    const source = await httpSource(`${base}/model.gguf`, { ...FAST, stallMs: 100 });
    expect(await source.read(0, 10)).toEqual(FILE.slice(0, 10));
  });

  it('gives up on a server that stays broken, and says so', async () => {
    const base = await serve((request, response, number) => {
      if (number === 1) range(request, response);
      else response.writeHead(500).end();
    });
    const source = await httpSource(`${base}/model.gguf`, FAST);
    await expect(source.read(0, 10)).rejects.toEqual(failure('network', /answered 500/));
    const gone = base;
    server!.close();
    server!.closeAllConnections();
    await expect(httpSource(`${gone}/model.gguf`, FAST)).rejects.toEqual(failure('network', /Check the connection/));
  });

  it('stops at once when asked to', async () => {
    const base = await serve((request, response, number) => {
      if (number === 1) range(request, response);
      else response.writeHead(503).end();
    });
    const source = await httpSource(`${base}/model.gguf`, { retryDelayMs: 60_000 });
    const stop = new AbortController();
    const reading = source.read(0, 10, stop.signal);
    setTimeout(() => stop.abort(), 50);
    await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('notices a file that changes while it is read', async () => {
    const base = await serve((request, response, number) =>
      range(request, response, number === 1 ? FILE : FILE.slice(0, 1000)),
    );
    const source = await httpSource(`${base}/model.gguf`, FAST);
    await expect(source.read(0, 10)).rejects.toEqual(failure('network', /changed on its server/));
  });

  it('asks for the length where Content-Range is hidden', async () => {
    const base = await serve((request, response) => {
      if (request.method === 'HEAD') return response.writeHead(200, { 'Content-Length': 1234 }).end();
      return response.writeHead(206).end(FILE.slice(0, 512));
    });
    expect((await httpSource(`${base}/model.gguf`, FAST)).size).toBe(1234);
  });

  it.each<[string, Handler, string, RegExp]>([
    ['a missing file', (_, response) => response.writeHead(404).end(), 'network', /no file model\.gguf .*404/],
    ['a file behind a login', (_, response) => response.writeHead(401).end(), 'network', /login/],
    [
      'a web page',
      (_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end('<html>'),
      'not-a-model',
      /web page/,
    ],
    ['a server without ranges', (_, response) => response.writeHead(200).end(FILE), 'network', /HTTP ranges/],
  ])('explains %s', async (_, handler, code, message) => {
    const base = await serve(handler);
    await expect(httpSource(`${base}/model.gguf`, FAST)).rejects.toEqual(failure(code, message));
  });
});

describe('urlSource', () => {
  it('opens all files of a split model from the address of any of them', async () => {
    const asked = new Set<string>();
    const base = await serve((request, response) => {
      asked.add(request.url!);
      range(request, response, FILE.subarray(0, request.url!.includes('00003-of') ? 100 : 1000));
    });
    const source = await urlSource(`${base}/big/m-00002-of-00003.gguf?x=1`, FAST);
    expect(source.size).toBe(2100);
    expect(await source.read(900, 2010)).toEqual(
      Uint8Array.from([...FILE.slice(900, 1000), ...FILE.slice(0, 1000), ...FILE.slice(0, 10)]),
    );
    expect([...asked].sort()).toEqual([1, 2, 3].map((part) => `/big/m-0000${part}-of-00003.gguf?x=1`));
  });

  it('names the part that is missing', async () => {
    const base = await serve((request, response) =>
      request.url!.includes('00002-of') ? response.writeHead(404).end() : range(request, response),
    );
    await expect(urlSource(`${base}/m-00001-of-00002.gguf`, FAST)).rejects.toEqual(
      failure('network', /no file m-00002-of-00002\.gguf/),
    );
  });
});
