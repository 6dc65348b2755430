import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { serveData } from '../../../signaling-server/http-server.ts';

test('the counters are for this machine only', async () => {
  const answers: Record<string, boolean> = {};
  const stats = { rooms: 3 };
  const server = createServer(async (incoming, response) => {
    const from = incoming.headers['x-from'] as string;
    Object.defineProperty(incoming.socket, 'remoteAddress', { value: from, configurable: true });
    const site = { models: '/nowhere', addresses: () => ({ http: [], https: [] }), stats: () => stats };
    answers[from] = await serveData(site, incoming, response);
    if (!response.writableEnded) response.end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const ask = (from: string) =>
    new Promise<string>((resolve, reject) => {
      const { port } = server.address() as AddressInfo;
      request({ host: '127.0.0.1', port, path: '/stats', agent: false, headers: { 'x-from': from } }, (response) => {
        let text = '';
        response.on('data', (data) => {
          text += data;
        });
        response.on('end', () => resolve(text));
      })
        .on('error', reject)
        .end();
    });
  for (const near of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) expect(JSON.parse(await ask(near))).toEqual(stats);
  for (const far of ['192.168.1.7', '::ffff:192.168.1.7', 'fe80::1', '1.127.0.1']) {
    expect(await ask(far)).toBe('');
    expect(answers[far]).toBe(false);
  }
  server.close();
});
