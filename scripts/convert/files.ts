/** Files on disk: a model's bytes by ranges, and a file that appears only when it is whole. */
import { existsSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { checkRange, joinSources, splitName, splitSiblings } from '../../web/model/sources.ts';
import { type ByteSource, ModelError } from '../../web/model/types.ts';
import { progressLine } from '../progress.ts';

/** Runs `work` with the source of a file, of all parts of a split GGUF model together. Rejects with ModelError `network`. */
export async function withSource<T>(path: string, work: (source: ByteSource) => Promise<T>): Promise<T> {
  const split = splitName(basename(path));
  const paths = split ? splitSiblings(split).map((name) => join(dirname(path), name)) : [path];
  const handles: FileHandle[] = [];
  try {
    for (const each of paths) {
      if (!existsSync(each)) throw new ModelError('network', `There is no file ${each}.`);
      handles.push(await open(each, 'r'));
    }
    const sources = await Promise.all(handles.map((handle, i) => handleSource(handle, basename(paths[i]!))));
    return await work(sources.length === 1 ? sources[0]! : joinSources(sources));
  } finally {
    await Promise.all(handles.map((handle) => handle.close()));
  }
}

async function handleSource(handle: FileHandle, name: string): Promise<ByteSource> {
  const { size } = await handle.stat();
  const source: ByteSource = {
    ...{ name, size },
    async read(from, to) {
      checkRange(source, from, to);
      const bytes = new Uint8Array(to - from);
      for (let filled = 0; filled < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, from + filled);
        if (bytesRead === 0) throw new ModelError('truncated', `${name} became shorter while it was read.`);
        filled += bytesRead;
      }
      return bytes;
    },
  };
  return source;
}

/** Writes a file chunk by chunk, with a line that says how far it is; under its name it is there only when it is whole. */
export async function writeWhole(
  path: string,
  bytes: number,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<void> {
  const part = `${path}.part`;
  const progress = progressLine(`Writing ${basename(path)}`, bytes);
  const handle = await open(part, 'w');
  try {
    let written = 0;
    for await (const chunk of chunks) {
      await handle.writeFile(chunk);
      written += chunk.length;
      progress.update(written);
    }
    if (written !== bytes) throw new Error(`${written} bytes of ${basename(path)} came out instead of ${bytes}.`);
    await handle.sync();
    progress.done();
  } catch (error) {
    await handle.close();
    await rm(part, { force: true });
    throw error;
  }
  await handle.close();
  await rename(part, path);
}
