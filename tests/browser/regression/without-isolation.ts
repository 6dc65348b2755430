import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';

const ISOLATION = ['cross-origin-opener-policy', 'cross-origin-embedder-policy', 'cross-origin-resource-policy'];

/** The server as a proxy shows it that takes away the headers by which a page gets SharedArrayBuffer. */
export async function startWithoutIsolation(target: string): Promise<{ url: string; close(): void }> {
  const server = createServer(async ({ url = '/', method = 'GET', headers }, response) => {
    try {
      const range = headers.range;
      const answer = await fetch(`${target}${url}`, { method, headers: range ? { range } : {} });
      for (const [name, value] of answer.headers)
        if (!ISOLATION.includes(name) && !name.startsWith('content-encoding')) response.setHeader(name, value);
      response.writeHead(answer.status);
      if (answer.body) Readable.fromWeb(answer.body as never).pipe(response);
      else response.end();
    } catch {
      response.writeHead(502).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
}
