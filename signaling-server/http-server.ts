import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Server as NetServer } from 'node:net';
import sirv from 'sirv';
import type { Certificate } from './certificate.ts';
import { setSecurityHeaders } from './headers.ts';
import { sendJson, sendText, serveModels } from './model-routes.ts';

/** Where this server can be reached: origins such as `https://192.168.1.7:8081`, the best first. */
export interface Addresses {
  http: string[];
  https: string[];
}

/** What a server serves. */
export interface Site {
  pages: string;
  models: string;
  /** Asked at every request, since ports are known only once the servers listen. */
  addresses: () => Addresses;
  /** Counters for whoever sits at this machine; others do not see that there are any. */
  stats?: () => object;
}

const ADDRESSES_PATH = '/addresses.json';
const STATS_PATH = '/stats';
const LOOPBACK = /^(::ffff:)?127\.|^::1$/;
/** Names of built assets carry a hash of their content. */
const HASHED_ASSETS = '/assets/';

/** Answers for the built pages, `/models/…`, `/addresses.json` and `/stats`, always with the security headers. */
export function createRequestListener(site: Site): RequestListener {
  const servePages = sirv(site.pages, {
    etag: true,
    setHeaders: (response, path) => {
      const fixed = path.startsWith(HASHED_ASSETS);
      response.setHeader('Cache-Control', fixed ? 'public, max-age=31536000, immutable' : 'no-cache');
    },
  });
  return (request, response) => {
    setSecurityHeaders(response);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD');
      sendText(response, 405, 'This server only answers GET and HEAD.');
      return;
    }
    serveData(site, request, response)
      .then((served) => {
        if (served) return;
        // Nobody needs parts of a page, and sirv trips over some ranges.
        delete request.headers.range;
        servePages(request, response, () => sendText(response, 404, 'There is no such page here. Try /host.html.'));
      })
      .catch((error: unknown) => {
        console.error(`${request.method} ${request.url} failed:`, error);
        if (response.headersSent) response.destroy();
        else sendText(response, 500, 'The server could not answer; its terminal says why.');
      });
  };
}

/** Answers the addresses that are made on the fly, which Vite's dev server needs too. False where it is another. */
export async function serveData(
  site: Pick<Site, 'models' | 'addresses' | 'stats'>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  if (request.url === ADDRESSES_PATH) {
    sendJson(request, response, site.addresses());
    return true;
  }
  if (request.url === STATS_PATH && site.stats && LOOPBACK.test(request.socket.remoteAddress ?? '')) {
    sendJson(request, response, site.stats());
    return true;
  }
  return serveModels(site.models, request, response);
}

/** A server for the site: https with a certificate, plain http without. It does not listen yet. */
export function createHttpServer(site: Site, certificate?: Certificate): Server {
  const listener = createRequestListener(site);
  return certificate ? createSecureServer(certificate, listener) : createServer(listener);
}

/** Listens on all addresses of the machine; gives the port. Rejects with the system's error (`EADDRINUSE`, `EACCES`). */
export function listen(server: NetServer, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, () => {
      server.off('error', reject);
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : port);
    });
  });
}
