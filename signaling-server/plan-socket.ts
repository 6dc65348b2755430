/**
 * The plan socket: a Unix socket on which programs of this user give commands for plans, in EdgeVisor's JSON lines. One
 * connection brings one request line and gets one line back. The rooms' hosts carry the commands out.
 */

import { unlinkSync } from 'node:fs';
import { chmod, lstat, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { MessageError } from '../web/mesh/messages.ts';
import { MAX_LINE_BYTES, parsePlanRequest } from '../web/mesh/plan-request.ts';
import type { PlanRooms } from './plan-requests.ts';

/** How long in ms a connection may take to say what it wants. */
const REQUEST_MS = 10_000;
/** How long in ms an answered client may take to hang up. */
const GOODBYE_MS = 2_000;
const MAX_CONNECTIONS = 64;
/** The system's own limits for a socket's path, without the closing zero. */
const MAX_PATH_BYTES = process.platform === 'linux' ? 107 : 103;
/** Shortest beginning of a room's id that may name it. */
const MIN_ROOM_PREFIX = 4;

/** The socket cannot be opened; `message` says why and what to do. */
export class PlanSocketError extends Error {
  override name = 'PlanSocketError';
}

export interface PlanSocketOptions {
  path: string;
  rooms: PlanRooms;
  /** Gets sentences for a person. */
  log(line: string): void;
  platform?: NodeJS.Platform;
}

export interface PlanSocket {
  /** Stops listening, ends all connections, and removes the socket's file. */
  close(): Promise<void>;
}

/**
 * Listens at `path`, readable and writable by this user alone. A file that a dead server has left there is replaced.
 * Gives undefined on Windows, which has no such sockets, and says so. Rejects with PlanSocketError.
 */
export async function openPlanSocket(options: PlanSocketOptions): Promise<PlanSocket | undefined> {
  const { path, rooms, log, platform = process.platform } = options;
  if (platform === 'win32') {
    log('No plan socket: Windows has none. Plans can be changed in the host page and by window.edgevisor.');
    return undefined;
  }
  if (Buffer.byteLength(path) > MAX_PATH_BYTES)
    throw new PlanSocketError(
      `The plan socket's path is longer than the ${MAX_PATH_BYTES} bytes that the system allows: ${path}`,
    );
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    void serve(socket, rooms);
  });
  server.maxConnections = MAX_CONNECTIONS;
  await removeDead(path);
  await listenPrivately(server, path);
  const remove = () => removeSync(path);
  // Whatever ends the process: a file that stays behind would look like a server.
  process.once('exit', remove);
  log(`Plans can be changed through ${path}: npm run plan -- --socket ${path} status`);
  return {
    async close() {
      process.off('exit', remove);
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Removes a socket's file that nobody listens at. Rejects where a server lives there, or where it is another file. */
async function removeDead(path: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new PlanSocketError(`The plan socket cannot be made at ${path}: ${error.message}.`, { cause: error });
  });
  if (!found) return;
  if (!found.isSocket())
    throw new PlanSocketError(`${path} is there already, and is no socket. Choose another path for the plan socket.`);
  if (await answers(path))
    throw new PlanSocketError(
      `Another server listens on the plan socket ${path} already. Stop it, or choose another --plan-socket.`,
    );
  await unlink(path).catch(() => undefined);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (alive: boolean) => {
      socket.destroy();
      resolve(alive);
    };
    socket.once('connect', () => done(true));
    socket.once('error', (error: NodeJS.ErrnoException) =>
      done(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
}

async function listenPrivately(server: Server, path: string): Promise<void> {
  // The file is made within `listen`: nobody else may connect even before `chmod`.
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, () => resolve());
      process.umask(before);
    });
    await chmod(path, 0o600);
  } catch (error) {
    process.umask(before);
    server.close();
    throw new PlanSocketError(`The plan socket cannot be opened at ${path}: ${(error as Error).message}.`, {
      cause: error,
    });
  }
}

function removeSync(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone already.
  }
}

async function serve(socket: Socket, rooms: PlanRooms): Promise<void> {
  // A client that hangs up before the answer loses the answer, nothing else.
  socket.on('error', () => undefined);
  let reply: string;
  try {
    reply = await answer(await readLine(socket), rooms);
  } catch (error) {
    reply = JSON.stringify({ ok: false, error: (error as Error).message });
  }
  socket.end(`${reply}\n`);
  // Destroyed at once, a client that still writes would get an error instead of the answer.
  const goodbye = setTimeout(() => socket.destroy(), GOODBYE_MS);
  socket.once('close', () => clearTimeout(goodbye));
}

/** The bytes before the first line end, or before the end of what the client says. Rejects in words. */
function readLine(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const timer = setTimeout(() => fail(`no request line has come within ${REQUEST_MS / 1000} s`), REQUEST_MS);
    const stop = () => {
      clearTimeout(timer);
      socket.off('data', take);
      // Whatever follows is read and forgotten: a client that still writes would not get its answer.
      socket.resume();
    };
    const fail = (problem: string) => {
      stop();
      reject(new Error(problem));
    };
    const finish = () => {
      stop();
      resolve(Buffer.concat(chunks));
    };
    const take = (chunk: Buffer) => {
      const end = chunk.indexOf('\n');
      const part = end < 0 ? chunk : chunk.subarray(0, end);
      chunks.push(part);
      length += part.length;
      if (length > MAX_LINE_BYTES) fail(`the request line is longer than ${MAX_LINE_BYTES} bytes`);
      else if (end >= 0) finish();
    };
    socket.on('data', take);
    socket.once('end', finish);
    socket.once('close', () => fail('the client has hung up'));
  });
}

async function answer(line: Buffer, rooms: PlanRooms): Promise<string> {
  const value = parse(line);
  const request = parsePlanRequest(value);
  // Whoever asks whether the server lives does not ask about a room.
  if (request.op === 'ping') return JSON.stringify({ ok: true });
  const reply = await rooms.ask(
    chooseRoom((value as { room?: unknown }).room, rooms.hosted()),
    JSON.stringify(request),
  );
  try {
    // On one line, whatever the page wrote.
    return JSON.stringify(JSON.parse(reply));
  } catch {
    throw new Error("The host's page has answered something that is not JSON.");
  }
}

function parse(line: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
  } catch {
    throw new MessageError('the request is not JSON');
  }
}

/** The only room, or the one that the request names by its id or the beginning of it. */
function chooseRoom(wanted: unknown, hosted: string[]): string {
  if (hosted.length === 0)
    throw new Error('No room has a host at this server. Open the host page and its room, and load a model.');
  const list = hosted.join(', ');
  if (wanted === undefined) {
    if (hosted.length === 1) return hosted[0] as string;
    throw new Error(`This server has ${hosted.length} rooms: say which with "room" (${list}).`);
  }
  if (typeof wanted !== 'string' || wanted.length < MIN_ROOM_PREFIX)
    throw new Error(`"room" must be a room's id or at least its first ${MIN_ROOM_PREFIX} characters.`);
  const fitting = hosted.filter((room) => room.startsWith(wanted));
  if (fitting.length === 1) return fitting[0] as string;
  throw new Error(
    fitting.length === 0
      ? `No room here is called ${wanted}; there is ${list}.`
      : `Several rooms begin with ${wanted}: ${fitting.join(', ')}.`,
  );
}
