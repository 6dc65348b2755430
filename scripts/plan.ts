/** `npm run plan`: gives a command to a server's plan socket and prints its answer. See `--help`. */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { type Edge, type LayerRow, rebalance } from './plan-watch.ts';

export const USAGE = `Usage: npm run plan -- [COMMAND] [FLAGS]

Moves, while text is generated or not (the default command, set_plan):
  --from A --to B       nodes, counted over all stages from 0
  --kind K              1 heads, 2 FFN columns, 3 both (also --kind1, --kind2, --kind3; default 3)
  --heads N --ffn N     how many KV heads (default 1) and FFN columns (default 256, a multiple of 32)
  --move FROM,TO[,KIND[,HEADS[,FFN]]]
                        instead of the above; may be given several times, and all happen or none
  --layers N            moves layers between neighbouring stages instead (set_pp_migration)
  --stage S             must hold both nodes (default: whichever does)
  --exact POS,LAYER     takes over before this layer of the token at this position; without, as soon as it can
  --mode M              next_barrier (default), next, or exact with --exact
  --seq N               number of the command, above the last one (default: the next)
  --wait                waits until the move is committed, and fails where it is not

Other commands:
  status | perf | ping | clear
  layer_prof            times of every layer; --layer N for one, --stage S for one stage
  watch                 moves a share from the slowest to the fastest node of a stage, again and again
                        --stage S, --layer N (default: all layers together), --kind K (default 2), --heads N, --ffn N
                        --threshold T   fastest below this part of slowest (default 0.7)
                        --interval MS   between two looks (default 2000), --times N moves at most

Always:
  --socket PATH         the server's --plan-socket (environment: EDGEVISOR_PLAN_SOCKET)
  --room ID             the room, where the server has several: its id or the beginning of it`;

/** The command cannot be given; `message` says why and what to do. */
export class PlanError extends Error {
  override name = 'PlanError';
}

type Json = Record<string, unknown>;

/** EdgeVisor's "whichever stage holds both nodes". */
const ANY_STAGE = 0xffffffff;
const TIMEOUT_MS = 30_000;
const POLL_MS = 200;
/** States after which a move changes no more. */
const FINAL = new Set(['committed', 'refused', 'cancelled', 'failed']);
const OPS = ['set_plan', 'set_pp_migration', 'status', 'perf', 'ping', 'clear', 'layer_prof', 'watch'] as const;
type Command = (typeof OPS)[number];

/** Sends one request to a plan socket and resolves with the answer. Rejects with PlanError. */
export async function send(path: string, request: Json): Promise<Json> {
  const answer = await sendLine(path, JSON.stringify(request));
  try {
    return JSON.parse(answer) as Json;
  } catch {
    throw new PlanError(`${path} did not answer with JSON. Is it EdgeVisor's plan socket?`);
  }
}

/** As `send`, with the line and the answer as they are. */
export function sendLine(path: string, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(path, () => socket.write(`${line}\n`));
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error(`no answer for ${TIMEOUT_MS / 1000} s`)));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.once('error', (error: NodeJS.ErrnoException) => reject(new PlanError(explain(path, error))));
    socket.once('end', () => {
      socket.end();
      resolve(Buffer.concat(chunks).toString().trimEnd());
    });
  });
}

function explain(path: string, { code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT' || code === 'ECONNREFUSED')
    return `No server listens at ${path}. Start it with: npm start -- --plan-socket ${path}`;
  if (code === 'EACCES') return `${path} belongs to another user.`;
  return `The plan socket ${path} failed: ${message}.`;
}

function parse(argv: string[], env: NodeJS.ProcessEnv) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const { values, positionals } = parsed(() =>
    parseArgs({
      args: argv,
      allowPositionals: true,
      options: {
        ...{ socket: text, room: text, seq: text, mode: text, stage: text, from: text, to: text, kind: text },
        ...{ kind1: flag, kind2: flag, kind3: flag, heads: text, ffn: text, layers: text, exact: text, wait: flag },
        ...{ layer: text, threshold: text, interval: text, times: text, help: { type: 'boolean', short: 'h' } },
        move: { type: 'string', multiple: true },
      },
    }),
  );
  const [named, ...more] = positionals;
  if (more.length > 0) throw new PlanError(`One command at a time: ${positionals.join(' ')}\n\n${USAGE}`);
  const command = named ?? (values.layers === undefined ? 'set_plan' : 'set_pp_migration');
  if (!isCommand(command)) throw new PlanError(`There is no command ${command}.\n\n${USAGE}`);
  return { command, values, socket: values.socket ?? env.EDGEVISOR_PLAN_SOCKET };
}

