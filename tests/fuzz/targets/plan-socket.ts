import { mkdtempSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { openPlanSocket } from '../../../signaling-server/plan-socket.ts';
import { parsePlanRequest } from '../../../web/mesh/plan-request.ts';
import { nearly } from '../nearly.ts';
import { check, target } from '../target.ts';

const move = { fromNodeIndex: 0, toNodeIndex: 1, cmdKind: 1, headMove: 1, ffnMove: 32 };
const requests = [
  { op: 'ping' },
  { op: 'status', room: 'abcd' },
  { op: 'layer_prof', layerIndex: 0, stageIndex: 0, path: 'x' },
  {
    op: 'set_plan',
    cmd: {
      seq: 1,
      mode: 'exact',
      triggerPos: 1,
      triggerLayer: 2,
      stageIndex: 0,
      ...move,
      nHeadsToMove: 1,
      nFfnToMove: 32,
    },
  },
  { op: 'set_plan', cmd: { seq: 1, moves: [move, move] } },
  { op: 'set_pp_migration', cmd: { seq: 2, fromNodeIndex: 0, toNodeIndex: 1, layerCount: 1 } },
  { op: 'clear' },
];
const line = fc.oneof(
  { weight: 9, arbitrary: nearly(requests).map((value) => new TextEncoder().encode(`${JSON.stringify(value)}\n`)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
  { weight: 1, arbitrary: fc.string().map((text) => new TextEncoder().encode(text)) },
);

export async function make() {
  // A thread may not change it; who may use the socket is not what is tested here.
  process.umask = () => 0o177;
  const path = join(mkdtempSync(join(tmpdir(), 'fuzz-')), 'plan.sock');
  await openPlanSocket({
    path,
    rooms: {
      hosted: () => ['abcd1234'],
      async ask(room, request) {
        check(room === 'abcd1234', `asked of the room ${room}`);
        // What reaches a host is right, and complete.
        parsePlanRequest(JSON.parse(request));
        return '{"ok":true}';
      },
    },
    log: () => undefined,
  });
  return target({
    cases: line,
    async run(bytes) {
      const said = await say(path, bytes);
      check(said.endsWith('\n') && said.indexOf('\n') === said.length - 1, `not one line: ${said}`);
      const reply = JSON.parse(said) as { ok: unknown; error?: unknown };
      check(reply.ok === true || (reply.ok === false && typeof reply.error === 'string' && reply.error !== ''), said);
    },
  });
}

function say(path: string, bytes: Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    const client = connect(path, () => client.end(bytes));
    client.on('data', (data) => {
      said += String(data);
    });
    client.once('error', reject);
    client.once('close', () => resolve(said));
  });
}
