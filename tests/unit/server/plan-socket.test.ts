import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect as connectTo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openPlanSocket, type PlanSocket, PlanSocketError } from '../../../signaling-server/plan-socket.ts';
import { MAX_LINE_BYTES } from '../../../web/mesh/plan-request.ts';
import { host, join as joinRoom, newRoom, type Page, startRooms, type TestRooms, until } from '../rooms/page.ts';

const hasPython = spawnSync('python3', ['--version']).status === 0;

let folder: string;
let path: string;
let rooms: TestRooms;
let socket: PlanSocket | undefined;
const log: string[] = [];
const pages: Page[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'plan-'));
  path = join(folder, 'plan.sock');
  rooms = await startRooms({ limits: { planReplyMs: 300 } });
  log.length = 0;
});

afterEach(async () => {
  for (const page of pages.splice(0)) page.leave();
  await socket?.close();
  socket = undefined;
  await rooms.close();
  rmSync(folder, { recursive: true });
});

const open = async () => {
  socket = await openPlanSocket({ path, rooms: rooms.plan, log: (line) => log.push(line) });
};

/** A room whose host answers every request with what `reply` makes of it. */
async function hosted(reply: (request: string) => unknown) {
  const room = newRoom();
  const { page } = await host(rooms.port, room);
  pages.push(page);
  page.socket.on('message', (data) => {
    const message = JSON.parse(String(data));
    if (message.type !== 'plan') return;
    const answer = reply(message.request);
    if (answer === undefined) return;
    page.say({ type: 'plan-reply', id: message.id, text: JSON.stringify(answer), last: true });
  });
  return { ...room, page };
}

/** What the socket says to these bytes; `end` says goodbye after them. */
function say(bytes: string | Buffer, end = false): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    const client = connectTo(path, () => (end ? client.end(bytes) : client.write(bytes)));
    client.on('data', (data) => {
      said += String(data);
    });
    client.once('error', reject);
    client.once('close', () => resolve(said));
  });
}

async function ask(request: unknown) {
  const said = await say(`${JSON.stringify(request)}\n`);
  expect(said.endsWith('\n')).toBe(true);
  expect(said.indexOf('\n')).toBe(said.length - 1);
  return JSON.parse(said);
}

