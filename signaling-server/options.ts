import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { IceServer } from '../web/mesh/messages.ts';
import { parseIceServers } from './rooms-ice.ts';

const fromRoot = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));

export const DEFAULT_PORT = 8080;
export const DEFAULT_MODELS_DIR = fromRoot('models');

/** Where the server listens and what it serves. */
export interface ServerOptions {
  /** Port of plain http; https is one above. 0 takes any two free ports. */
  port: number;
  /** Directory with the model files. */
  models: string;
  /** Directory with the built pages. */
  pages: string;
  /** Directory that keeps the https certificate between starts. */
  certificate: string;
  /** STUN and TURN servers for the pages (environment: ICE_SERVERS). */
  iceServers: IceServer[];
  /** Shares rooms with the other server processes at this Redis (environment: REDIS_URL). */
  redisUrl?: string;
  /** Path of a Unix socket that takes commands for plans. Off where it is not given. */
  planSocket?: string;
}

/** The command line cannot be understood; `message` says why and how it is used. */
export class UsageError extends Error {
  constructor(problem: string) {
    super(`${problem}\n\n${USAGE}`);
    this.name = 'UsageError';
  }
}

export const USAGE = `Usage: npm start -- [--port N] [--models DIR]

  --port N          port of http, https is N + 1 (default ${DEFAULT_PORT}; environment: PORT)
  --models DIR      directory with .gguf files, or .m with .t (default models/; environment: MODELS_DIR)
  --pages DIR       directory with the built pages (default dist/)
  --certificate DIR directory that keeps the https certificate (default .certificate/)
  --plan-socket PATH
                    Unix socket that takes commands for plans, off by default (environment: EDGEVISOR_PLAN_SOCKET)
  --help            print this text

Further environment:
  ICE_SERVERS       STUN and TURN servers for the links between devices: stun:HOST:PORT, …, or JSON (default none)
  REDIS_URL         redis://… through which several server processes share their rooms (default: one process alone)`;

const HIGHEST_PORT = 65_534; // https takes the next one

function parsePort(text: string, origin: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > HIGHEST_PORT)
    throw new UsageError(`${origin} must be a number from 0 to ${HIGHEST_PORT}, but it is "${text}".`);
  return port;
}

/**
 * Reads the flags, then the environment, then the defaults; relative directories count from the working directory.
 * Gives `help` where the usage was asked for. Throws UsageError.
 */
export function parseServerOptions(argv: string[], env: NodeJS.ProcessEnv): ServerOptions | 'help' {
  const flags = readFlags(argv);
  if (flags.help) return 'help';
  const port =
    flags.port !== undefined ? parsePort(flags.port, '--port') : env.PORT ? parsePort(env.PORT, 'PORT') : DEFAULT_PORT;
  const planSocket = flags['plan-socket'] ?? env.EDGEVISOR_PLAN_SOCKET;
  return {
    port,
    models: resolve(flags.models ?? (env.MODELS_DIR || DEFAULT_MODELS_DIR)),
    pages: resolve(flags.pages ?? fromRoot('dist')),
    certificate: resolve(flags.certificate ?? fromRoot('.certificate')),
    iceServers: readIceServers(env.ICE_SERVERS),
    ...(env.REDIS_URL && { redisUrl: env.REDIS_URL }),
    ...(planSocket && { planSocket: resolve(planSocket) }),
  };
}

function readIceServers(text: string | undefined): IceServer[] {
  try {
    return parseIceServers(text);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function readFlags(argv: string[]) {
  try {
    return parseArgs({
      args: argv,
      options: {
        port: { type: 'string' },
        models: { type: 'string' },
        pages: { type: 'string' },
        certificate: { type: 'string' },
        'plan-socket': { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
