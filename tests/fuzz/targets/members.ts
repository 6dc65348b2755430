import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import type { Backend } from '../../../web/device/backend.ts';
import { createMemberService } from '../../../web/device/member/service.ts';
import { toWireModel } from '../../../web/device/member/wire-model.ts';
import { createDevices } from '../../../web/host/mesh/devices.ts';
import { readModel } from '../../../web/host/open-model.ts';
import { MeshError } from '../../../web/mesh/errors.ts';
import { Kind } from '../../../web/mesh/frames.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import type { ByteSource } from '../../../web/model/types.ts';
import { frameHeaders, frameMessages } from '../../unit/mesh/hostile-frames.ts';
import { linked, settled } from '../../unit/mesh/linked.ts';
import { fixture } from '../../unit/model/golden.ts';
import { toHost } from '../messages.ts';
import { nearly } from '../nearly.ts';
import { check, target } from '../target.ts';

const DEVICE = 1;

/** Computes nothing: what is tested is what reaches it. */
function idleBackend(dim: number): Backend {
  return {
    kind: 'wasm',
    threads: 1,
    description: 'idle',
    lost: new Promise(() => undefined),
    addTile: async (_role, { rows, cols }) => ({ rows, cols, bytes: 1 }),
    cutTile: async () => undefined,
    dropTile: () => undefined,
    setLayer: () => undefined,
    setEmbedding: () => undefined,
    setHead: () => undefined,
    timesOperations: false,
    run: async ({ count, output }) => new Float32Array(output === 'none' ? 0 : Math.min(count * dim, 1e6)),
    readKv: async () => ({
      k: new Int16Array(0),
      v: new Int16Array(0),
      kScales: new Float32Array(0),
      vScales: new Float32Array(0),
    }),
    writeKv: async () => undefined,
    memory: () => ({ weights: 0, kv: 0, scratch: 0 }),
    destroy: () => undefined,
  };
}

const frame = fc.tuple(
  frameHeaders.filter(({ kind }) => kind !== Kind.hello && kind !== Kind.control),
  fc.uint8Array({ maxLength: 200 }),
);
type Said = { control: unknown } | { frame: [Parameters<typeof frameMessages>[0], Uint8Array] };
const said = (messages: readonly unknown[]): fc.Arbitrary<Said[]> =>
  fc.array(
    fc.oneof(
      { weight: 12, arbitrary: fc.constantFrom(...messages).map((control) => ({ control })) },
      { weight: 4, arbitrary: nearly(messages).map((control) => ({ control })) },
      { weight: 1, arbitrary: frame.map((each) => ({ frame: each })) },
    ),
    { minLength: 1, maxLength: 8 },
  );

/** A host that means harm and a real device, or a device that means harm and what the host has for devices. */
export async function make() {
  const name = 'tiny-llama.Q4_0.gguf';
  const bytes = new Uint8Array(readFileSync(fixture(name)));
  const { file, catalogue } = await readModel(bytesSource(bytes, name));
  const { hyper } = catalogue;
  const model = toWireModel(file, catalogue, { kind: 'server', files: [name] });
  const whole = (count: number) => [[0, count]];
  const share = {
    layers: [0, hyper.layers],
    qHeads: whole(hyper.heads),
    ffn: whole(hyper.ffn),
    vocab: whole(hyper.vocab),
    embedding: true,
    head: true,
  };
  const assignment = {
    epoch: 1,
    share,
    members: [DEVICE],
    next: [],
    wire: 'q15',
    verify: false,
    context: 64,
    maxBatch: 8,
  };
  const orders = [
    ...[
      { type: 'model', model },
      { type: 'prepare', assignment },
      { type: 'commit', epoch: 1 },
    ],
    ...[
      { type: 'prepare', assignment },
      { type: 'commit', epoch: 1 },
    ],
    { type: 'prepare', assignment: { ...assignment, epoch: 2, members: [0, DEVICE] } },
    { type: 'model', model: { ...model, origin: { kind: 'host' } } },
    ...[{ type: 'commit', epoch: 2 }, { type: 'cancel', epoch: 1 }, { type: 'unload' }],
    { type: 'hold', epoch: 1, position: 0, layer: 1 },
    { type: 'send-kv', epoch: 1, to: 0, heads: [{ layer: 0, kvHead: 0 }], range: [0, 4] },
    { type: 'profile', id: 1, layers: true, passes: true },
    { type: 'unreadable', transfer: 0, code: 'network', message: 'no' },
  ];

  async function harmDevice(messages: readonly Said[], right: boolean): Promise<void> {
    const { a, b, tensors } = await linked(0, DEVICE);
    const service = createMemberService({
      self: DEVICE,
      about: async () => ({ backend: 'wasm', description: '', threads: 1, gmacs: 1, readbackMs: 0, memoryLimit: 1e9 }),
      makeBackend: async (options) => idleBackend(options.hyper.dim),
      openStore: async () => undefined,
      openServerFiles: async () => file.source,
    });
    service.setHost(b);
    service.addPeer(b);
    a.onControl(() => undefined);
    a.onBulk(() => undefined);
    if (right) for (const order of orders.slice(0, 3)) a.sendControl(order);
    await say(tensors[0], messages, right ? 4 : 1);
    check(!b.failure || ['malformed', 'lost', 'version'].includes(b.failure.code), `closed with ${b.failure?.code}`);
    a.close(new MeshError('closed', 'the case is over'));
    await service.close();
    await settled();
  }

  async function harmHost(messages: readonly Said[]): Promise<void> {
    const { a, b, tensors } = await linked(0, DEVICE);
    let read = 0;
    const source: ByteSource = {
      ...file.source,
      read: (from, to) => {
        read += to - from;
        return file.source.read(from, to);
      },
    };
    const devices = createDevices({ onChange: () => undefined, onBroken: () => undefined, modelBytes: () => source });
    devices.add(a);
    const waiting = devices.expect(DEVICE, { type: 'prepared', epoch: 1 }).catch(() => undefined);
    b.onControl(() => undefined);
    b.onBulk(() => undefined);
    await say(tensors[1], messages, 1);
    check(read <= messages.length * file.source.size, 'more was read of the model than it has');
    b.close(new MeshError('closed', 'the case is over'));
    await settled();
    a.close(new MeshError('closed', 'the case is over'));
    await waiting;
  }

  return target({
    cases: fc.oneof(
      fc.record({ who: fc.constant('device' as const), right: fc.boolean(), messages: said(orders) }),
      fc.record({ who: fc.constant('host' as const), messages: said(toHost) }),
    ),
    run: (given) => (given.who === 'device' ? harmDevice(given.messages, given.right) : harmHost(given.messages)),
  });
}

/** Sends on the wire itself, past everything that keeps an honest side from saying wrong things. */
async function say(
  end: { send(message: Uint8Array): void },
  messages: readonly Said[],
  firstSequence: number,
): Promise<void> {
  let sequence = firstSequence;
  for (const message of messages) {
    const text = 'control' in message ? JSON.stringify(message.control) : undefined;
    const [header, payload] =
      'frame' in message ? message.frame : [{ kind: Kind.control }, new TextEncoder().encode(text ?? 'null')];
    for (const part of frameMessages(header, payload, sequence & 0xffff)) end.send(part);
    sequence++;
    await settled();
  }
}
