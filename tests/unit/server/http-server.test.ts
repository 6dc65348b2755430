import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createHttpServer, listen } from '../../../signaling-server/http-server.ts';
import { listModels } from '../../../signaling-server/model-files.ts';

const MODEL = Buffer.from(Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 8)) & 255));

const root = mkdtempSync(join(tmpdir(), 'edgevisor-http-'));
const models = join(root, 'models');
const pages = join(root, 'pages');
mkdirSync(models);
mkdirSync(join(pages, 'assets'), { recursive: true });
writeFileSync(join(root, 'secret.gguf'), 'secret');
writeFileSync(join(pages, 'index.html'), 'contribute');
writeFileSync(join(pages, 'host.html'), 'host');
writeFileSync(join(pages, 'assets', 'a-12345678.js'), 'code');
writeFileSync(join(pages, '.built-from'), 'stamp');
writeFileSync(join(models, 'a model.gguf'), MODEL);
writeFileSync(join(models, 'empty.gguf'), '');
writeFileSync(join(models, 'notes.txt'), 'notes');
mkdirSync(join(models, 'folder.gguf'));
for (const part of ['00001', '00003']) writeFileSync(join(models, `big-${part}-of-00003.gguf`), MODEL.subarray(0, 10));
symlinkSync(join(root, 'secret.gguf'), join(models, 'outside.gguf'));
symlinkSync('a model.gguf', join(models, 'inside.gguf'));
writeFileSync(join(models, 'other.m'), MODEL);
writeFileSync(join(models, 'other.t'), 'tokens');
writeFileSync(join(models, 'alone.m'), MODEL);

const addresses = { http: ['http://localhost:1'], https: [] };
const server = createHttpServer({ pages, models, addresses: () => addresses });
let origin = '';

beforeAll(async () => {
  origin = `http://localhost:${await listen(server, 0)}`;
});

afterAll(() => {
  server.close();
  server.closeAllConnections();
  rmSync(root, { recursive: true });
});

const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
  fetch(origin + path, { headers, method });
const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer());

/** `fetch` tidies addresses up before it sends them; this does not. */
function rawStatus(path: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(origin);
    const sent = request({ hostname, port, path }, (response: IncomingMessage) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.once('error', reject);
    sent.end();
  });
}

describe('pages', () => {
  test.each(['/', '/host.html', '/models/', '/models/empty.gguf', '/nothing'])(
    '%s is isolated and may run no inline script',
    async (path) => {
      const { headers } = await get(path);
      expect(headers.get('cross-origin-opener-policy')).toBe('same-origin');
      expect(headers.get('cross-origin-embedder-policy')).toBe('require-corp');
      expect(headers.get('cross-origin-resource-policy')).toBe('same-origin');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      const script = headers.get('content-security-policy')?.match(/script-src ([^;]*)/)?.[1];
      expect(script).toBe("'self' 'wasm-unsafe-eval'");
    },
  );

  test('the built pages are served, hashed assets for good', async () => {
    expect(await (await get('/')).text()).toBe('contribute');
    expect(await (await get('/host.html')).text()).toBe('host');
    expect((await get('/host.html')).headers.get('cache-control')).toBe('no-cache');
    expect((await get('/assets/a-12345678.js')).headers.get('cache-control')).toContain('immutable');
  });

  test('pages are given whole, whatever range is asked for', async () => {
    for (const range of ['bytes=0-1', 'bytes=-9007199254740993', 'bytes=9-1'])
      expect(await (await get('/host.html', { Range: range })).text()).toBe('host');
  });

  test('what is not there is said so', async () => {
    expect((await get('/nothing')).status).toBe(404);
    expect((await get('/.built-from')).status).toBe(404);
    expect(await rawStatus('/../models/notes.txt')).toBe(404);
    expect(await rawStatus('//')).toBe(404);
  });

  test('only GET and HEAD are answered', async () => {
    const response = await get('/host.html', {}, 'POST');
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe('GET, HEAD');
  });

  test('the addresses of the server are given', async () => {
    expect(await (await get('/addresses.json')).json()).toEqual(addresses);
  });
});