describe('the socket', () => {
  test('is private, says where it is, and goes with the server', async () => {
    await open();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(log[0]).toContain(path);
    await socket?.close();
    socket = undefined;
    expect(existsSync(path)).toBe(false);
  });

  test('takes the place of a dead server, but not of a live one', async () => {
    const script = `const {createServer} = require('net'); createServer().listen(${JSON.stringify(path)}, () => console.log('on'))`;
    const child = spawn(process.execPath, ['-e', script]);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await expect(open()).rejects.toThrow(/Another server listens/);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    expect(existsSync(path)).toBe(true);
    await open();
    expect(await ask({ op: 'ping' })).toEqual({ ok: true });
  });

  test('leaves other files alone', async () => {
    writeFileSync(path, 'precious');
    await expect(open()).rejects.toThrow(PlanSocketError);
    path = join(folder, 'missing', 'plan.sock');
    await expect(open()).rejects.toThrow(/cannot be opened/);
    path = join(folder, 'x'.repeat(120));
    await expect(open()).rejects.toThrow(/longer than/);
  });

  test('is not there on Windows', async () => {
    const made = await openPlanSocket({ path, rooms: rooms.plan, log: (line) => log.push(line), platform: 'win32' });
    expect(made).toBeUndefined();
    expect(log).toEqual([expect.stringContaining('Windows')]);
  });

  test('is removed when its process ends by itself', async () => {
    const module = new URL('../../../signaling-server/plan-socket.ts', import.meta.url).href;
    const script = `import(${JSON.stringify(module)}).then(async ({openPlanSocket}) => {
      await openPlanSocket({ path: ${JSON.stringify(path)}, rooms: {}, log() {} });
      console.log('on'); setTimeout(() => { throw new Error('a fault') }, 50);
    })`;
    const child = spawn(process.execPath, ['--import', 'tsx', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    const ended = new Promise((resolve) => child.once('close', resolve));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(existsSync(path)).toBe(true);
    await ended;
    expect(existsSync(path)).toBe(false);
  });
});

describe('requests', () => {
  test('reach the host of the only room with their defaults, and its answer comes back on one line', async () => {
    await open();
    const seen: string[] = [];
    await hosted((request) => {
      seen.push(request);
      return { ok: true, text: 'two\nlines' };
    });
    expect(await ask({ op: 'set_plan', cmd: { seq: 7, moves: [{ cmdKind: 1 }] }, more: 1 })).toEqual({
      ok: true,
      text: 'two\nlines',
    });
    expect(JSON.parse(seen[0])).toEqual({
      op: 'set_plan',
      cmd: {
        ...{ seq: 7, mode: 'next_barrier', stageIndex: 0, fromNodeIndex: 0, toNodeIndex: 1 },
        ...{ cmdKind: 3, nHeadsToMove: 1, nFfnToMove: 256 },
        moves: [{ fromNodeIndex: 0, toNodeIndex: 1, cmdKind: 1, headMove: 1, ffnMove: 256 }],
      },
    });
  });

  test('name the room where there are several, by the beginning of its id', async () => {
    await open();
    const one = await hosted(() => ({ ok: true, who: 'one' }));
    const two = await hosted(() => ({ ok: true, who: 'two' }));
    const { error } = await ask({ op: 'status' });
    expect(error).toContain('2 rooms');
    expect(error).toContain(one.id);
    expect(await ask({ op: 'status', room: two.id })).toEqual({ ok: true, who: 'two' });
    expect(await ask({ op: 'status', room: one.id.slice(0, 8) })).toEqual({ ok: true, who: 'one' });
    expect((await ask({ op: 'status', room: 'f00f' })).error).toMatch(/No room here/);
    expect((await ask({ op: 'status', room: 3 })).error).toMatch(/room's id/);
  });

  test('get an error in words without a host, with a silent one, and after it has left', async () => {
    await open();
    expect(await ask({ op: 'status' })).toEqual({ ok: false, error: expect.stringContaining('No room has a host') });
    const { page } = await hosted(() => undefined);
    expect((await ask({ op: 'status' })).error).toMatch(/has not answered for 0.3 s/);
    page.leave();
    await until(() => rooms.plan.hosted().length === 0);
    expect((await ask({ op: 'status' })).error).toContain('No room has a host');
  });

  test('are answered by their own room only, and only by its host', async () => {
    await open();
    const mine = await hosted(() => undefined);
    const other = await hosted(() => undefined);
    const answer = ask({ op: 'status', room: mine.id });
    const { id } = await mine.page.hear('plan');
    other.page.say({ type: 'plan-reply', id, text: '{"ok":"forged"}', last: true });
    const { page: guest } = await joinRoom(rooms.port, mine);
    pages.push(guest);
    guest.say({ type: 'plan-reply', id, text: '{"ok":"forged"}', last: true });
    expect(await guest.closed).toBe(4000);
    mine.page.say({ type: 'plan-reply', id, text: '{"ok":', last: false });
    mine.page.say({ type: 'plan-reply', id, text: '"true"}', last: true });
    expect(await answer).toEqual({ ok: 'true' });
  });

  test.each([
    ['{"op":', /not JSON/],
    ['[1]', /no JSON object/],
    ['3', /no JSON object/],
    ['{"op":"fly"}', /^unknown op$/],
    ['{}', /^unknown op$/],
    ['{"op":"set_plan"}', /cmd is missing/],
    ['{"op":"set_plan","cmd":{}}', /cmd.seq is missing/],
    ['{"op":"set_plan","cmd":{"seq":-1}}', /cmd.seq is below 0/],
    ['{"op":"set_plan","cmd":{"seq":1.5}}', /cmd.seq is no whole number/],
    ['{"op":"set_plan","cmd":{"seq":1,"mode":"never"}}', /cmd.mode is none of/],
    ['{"op":"set_plan","cmd":{"seq":1,"cmdKind":4}}', /cmd.cmdKind is none of/],
    [`{"op":"set_plan","cmd":{"seq":1,"moves":[${Array(65).fill('{}').join()}]}}`, /cmd.moves has more than 64/],
    ['{"op":"layer_prof"}', /layer_prof needs layerIndex or all/],
    [Buffer.from([0xff, 0xfe, 0x0a]), /not JSON/],
    ['', /not JSON/],
  ])('%s is answered with an error in words', async (line, error) => {
    await open();
    const said = JSON.parse(await say(typeof line === 'string' ? `${line}\n` : line));
    expect(said).toEqual({ ok: false, error: expect.stringMatching(error) });
  });

  test('may end without a line end, and are cut off when they are too long', async () => {
    await open();
    expect(JSON.parse(await say('{"op":"ping"}', true))).toEqual({ ok: true });
    const padded = `{"op":"ping","x":"${'x'.repeat(MAX_LINE_BYTES - 20)}"}`;
    expect(padded.length).toBe(MAX_LINE_BYTES);
    expect(JSON.parse(await say(`${padded}\n`))).toEqual({ ok: true });
    expect(JSON.parse(await say(`${padded} \n`)).error).toMatch(/longer than 262144 bytes/);
    expect(JSON.parse(await say('x'.repeat(2 * MAX_LINE_BYTES))).error).toMatch(/longer than 262144 bytes/);
  });

  test('of many clients at once are answered each by its own', async () => {
    await open();
    await hosted((request) => ({ ok: true, layer: JSON.parse(request).layerIndex }));
    const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => ask({ op: 'layer_prof', layerIndex: i })));
    expect(answers.map(({ layer }) => layer)).toEqual(answers.map((_, i) => i));
  });
});

test('a port that is free again after the socket was closed', async () => {
  await open();
  await socket?.close();
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(path, resolve));
  await expect(open()).rejects.toThrow(/Another server/);
  await new Promise((resolve) => other.close(resolve));
});

