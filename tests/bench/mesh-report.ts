/** What `bench -- mesh` found: speeds beside what the network would allow, and where a token's time goes. */
import type { DevicePasses, LinkDelay, Plan } from '../../web/api.ts';
import { describeMachine, type Machine } from './machine.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

/** EdgeVisor's root, three processes over TCP on loopback, the same model (issue 5): bytes sent and received a token. */
export const EDGEVISOR_BYTES = 76_000 + 199_000;

/** Messages that one token waits for, one after another. */
export interface Waits {
  /** Sums over the members of a stage: two a layer. */
  sums: number;
  /** Rows of the embedding to the first stage's other members, and residuals from stage to stage. */
  rows: number;
  /** The answer to the host, where another device makes it. */
  answers: number;
}

/** One device in one layout, a decoded token. */
export interface MemberTimes {
  device: number;
  computeMs: number;
  /** In sums: until everyone's part had come. */
  syncMs: number;
  /** Over all links of the device. */
  sentBytes: number;
  receivedBytes: number;
}

export interface MeshRow {
  layout: string;
  ratios: string;
  delayMs: number;
  /** Of every round. */
  tokensPerSecond: number[];
  prefillPerSecond: number[];
  /** Sent and received by the host, a decoded token. */
  hostBytes: number[];
  plan: Plan;
  /** Measured on the idle mesh, for a message of a partial sum's size, and of a residual's as plain floats. */
  delays: { sum: LinkDelay[]; row: LinkDelay[] };
  members: MemberTimes[];
}

export interface MeshResult {
  benchmark: 'mesh';
  date: string;
  machine: Machine;
  loadBefore: number;
  model: string;
  wire: string;
  rounds: number;
  decodeTokens: number;
  rows: MeshRow[];
}

/** Means over the last `tokens` tokens, device by device: with the token's own mean they add up, which medians would not. */
export function memberTimes(devices: readonly DevicePasses[], tokens: number): MemberTimes[] {
  return devices.flatMap(({ device, passes }) => {
    const decoded = passes.filter((pass) => pass.tokens === 1).slice(-tokens);
    if (decoded.length === 0) return [];
    const mean = (pick: (pass: DevicePasses['passes'][number]) => number) =>
      decoded.reduce((sum, pass) => sum + pick(pass), 0) / decoded.length;
    return [
      {
        device,
        computeMs: mean(({ execMs }) => execMs),
        syncMs: mean(({ syncMs }) => syncMs),
        sentBytes: mean(({ bytesSent }) => bytesSent),
        receivedBytes: mean(({ bytesReceived }) => bytesReceived),
      },
    ];
  });
}

/** What a token waits for under a plan whose host is device 0. */
export function waitsOf({ stages }: Plan): Waits {
  const shared = stages.filter(({ members }) => members.length > 1);
  const sums = shared.reduce((total, { layers: [from, to] }) => total + 2 * (to - from), 0);
  const embedding = (stages[0]?.members.length ?? 0) > 1 ? 1 : 0;
  const away = stages.at(-1)?.members.some(({ device }) => device !== 0) ?? false;
  // A host that is not in the first stage sends it the token.
  const asked = stages[0]?.members[0]?.device === 0 ? 0 : 1;
  return { sums, rows: embedding + stages.length - 1, answers: (away ? 1 : 0) + asked };
}

export interface Bound {
  /** One-way delays of the slowest link. */
  sumMs: number;
  rowMs: number;
  /** All waits of a token together. */
  networkMs: number;
  /** Of the slowest member of each stage, one after another. */
  computeMs: number;
}

export function boundOf({ plan, delays, members }: Pick<MeshRow, 'plan' | 'delays' | 'members'>): Bound {
  const slowest = (links: LinkDelay[]) => Math.max(0, ...links.map(({ oneWayMs }) => oneWayMs));
  const [sumMs, rowMs] = [slowest(delays.sum), slowest(delays.row)];
  const { sums, rows, answers } = waitsOf(plan);
  const computeMs = plan.stages.reduce((total, stage) => {
    const times = stage.members.map((member) => members.find(({ device }) => device === member.device)?.computeMs ?? 0);
    return total + Math.max(...times);
  }, 0);
  return { sumMs, rowMs, networkMs: (sums + answers) * sumMs + rows * rowMs, computeMs };
}