describe('list of models', () => {
  test('names and sizes; a split model once, with what is missing; a .m with its .t; no links out, no folders', async () => {
    expect(await (await get('/models/')).json()).toEqual([
      { name: 'a model.gguf', bytes: MODEL.length },
      { name: 'alone.m', bytes: MODEL.length },
      { name: 'big-00001-of-00003.gguf', bytes: 20, missing: ['big-00002-of-00003.gguf'] },
      { name: 'empty.gguf', bytes: 0 },
      { name: 'inside.gguf', bytes: MODEL.length },
      { name: 'other.m', bytes: MODEL.length, tokenizer: 'other.t' },
    ]);
    expect(await (await get('/models/other.t')).text()).toBe('tokens');
  });

  test.each<[string, string[], Record<string, string>]>([
    ['of the same name, before all others', ['a.m', 'b.m', 'a.t', 'b.t'], { 'a.m': 'a.t', 'b.m': 'b.t' }],
    ['the only one beside the only model', ['a.m', 'tokens.t', 'b.gguf'], { 'a.m': 'tokens.t' }],
    ['none where it is not clear', ['a.m', 'b.m', 'tokens.t'], {}],
    ['none among several', ['a.m', 'x.t', 'y.t'], {}],
    [
      'by the names that models are published under',
      ['dllama_model_x_q40.m', 'dllama_model_y_q40.m', 'dllama_tokenizer_x_q40.t', 'dllama_tokenizer_y.t', 'z.t'],
      { 'dllama_model_x_q40.m': 'dllama_tokenizer_x_q40.t', 'dllama_model_y_q40.m': 'dllama_tokenizer_y.t' },
    ],
  ])('the tokenizer of a .m file is the one %s', async (_, files, expected) => {
    const folder = mkdtempSync(join(root, 'pairs-'));
    for (const name of files) writeFileSync(join(folder, name), '');
    const found = (await listModels(folder)).flatMap(({ name, tokenizer }) => (tokenizer ? [[name, tokenizer]] : []));
    expect(Object.fromEntries(found)).toEqual(expected);
  });
});

describe('model files', () => {
  const path = '/models/a%20model.gguf';

  test('whole', async () => {
    const response = await get(path);
    expect(response.status).toBe(200);
    expect(response.headers.get('accept-ranges')).toBe('bytes');
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect((await bytesOf(response)).equals(MODEL)).toBe(true);
  });

  test('a range', async () => {
    const response = await get(path, { Range: 'bytes=1000000-1999999' });
    expect(response.status).toBe(206);
    expect(response.headers.get('content-range')).toBe(`bytes 1000000-1999999/${MODEL.length}`);
    expect(response.headers.get('content-length')).toBe('1000000');
    expect((await bytesOf(response)).equals(MODEL.subarray(1_000_000, 2_000_000))).toBe(true);
  });

  test('a range beyond the end', async () => {
    const response = await get(path, { Range: `bytes=${MODEL.length}-` });
    expect(response.status).toBe(416);
    expect(response.headers.get('content-range')).toBe(`bytes */${MODEL.length}`);
  });

  test('HEAD tells the size without the bytes', async () => {
    const response = await get(path, {}, 'HEAD');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-length')).toBe(String(MODEL.length));
    expect((await bytesOf(response)).length).toBe(0);
  });

  test('If-Range: the part while the file is the same, the whole once it changed', async () => {
    const { headers } = await get(path, {}, 'HEAD');
    const etag = headers.get('etag')!;
    expect(etag).toMatch(/^"[^"]+"$/);
    expect((await get(path, { Range: 'bytes=0-9', 'If-Range': etag })).status).toBe(206);
    const changed = await get(path, { Range: 'bytes=0-9', 'If-Range': '"older"' });
    expect(changed.status).toBe(200);
    expect((await bytesOf(changed)).length).toBe(MODEL.length);
  });

  test('an empty file', async () => {
    const response = await get('/models/empty.gguf');
    expect(response.status).toBe(200);
    expect((await bytesOf(response)).length).toBe(0);
  });

  test.each([
    '/models/none.gguf',
    '/models/notes.txt',
    '/models/folder.gguf',
    '/models/outside.gguf',
    '/models/../secret.gguf',
    '/models/..%2fsecret.gguf',
    '/models/%2e%2e/secret.gguf',
    '/models/%2e%2e%5csecret.gguf',
    '/models/..%2Fmodels%2Finside.gguf',
    '/models//etc/passwd',
    '/models/%2fetc%2fpasswd',
    '/models/inside.gguf%00.txt',
    '/models/inside.gguf%00.gguf',
    '/models/%zz.gguf',
    '/models/%252e%252e%252fsecret.gguf',
    '/models/..%c0%afsecret.gguf',
    '/models/%ef%bc%8e%ef%bc%8e%2fsecret.gguf',
    '/models/..%5c..%5csecret.gguf',
    '/models/C:%5csecret.gguf',
    '/models/C:secret.gguf',
    '/models/%5c%5cserver%5cshare%5csecret.gguf',
    '/models/inside.gguf::$DATA',
    '/models/inside.gguf.',
    '/models/inside.gguf%20',
    '/models/NUL.gguf',
    '/models/.gguf',
    '/models/./../secret.gguf',
    '/models/outside.gguf/strided?offset=0&stride=1&length=1&count=1',
    '/models/..%2fsecret.gguf/strided?offset=0&stride=1&length=1&count=1',
    '/models',
  ])('%s is not served', async (path) => {
    expect(await rawStatus(path)).toBe(404);
  });

  test('a client that goes away in the middle leaves the server whole', async () => {
    const controller = new AbortController();
    const response = await fetch(origin + path, { signal: controller.signal });
    await response.body?.getReader().read();
    controller.abort();
    expect((await bytesOf(await get(path))).length).toBe(MODEL.length);
  });
});

