import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { listModels, type OpenModel, openModel } from './model-files.ts';
import { parseRange } from './ranges.ts';
import { bytesOf, parseStrided, readStrided } from './strided.ts';

const PREFIX = '/models/';
const BASE = 'http://server';
const STRIDED_SUFFIX = '/strided';
/** Bytes that wait in memory for a slow client. */
const READ_AHEAD = 256 * 1024;

/**
 * Answers `/models/` (list), `/models/NAME` (the file, whole or one range of it) and `/models/NAME/strided` (pieces at
 * even distances). Gives false where the address is none of these, and true once the answer is sent or the client gone.
 */
export async function serveModels(
  directory: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  const address = request.url ?? '/';
  // Nobody but a program that tries things asks for an address that is none, such as `//`.
  if (!URL.canParse(address, BASE)) return false;
  const url = new URL(address, BASE);
  if (!url.pathname.startsWith(PREFIX)) return false;
  // Shards are kept by the pages themselves; a second copy in the browser's cache would only take room.
  response.setHeader('Cache-Control', 'no-store');
  if (url.pathname === PREFIX) {
    sendJson(request, response, await listModels(directory));
    return true;
  }
  const strided = url.pathname.endsWith(STRIDED_SUFFIX);
  const name = decodeName(url.pathname.slice(PREFIX.length, strided ? -STRIDED_SUFFIX.length : undefined));
  const model = name === undefined ? undefined : await openModel(directory, name);
  if (!model) {
    sendText(response, 404, `There is no model of this name here. ${PREFIX} lists those there are.`);
    return true;
  }
  try {
    if (strided) await sendStrided(model, url.searchParams, request, response);
    else await sendFile(model, request, response);
  } catch (error) {
    // A client that goes away in the middle is everyday life; anything else is worth a line.
    if (!response.destroyed) console.error(`Reading ${name} failed:`, error);
    response.destroy();
  } finally {
    await model.handle.close();
  }
  return true;
}

function decodeName(encoded: string): string | undefined {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
}

async function sendFile(model: OpenModel, request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.setHeader('Accept-Ranges', 'bytes');
  response.setHeader('ETag', model.etag);
  response.setHeader('Content-Type', 'application/octet-stream');
  // A client that holds parts of an older file must not get parts of the newer one: it gets the whole.
  const stale = request.headers['if-range'] !== undefined && request.headers['if-range'] !== model.etag;
  const range = stale ? 'whole' : parseRange(request.headers.range, model.size);
  if (range === 'unsatisfiable') {
    response.setHeader('Content-Range', `bytes */${model.size}`);
    sendText(response, 416, `The file has ${model.size} bytes.`);
    return;
  }
  const { first, last } = range === 'whole' ? { first: 0, last: model.size - 1 } : range;
  if (range !== 'whole') response.setHeader('Content-Range', `bytes ${first}-${last}/${model.size}`);
  response.setHeader('Content-Length', last - first + 1);
  response.statusCode = range === 'whole' ? 200 : 206;
  if (request.method === 'HEAD' || model.size === 0) response.end();
  else
    await pipeline(
      model.handle.createReadStream({ start: first, end: last, highWaterMark: READ_AHEAD, autoClose: false }),
      response,
    );
}

async function sendStrided(
  model: OpenModel,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const strided = parseStrided(query, model.size);
  if (typeof strided === 'string') {
    sendText(response, 400, strided);
    return;
  }
  response.setHeader('ETag', model.etag);
  response.setHeader('Content-Type', 'application/octet-stream');
  response.setHeader('Content-Length', bytesOf(strided));
  if (request.method === 'HEAD') response.end();
  else await pipeline(Readable.from(readStrided(model.handle, strided), { highWaterMark: 1 }), response);
}

/** Sends a value as JSON. */
export function sendJson(request: IncomingMessage, response: ServerResponse, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  response.setHeader('Content-Type', 'application/json; charset=utf-8');
  response.setHeader('Content-Length', body.length);
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** Sends a sentence for a person. */
export function sendText(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status;
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.end(`${text}\n`);
}