const isCommand = (text: string): text is Command => (OPS as readonly string[]).includes(text);

function parsed<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new PlanError(`${(error as Error).message}\n\n${USAGE}`);
  }
}

type Values = ReturnType<typeof parse>['values'];

function whole(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text)) throw new PlanError(`${name} must be a whole number, but it is "${text}".`);
  return Number(text);
}

function list(text: string, name: string, least: number, most: number): number[] {
  const numbers = text.split(',').map((part) => whole(part.trim(), name) as number);
  if (numbers.length < least || numbers.length > most)
    throw new PlanError(
      `${name} takes ${least === most ? least : `${least} to ${most}`} numbers, but it is "${text}".`,
    );
  return numbers;
}

function kindOf(values: Values): number | undefined {
  const named = ([1, 2, 3] as const).filter((kind) => values[`kind${kind}`]);
  const kinds = [...new Set([...named, ...(values.kind === undefined ? [] : [whole(values.kind, '--kind')])])];
  if (kinds.length > 1) throw new PlanError('Give one kind: 1 heads, 2 FFN columns, 3 both.');
  return kinds[0];
}

/** Without the fields that are undefined. */
const given = (fields: Json): Json =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));

/** `cmd` of a move, but for its number. */
function moveOf(command: 'set_plan' | 'set_pp_migration', values: Values): Json {
  const [triggerPos, triggerLayer] =
    values.exact === undefined ? [] : list(values.exact, '--exact', command === 'set_plan' ? 2 : 1, 2);
  const mode = values.mode ?? (values.exact === undefined ? 'next_barrier' : 'exact');
  const when = { mode, triggerPos, triggerLayer, stageIndex: whole(values.stage, '--stage') ?? ANY_STAGE };
  const edge = { fromNodeIndex: whole(values.from, '--from'), toNodeIndex: whole(values.to, '--to') };
  if (command === 'set_pp_migration') return given({ ...when, ...edge, layerCount: whole(values.layers, '--layers') });
  if (!values.move) {
    if (edge.fromNodeIndex === undefined || edge.toNodeIndex === undefined)
      throw new PlanError(`Say from which node to which: --from A --to B.\n\n${USAGE}`);
    const amounts = { nHeadsToMove: whole(values.heads, '--heads'), nFfnToMove: whole(values.ffn, '--ffn') };
    return given({ ...when, ...edge, cmdKind: kindOf(values), ...amounts });
  }
  const moves = values.move.map((text) => {
    const [fromNodeIndex, toNodeIndex, cmdKind, headMove, ffnMove] = list(text, '--move', 2, 5);
    return given({ fromNodeIndex, toNodeIndex, cmdKind, headMove, ffnMove });
  });
  return given({ ...when, moves });
}

/** Output and its end: what a person or a script reads. */
export interface PlanOutput {
  print(line: string): void;
  /** Ends `watch`. */
  signal?: AbortSignal;
}

/** Runs the command line; gives the exit code. Rejects with PlanError. */
export async function runPlan(argv: string[], env: NodeJS.ProcessEnv, { print, signal }: PlanOutput): Promise<number> {
  if (argv.includes('--help') || argv.includes('-h')) {
    print(USAGE);
    return 0;
  }
  const { command, values, socket } = parse(argv, env);
  if (!socket)
    throw new PlanError(
      'Which server? Give its --socket PATH, or set EDGEVISOR_PLAN_SOCKET to what it was started with.',
    );
  const ask = (request: Json) => send(socket, { ...request, ...(values.room && { room: values.room }) });
  const show = (reply: Json) => {
    print(JSON.stringify(reply, undefined, 2));
    return reply.ok === true ? 0 : 1;
  };

  if (command === 'watch') return watch(values, ask, print, signal);
  if (command === 'layer_prof') {
    const layerIndex = whole(values.layer, '--layer');
    const stageIndex = whole(values.stage, '--stage');
    return show(
      await ask(given({ op: command, layerIndex, stageIndex, ...(layerIndex === undefined && { all: true }) })),
    );
  }
  if (command !== 'set_plan' && command !== 'set_pp_migration') return show(await ask({ op: command }));

  const cmd = moveOf(command, values);
  const seq = whole(values.seq, '--seq') ?? (await nextSeq(command, ask));
  const reply = await ask({ op: command, cmd: { seq, ...cmd } });
  if (!values.wait || reply.ok !== true) return show(reply);
  return show(await settled(command, seq, ask, signal));
}