describe('strided pieces', () => {
  const strided = (query: string, headers = {}, method = 'GET') =>
    get(`/models/a%20model.gguf/strided?${query}`, headers, method);

  function cut(offset: number, stride: number, length: number, count: number): Buffer {
    return Buffer.concat(
      Array.from({ length: count }, (_, i) => MODEL.subarray(offset + i * stride, offset + i * stride + length)),
    );
  }

  test.each([
    [0, 100, 20, 30_000], // many pieces a read
    [7, 18, 18, 1000], // without gaps
    [5, 1_000_000, 400_000, 3], // one piece a read
    [MODEL.length - 1, 1, 1, 1], // the last byte
    [3, 600_001, 599_999, 4], // pieces that do not fill a read evenly
    [0, 1 << 20, 1 << 20, 2], // the longest pieces
  ])('offset %i, stride %i, length %i, count %i', async (offset, stride, length, count) => {
    const response = await strided(`offset=${offset}&stride=${stride}&length=${length}&count=${count}`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-length')).toBe(String(length * count));
    expect((await bytesOf(response)).equals(cut(offset, stride, length, count))).toBe(true);
  });

  test('several sets of pieces come one after another', async () => {
    const sets: Parameters<typeof cut>[] = [
      [100, 50, 20, 1000],
      [7, 400_000, 400_000, 1],
      [0, 600_000, 599_999, 3],
    ];
    const query = sets.map(
      ([offset, stride, length, count]) => `offset=${offset}&stride=${stride}&length=${length}&count=${count}`,
    );
    const response = await strided(query.join('&'));
    expect(response.headers.get('content-length')).toBe(String(20 * 1000 + 400_000 + 3 * 599_999));
    expect((await bytesOf(response)).equals(Buffer.concat(sets.map((set) => cut(...set))))).toBe(true);
  });

  test('HEAD tells the size without the bytes', async () => {
    const response = await strided('offset=0&stride=10&length=5&count=4', {}, 'HEAD');
    expect(response.headers.get('content-length')).toBe('20');
    expect((await bytesOf(response)).length).toBe(0);
  });

  test.each([
    ['offset=0&stride=10&length=5', /count/],
    ['offset=-1&stride=10&length=5&count=1', /offset/],
    ['offset=1.5&stride=10&length=5&count=1', /offset/],
    ['offset=0&stride=10&length=0&count=1', /length/],
    ['offset=0&stride=2000000&length=1048577&count=1', /length/],
    ['offset=0&stride=10&length=5&count=0', /count/],
    ['offset=0&stride=4&length=5&count=2', /stride/],
    ['offset=2999999&stride=1&length=1&count=2', /beyond the file/],
    ['offset=9007199254740993&stride=1&length=1&count=1', /offset/],
    ['offset=0&stride=1&length=1&count=999999999999', /at most/],
    ['offset=0&stride=1&length=1&count=1&offset=5', /stride/],
    ['offset=0&stride=1&length=1&count=1&offset=2999999&stride=2&length=2&count=1', /beyond the file/],
  ])('%s is refused with the reason', async (query, reason) => {
    const response = await strided(query);
    expect(response.status).toBe(400);
    expect(await response.text()).toMatch(reason);
  });

  test('more sets than fit an address are refused', async () => {
    const response = await strided('offset=0&stride=1&length=1&count=1&'.repeat(129));
    expect(response.status).toBe(400);
    expect(await response.text()).toMatch(/at most 128 sets/);
  });

  test('a file that is not there', async () => {
    expect((await get('/models/none.gguf/strided?offset=0&stride=1&length=1&count=1')).status).toBe(404);
  });
});
