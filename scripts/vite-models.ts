import type { Plugin } from 'vite';
import { serveData } from '../signaling-server/http-server.ts';

/** Lets Vite's dev server answer `/models/…` and `/addresses.json` as the real server does. */
export function serveModelsFrom(directory: string): Plugin {
  return {
    name: 'edgevisor-models',
    configureServer(server) {
      const addresses = () => ({
        http: [...(server.resolvedUrls?.network ?? []), ...(server.resolvedUrls?.local ?? [])].map(
          (url) => new URL(url).origin,
        ),
        https: [],
      });
      server.middlewares.use((request, response, next) => {
        serveData({ models: directory, addresses }, request, response).then((served) => {
          if (!served) next();
        }, next);
      });
    },
  };
}
