import type { Server } from 'node:http';
import type { Plugin } from 'vite';
import { serveData } from '../signaling-server/http-server.ts';
import { attachRooms } from '../signaling-server/rooms.ts';

/** Lets Vite's dev server answer `/models/…`, `/addresses.json` and the WebSockets of rooms and relay as the real server does. */
export function serveDataFrom(directory: string): Plugin {
  return {
    name: 'edgevisor-data',
    async configureServer(server) {
      const addresses = () => ({
        http: [...(server.resolvedUrls?.network ?? []), ...(server.resolvedUrls?.local ?? [])].map(
          (url) => new URL(url).origin,
        ),
        https: [],
      });
      // Vite in middleware mode has no server of its own; then whoever owns it attaches the rooms.
      const rooms = server.httpServer ? await attachRooms([server.httpServer as Server]) : undefined;
      server.httpServer?.once('close', () => void rooms?.close());
      const site = { models: directory, addresses, ...(rooms && { stats: rooms.stats }) };
      server.middlewares.use((request, response, next) => {
        serveData(site, request, response).then((served) => {
          if (!served) next();
        }, next);
      });
    },
  };
}
