import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { createHttpServer, listen } from '../../../signaling-server/http-server.ts';
import { attachRooms } from '../../../signaling-server/rooms.ts';
import { check, target } from '../target.ts';

const MODEL_BYTES = 1000;
const CANARY = 'a file outside the models';

const segment = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom(
      'models',
      'm.gguf',
      'strided',
      '..',
      '.',
      'secret.gguf',
      'outside.gguf',
      'host.html',
      'addresses.json',
      'stats',
      'room',
      'relay',
      'assets',
      '',
    ),
  },
  {
    weight: 6,
    arbitrary: fc.constantFrom(
      '%2e%2e',
      '%2E%2e',
      '..%2f',
      '..%5c',
      '%2f',
      '%5c',
      '\\',
      '..\\',
      '%00',
      'm.gguf%00',
      '%',
      '%zz',
      '%c0%ae%c0%ae',
      'C:',
      'C%3a',
      '~',
      'm.gguf.',
      'm.gguf%20',
      'M.GGUF',
      '%252e%252e',
      'NUL',
      'm.gguf::$DATA',
      '..;',
    ),
  },
  { weight: 1, arbitrary: fc.string({ unit: fc.constantFrom(...'abc./%\\?#&=:;@~$'), maxLength: 8 }) },
);
const number = fc.oneof(
  fc.nat(2000).map(String),
  fc.constantFrom('', '-1', '1e3', '0x10', '1.5', '9'.repeat(30), '9007199254740993', ' 1', 'NaN'),
);
const query = fc.oneof(
  fc.constant(''),
  fc
    .record({ offset: number, stride: number, length: number, count: number })
    .map((values) => `?${new URLSearchParams(values)}`),
  fc.string({ unit: fc.constantFrom(...'ab=&%?1'), maxLength: 12 }).map((text) => `?${text}`),
);
const path = fc.oneof(
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.array(segment, { maxLength: 6 }), query)
      .map(([parts, rest]) => `/${parts.join('/')}${rest}`),
  },
  { weight: 2, arbitrary: fc.tuple(segment, query).map(([part, rest]) => `/models/${part}${rest}`) },
  { weight: 2, arbitrary: query.map((rest) => `/models/m.gguf/strided${rest}`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('*', '//', '//x/models/', 'http://other/models/', 'http://[', '?', '/models//m.gguf'),
  },
);
const headers = fc.record(
  {
    range: fc.oneof(
      fc.tuple(number, number).map(([from, to]) => `bytes=${from}-${to}`),
      fc.constantFrom('bytes=0-1,3-4', 'lines=1-2', 'bytes=', `bytes=${'0-1,'.repeat(500)}0-1`),
    ),
    'if-range': fc.constantFrom('"x"', 'x'),
    'if-none-match': fc.constantFrom('*', 'W/"x"'),
    host: fc.constantFrom('', 'evil.example', '127.0.0.1', '[', 'x'.repeat(300)),
    origin: fc.constantFrom('null', 'http://evil.example', 'x', 'http://['),
    upgrade: fc.constantFrom('websocket', 'h2c'),
    connection: fc.constantFrom('close', 'upgrade'),
    'sec-websocket-key': fc.constantFrom('', 'dGhlIHNhbXBsZSBub25jZQ=='),
    'sec-websocket-version': fc.constantFrom('13', '99'),
  },
  { requiredKeys: [] },
);
const asked = fc.record({
  raw: fc.constant(false as const),
  method: fc.constantFrom('GET', 'GET', 'GET', 'HEAD', 'POST', 'OPTIONS', 'DELETE'),
  path,
  headers,
});
const noise = fc.record({
  raw: fc.constant(true as const),
  bytes: fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    path.map((text) => new TextEncoder().encode(`GET ${text} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)),
    fc
      .constantFrom(
        'GET / HTTP/1.1\r\n',
        'GET /models/ HTTP/9.9\r\n\r\n',
        `GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
      )
      .map((text) => new TextEncoder().encode(text)),
  ),
});

const STATUSES = [101, 200, 204, 206, 304, 400, 403, 404, 405, 416, 426, 431, 503, 505];

export async function make() {
  const root = mkdtempSync(join(tmpdir(), 'fuzz-'));
  const [models, pages] = [join(root, 'models'), join(root, 'pages')];
  mkdirSync(models);
  mkdirSync(join(pages, 'assets'), { recursive: true });
  for (const outside of ['secret.gguf', 'secret.html', 'host.html']) writeFileSync(join(root, outside), CANARY);
  writeFileSync(join(models, 'm.gguf'), Buffer.alloc(MODEL_BYTES, 'm'));
  symlinkSync(join(root, 'secret.gguf'), join(models, 'outside.gguf'));
  for (const page of ['host.html', 'index.html']) writeFileSync(join(pages, page), 'a page');
  const server = createHttpServer({ pages, models, addresses: () => ({ http: [], https: [] }) });
  await attachRooms([server]);
  const port = await listen(server, 0);
  // A fault of the server is told to the person at its terminal.
  let complaint = '';
  console.error = (...said: unknown[]) => {
    complaint = said.map(String).join(' ');
  };
  return target({
    cases: fc.oneof({ weight: 5, arbitrary: asked }, { weight: 1, arbitrary: noise }),
    async run(given) {
      complaint = '';
      if (given.raw) {
        const said = await sayRaw(port, given.bytes);
        check(!said.includes(CANARY), 'a file outside the models came');
        check(said === '' || /^HTTP\/1\.1 (?!5(00|02))/.test(said), `said ${said.slice(0, 80)}`);
      } else {
        const { status, body, answered } = await ask(port, given);
        check(!body.includes(CANARY), 'a file outside the models came');
        check(status === 0 || STATUSES.includes(status), `answered with ${status}`);
        check(body.length <= 2 * MODEL_BYTES, `${body.length} bytes came`);
        if (status === 200 || status === 206)
          check(answered['x-content-type-options'] === 'nosniff', 'without the security headers');
      }
      check(complaint === '', `the server complained: ${complaint}`);
    },
  });
}

interface Answer {
  /** 0: the connection was closed without an answer. */
  status: number;
  body: string;
  answered: IncomingHttpHeaders;
}

function ask(
  port: number,
  { method, path, headers }: { method: string; path: string; headers: object },
): Promise<Answer> {
  return new Promise((resolve) => {
    const none = { status: 0, body: '', answered: {} };
    const sent = request(
      { port, host: '127.0.0.1', method, path, headers: { ...headers }, agent: false },
      (response) => {
        let body = '';
        response.on('data', (data) => {
          body += String(data);
        });
        response.once('close', () => resolve({ status: response.statusCode ?? 0, body, answered: response.headers }));
      },
    );
    sent.once('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode ?? 0, body: '', answered: response.headers });
    });
    sent.once('error', () => resolve(none));
    sent.end();
  });
}

function sayRaw(port: number, bytes: Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let said = '';
    const client = connect(port, '127.0.0.1', () => client.end(bytes));
    client.on('data', (data) => {
      said += String(data);
    });
    client.once('error', () => resolve(said));
    client.once('close', () => resolve(said));
  });
}