/** Where a token's time goes for one device; the four add up to the token's time. */
export function partsOf(row: MeshRow, { device, computeMs, syncMs }: MemberTimes) {
  const { sumMs, networkMs } = boundOf(row);
  const stage = row.plan.stages.find(({ members }) => members.some((member) => member.device === device));
  const [from, to] = stage?.layers ?? [0, 0];
  const sumsMs = stage && stage.members.length > 1 ? 2 * (to - from) * sumMs : 0;
  // What the network takes of the wait in sums, and of the rest: messages of a token come one after another.
  const inSums = Math.min(syncMs, sumsMs);
  const outside = Math.max(0, 1000 / summarize(row.tokensPerSecond).median - computeMs - syncMs);
  const between = Math.min(outside, networkMs - sumsMs);
  return { computeMs, transferMs: inSums + between, othersMs: syncMs - inSums, restMs: outside - between };
}

export function renderMesh(result: MeshResult): string {
  const { date, machine, loadBefore, model, wire, rounds, decodeTokens } = result;
  return [
    `Measured ${date.slice(0, 10)} on ${describeMachine(machine, loadBefore)}`,
    `${model}, WASM, one thread a tab, wire ${wire}, decode of ${decodeTokens} tokens, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}; medians.`,
    speedTable(result),
    boundTable(result),
    'Where a token’s time goes on each device, in ms, and its bytes over all links, in kB:',
    deviceTable(result),
  ].join('\n\n');
}

const titleOf = ({ layout, ratios, delayMs }: MeshRow): string => `${layout} (\`${ratios}\`), ${delayMs} ms`;
const median = (values: number[]): number => summarize(values).median;

function speedTable({ rows }: MeshResult): string {
  const alone = rows.find(({ plan }) => plan.stages.length === 1 && plan.stages[0]?.members.length === 1);
  return table(
    ['layout, delay', 'decode tok/s', '÷ alone', 'prefill tok/s', 'host kB a token', '÷ EdgeVisor'],
    rows.map((row) => {
      const [speed, bytes] = [median(row.tokensPerSecond), median(row.hostBytes)];
      const three = row.plan.stages.length === 1 && row.plan.stages[0]?.members.length === 3;
      return [
        ...[titleOf(row), speed.toFixed(1), alone ? (speed / median(alone.tokensPerSecond)).toFixed(2) : ''],
        ...[median(row.prefillPerSecond).toFixed(1), (bytes / 1000).toFixed(1)],
        three ? (bytes / EDGEVISOR_BYTES).toFixed(2) : '',
      ];
    }),
  );
}

function boundTable({ rows }: MeshResult): string {
  return table(
    [
      'layout, delay',
      'waits',
      'one way ms',
      'network ms',
      'network alone tok/s',
      'compute ms',
      'bound tok/s',
      'decode ÷ bound',
    ],
    rows.map((row) => {
      const { sumMs, rowMs, networkMs, computeMs } = boundOf(row);
      const { sums, rows: handed, answers } = waitsOf(row.plan);
      const bound = 1000 / (computeMs + networkMs);
      return [
        ...[titleOf(row), String(sums + handed + answers), (sums > 0 ? sumMs : rowMs).toFixed(2), networkMs.toFixed(1)],
        networkMs > 0 ? (1000 / networkMs).toFixed(1) : '',
        ...[computeMs.toFixed(1), bound.toFixed(1), (median(row.tokensPerSecond) / bound).toFixed(2)],
      ];
    }),
  );
}

function deviceTable({ rows }: MeshResult): string {
  return table(
    ['layout, delay', 'device', 'computing', 'transfer', 'waiting for members', 'not its turn', 'sent', 'received'],
    rows.flatMap((row) =>
      row.members.map((member) => {
        const { computeMs, transferMs, othersMs, restMs } = partsOf(row, member);
        return [
          titleOf(row),
          String(member.device),
          ...[computeMs, transferMs, othersMs, restMs].map((ms) => ms.toFixed(2)),
          ...[member.sentBytes, member.receivedBytes].map((bytes) => (bytes / 1000).toFixed(1)),
        ];
      }),
    ),
  );
}
