import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';

/** What a file must be. */
export interface ExpectedFile {
  name: string;
  bytes: number;
  /** Hex. */
  sha256: string;
}

/**
 * Whether the file is there and is the right one. Its checksum is taken once; a note beside it remembers that, and counts
 * until the file's size or time changes.
 */
export async function isVerified(path: string, expected: ExpectedFile): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found?.size !== expected.bytes) return false;
  const mark = `${expected.sha256} ${found.size} ${found.mtimeMs}`;
  const note = notePath(path);
  if ((await readFile(note, 'utf8').catch(() => '')) === mark) return true;
  if ((await sha256Of(path)) !== expected.sha256) return false;
  await writeFile(note, mark);
  return true;
}

const notePath = (path: string) => join(dirname(path), `.${basename(path)}.checked`);

/**
 * Gives a whole file its final name. Its bytes are on the disk before the name is, so that even a power cut leaves either
 * the right file or none. Throws where it is not what is expected, and then removes it, so that the next try starts clean.
 */
export async function promote(part: string, path: string, expected: ExpectedFile): Promise<void> {
  const { size } = await stat(part);
  const right = size === expected.bytes && (await sha256Of(part)) === expected.sha256;
  if (!right) {
    await rm(part);
    throw new Error(`it is not the right file: its size (${size} bytes) or its checksum differs from what is expected`);
  }
  const handle = await open(part, 'r+');
  await handle.sync();
  await handle.close();
  await rename(part, path);
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

const LOCK_POLL = 500; // milliseconds
const LOCK_REFRESH = 2_000; // milliseconds
/** A lock that was not refreshed for so long has no owner any more, even if its process number is in use again. */
const LOCK_TIMEOUT = 15_000; // milliseconds

/**
 * Runs `action` while no other process runs one under the same lock file; `waiting` is called once if it has to wait.
 * A lock whose owner is gone does not count.
 */
export async function withLock<T>(path: string, waiting: () => void, action: () => Promise<T>): Promise<T> {
  for (let waited = false; !(await takeLock(path)); waited = true) {
    if (!waited) waiting();
    await delay(LOCK_POLL);
  }
  const refresh = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => undefined), LOCK_REFRESH);
  try {
    return await action();
  } finally {
    clearInterval(refresh);
    await rm(path, { force: true });
  }
}

async function takeLock(path: string): Promise<boolean> {
  try {
    await writeFile(path, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    if (await isAbandoned(path)) await rm(path, { force: true });
    return false;
  }
}

async function isAbandoned(path: string): Promise<boolean> {
  try {
    const [owner, { mtimeMs }] = [Number(await readFile(path, 'utf8')), await stat(path)];
    return Date.now() - mtimeMs > LOCK_TIMEOUT || (owner > 0 && !isRunning(owner));
  } catch {
    return false; // released meanwhile
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
