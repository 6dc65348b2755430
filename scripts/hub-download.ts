import { createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { progressLine } from './progress.ts';

const ATTEMPTS = 5;
const FIRST_PAUSE = 500; // milliseconds, doubled after every failed attempt

/**
 * Downloads `url` to `part`, going on where an earlier try stopped (also one of an earlier process). A broken connection
 * is tried again a few times. The content is not checked here. Rejects with the last failure.
 */
export async function download(url: string, part: string, bytes: number): Promise<void> {
  const progress = progressLine('Downloading', bytes);
  try {
    for (let attempt = 1; ; attempt++)
      try {
        await downloadRest(url, part, bytes, progress.update);
        return;
      } catch (error) {
        if (attempt === ATTEMPTS || error instanceof Refused) throw error;
        await delay(FIRST_PAUSE * 2 ** (attempt - 1));
      }
  } finally {
    progress.done();
  }
}

/** The hub answered, but not with the file: another try would get the same. */
class Refused extends Error {}

async function downloadRest(url: string, part: string, bytes: number, update: (bytes: number) => void): Promise<void> {
  const had = await stat(part).then(
    ({ size }) => size,
    () => 0,
  );
  if (had >= bytes) return;
  const response = await fetch(url, { headers: had > 0 ? { Range: `bytes=${had}-` } : {} });
  if (response.status >= 500) throw new Error(`the hub is in trouble: it answered ${response.status}`);
  if (!response.ok || !response.body) throw new Refused(`the hub answered ${response.status} ${response.statusText}`);
  const goesOn = response.status === 206 && response.headers.get('content-range')?.startsWith(`bytes ${had}-`);
  let have = goesOn ? had : 0;
  await pipeline(
    response.body,
    async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        have += chunk.length;
        update(have);
        yield chunk;
      }
    },
    createWriteStream(part, { flags: goesOn ? 'a' : 'w' }),
  );
  if (have < bytes) throw new Error(`the connection ended after ${have} of ${bytes} bytes`);
}
