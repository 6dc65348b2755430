import { existsSync } from 'node:fs';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { hostNames, networkAddresses } from './addresses.ts';
import { loadCertificate } from './certificate.ts';
import { type Addresses, createHttpServer, listen, type Site } from './http-server.ts';
import { linksOutOf } from './model-files.ts';
import { parseServerOptions, type ServerOptions, USAGE, UsageError } from './options.ts';
import type { PlanRooms } from './plan-requests.ts';
import { openPlanSocket, type PlanSocket, PlanSocketError } from './plan-socket.ts';
import { attachRooms } from './rooms.ts';
import { welcome } from './welcome.ts';

/** The server cannot start; `message` says why and what to do. */
export class StartError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StartError';
  }
}

export interface RunningServer {
  addresses: Addresses;
  /** Stops listening and drops every connection. */
  close(): Promise<void>;
}

/**
 * Starts http on `options.port` and https on the next one; without https where its port is taken. `log` gets sentences
 * for a person. Rejects with StartError.
 */
export async function startServer(options: ServerOptions, log: (line: string) => void): Promise<RunningServer> {
  if (!existsSync(join(options.pages, 'host.html')))
    throw new StartError(`There are no built pages in ${options.pages}. "npm run build" makes them.`);
  if (!existsSync(options.models)) throw new StartError(`There is no directory ${options.models} to take models from.`);
  for (const name of await linksOutOf(options.models))
    log(`${name} is a link to a place outside ${options.models}, so it is not served. Copy the file there instead.`);

  const network = networkAddresses();
  const addresses: Addresses = { http: [], https: [] };
  const site: Site = {
    pages: options.pages,
    models: options.models,
    addresses: () => addresses,
    stats: () => rooms.stats(),
  };
  const origins = (scheme: string, port: number) =>
    [...network, 'localhost'].map((host) => `${scheme}://${host}:${port}`);

  const http = createHttpServer(site);
  const https = createHttpServer(site, await loadCertificate(options.certificate, hostNames(), network));
  const rooms = await openRooms([http, https], options, log);
  const port = await listenOrExplain(http, options.port).catch(async (error: unknown) => {
    await rooms.close();
    throw error;
  });
  addresses.http = origins('http', port);
  const planSocket = await openPlan(options, rooms.plan, log).catch(async (error: unknown) => {
    await rooms.close();
    await closeAll([http]);
    throw error;
  });
  try {
    addresses.https = origins('https', await listen(https, options.port === 0 ? 0 : port + 1));
  } catch (error) {
    log(`No https: port ${port + 1} cannot be used (${reason(error)}). Other devices will be slow: their browsers`);
    log('allow WebGPU and threads only over https. Free that port, or start with another --port.');
  }
  const close = async () => {
    await planSocket?.close();
    await rooms.close();
    await closeAll(addresses.https.length > 0 ? [http, https] : [http]);
  };
  return { addresses, close };
}

async function openRooms(servers: Server[], options: ServerOptions, log: (line: string) => void) {
  const { iceServers, redisUrl } = options;
  try {
    return await attachRooms(servers, { iceServers, log, ...(redisUrl && { redisUrl }) });
  } catch (error) {
    const advice = 'Start Redis, or unset REDIS_URL: one server process needs none.';
    throw new StartError(`Rooms cannot be shared through REDIS_URL (${reason(error)}). ${advice}`, { cause: error });
  }
}

async function openPlan(
  { planSocket: path }: ServerOptions,
  rooms: PlanRooms,
  log: (line: string) => void,
): Promise<PlanSocket | undefined> {
  if (!path) return undefined;
  try {
    return await openPlanSocket({ path, rooms, log });
  } catch (error) {
    if (error instanceof PlanSocketError) throw new StartError(error.message, { cause: error });
    throw error;
  }
}

async function listenOrExplain(server: Server, port: number): Promise<number> {
  try {
    return await listen(server, port);
  } catch (error) {
    const advice = `Stop what uses it, or choose another port: npm start -- --port ${port + 10}`;
    throw new StartError(`Port ${port} cannot be used (${reason(error)}). ${advice}`, { cause: error });
  }
}

function reason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE') return 'another program listens there';
  if (code === 'EACCES') return 'this user may not listen there';
  return error instanceof Error ? error.message : String(error);
}

async function closeAll(servers: Server[]): Promise<void> {
  await Promise.all(
    servers.map((server) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      return closed;
    }),
  );
}

/**
 * Starts the server for a person at a terminal: prints the addresses, then `ready http://localhost:PORT/host.html` as a
 * line of its own, and runs until Ctrl-C or SIGTERM.
 */
export async function serve(options: ServerOptions): Promise<void> {
  const server = await startServer(options, console.log);
  console.log(await welcome(server.addresses));
  console.log(`ready ${server.addresses.http.at(-1)}/host.html`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => void server.close().then(() => process.exit(0)));
}

async function main(): Promise<void> {
  const options = parseServerOptions(process.argv.slice(2), process.env);
  if (options === 'help') console.log(USAGE);
  else await serve(options);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href)
  main().catch((error: unknown) => {
    console.error(error instanceof StartError || error instanceof UsageError ? error.message : error);
    process.exitCode = 1;
  });