type Ask = (request: Json) => Promise<Json>;

async function nextSeq(command: Command, ask: Ask): Promise<number> {
  const status = demandOk(await ask({ op: 'status' }));
  const { lastSeq } = command === 'set_plan' ? status : (status.ppMigration as Json);
  return Number(lastSeq) + 1;
}

function demandOk(reply: Json): Json {
  if (reply.ok !== true) throw new PlanError(String(reply.error));
  return reply;
}

/** The move's report once it changes no more; `ok` says whether it was committed. */
async function settled(op: Command, seq: number, ask: Ask, signal?: AbortSignal): Promise<Json> {
  for (;;) {
    const status = demandOk(await ask({ op: 'status' }));
    const move = (status.moves as Json[]).find((one) => one.op === op && one.seq === seq);
    if (!move) throw new PlanError(`The host knows command ${seq} no more: was another model loaded?`);
    if (FINAL.has(String(move.state))) return { ok: move.state === 'committed', ...move };
    if (signal?.aborted) throw new PlanError(`Stopped waiting; the move is ${move.state}.`);
    await rest(POLL_MS, signal);
  }
}

/** Sleeps, less long where the signal fires. */
const rest = (ms: number, signal: AbortSignal | undefined) =>
  sleep(ms, undefined, signal ? { signal } : {}).catch(() => undefined);

async function watch(values: Values, ask: Ask, print: (line: string) => void, signal?: AbortSignal): Promise<number> {
  const threshold = Number(values.threshold ?? 0.7);
  if (!(threshold > 0 && threshold < 1)) throw new PlanError('--threshold must lie between 0 and 1.');
  const interval = whole(values.interval, '--interval') ?? 2000;
  const most = whole(values.times, '--times') ?? Number.POSITIVE_INFINITY;
  const layerIndex = whole(values.layer, '--layer');
  const stageIndex = whole(values.stage, '--stage');
  const kind = kindOf(values) ?? 2;
  const amounts = given({ nHeadsToMove: whole(values.heads, '--heads'), nFfnToMove: whole(values.ffn, '--ffn') });
  let epoch = -1;
  for (let moved = 0; moved < most && !signal?.aborted; ) {
    const reply = await ask(given({ op: 'layer_prof', all: true, stageIndex }));
    const edge = reply.ok === true ? look(reply, epoch, layerIndex, threshold) : undefined;
    if (reply.ok !== true) print(String(reply.error));
    if (edge) {
      epoch = edge.epoch;
      const seq = await nextSeq('set_plan', ask);
      const cmd = {
        seq,
        stageIndex: edge.stage,
        fromNodeIndex: edge.slowest,
        toNodeIndex: edge.fastest,
        cmdKind: kind,
      };
      const answer = await ask({ op: 'set_plan', cmd: { ...cmd, ...amounts } });
      const result = answer.ok === true ? await settled('set_plan', seq, ask, signal) : answer;
      print(`${edge.text}: ${result.ok === true ? 'moved' : String(result.error ?? result.state)}`);
      moved++;
    }
    await rest(interval, signal);
  }
  return 0;
}

/** The worst imbalance that a profile shows, where text has flowed since `before`. */
function look(
  reply: Json,
  before: number,
  layer: number | undefined,
  threshold: number,
): (Edge & { epoch: number }) | undefined {
  const profile = reply.layer_prof as { epoch: number; layers: LayerRow[] };
  if (profile.epoch === before) return undefined;
  const edge = rebalance(profile.layers, { layer, threshold });
  return edge && { ...edge, epoch: profile.epoch };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const ending = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort());
  runPlan(process.argv.slice(2), process.env, { print: console.log, signal: ending.signal }).then(
    (code) => {
      process.exitCode = code;
    },
    (error: unknown) => {
      console.error(error instanceof PlanError ? error.message : error);
      process.exitCode = 1;
    },
  );
}