test.skipIf(!hasPython)("EdgeVisor's way to ask from Python works as it is", async () => {
  await open();
  await hosted((request) => ({ ok: true, cacheSeq: 1, cmd: JSON.parse(request).cmd }));
  const client = `
import json, socket, sys
def send(path, request):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(5.0)
    s.connect(path)
    s.sendall((json.dumps(request) + "\\n").encode("utf-8"))
    data = b""
    while not data.endswith(b"\\n"):
        chunk = s.recv(65536)
        if not chunk:
            break
        data += chunk
    s.close()
    return json.loads(data.decode("utf-8"))
for line in sys.stdin:
    print(json.dumps(send(sys.argv[1], json.loads(line))), flush=True)
`;
  const requests = [
    { op: 'ping' },
    {
      op: 'set_plan',
      cmd: {
        ...{ seq: 601, mode: 'next_barrier', stageIndex: 0, fromNodeIndex: 1, toNodeIndex: 2 },
        ...{ cmdKind: 1, nHeadsToMove: 1, nFfnToMove: 0 },
      },
    },
    { op: 'nonsense' },
  ];
  const child = spawn('python3', ['-c', client, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(requests.map((request) => JSON.stringify(request)).join('\n'));
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk);
  const [ping, plan, nonsense] = Buffer.concat(chunks)
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(ping).toEqual({ ok: true });
  expect(plan).toEqual({ ok: true, cacheSeq: 1, cmd: requests[1].cmd });
  expect(nonsense).toEqual({ ok: false, error: 'unknown op' });
});
