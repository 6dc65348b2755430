/** The devices of the mesh as the host knows them: their links, what they said of themselves, what they are doing. */
import { BulkSlot } from '../../device/member/kv-copy.ts';
import { type About, parseToHost, type ToDevice, type ToHost } from '../../mesh/control.ts';
import { MeshError } from '../../mesh/errors.ts';
import { FrameError } from '../../mesh/frames.ts';
import type { Link } from '../../mesh/link.ts';
import { readRuns } from '../../model/sources.ts';
import { type ByteSource, ModelError } from '../../model/types.ts';

export type DeviceStats = Omit<Extract<ToHost, { type: 'stats' }>, 'type'>;
export type Profiled = Extract<ToHost, { type: 'profiled' }>;
export type DeviceProgress = Omit<Extract<ToHost, { type: 'progress' }>, 'type'>;

export interface MeshDevice {
  readonly index: number;
  readonly link: Link;
  about: About | undefined;
  stats: DeviceStats | undefined;
  progress: DeviceProgress | undefined;
  /** Has no part in plans: by its own wish, or the host's. */
  paused: boolean;
  /** Its own wish. */
  rests: boolean;
  /** Reads of the model's bytes that are not answered yet. */
  reads: number;
}

/** How long in ms a device may take to say how long its layers took, or to echo. */
const ASKED_MS = 3_000;
/** Most bytes that one read of a device may ask for, and most reads of it that may wait. */
const MAX_READ_BYTES = 256 * 2 ** 20;
const MAX_READS = 64;

type Answer = 'prepared' | 'committed' | 'kv-received' | 'holding' | 'held';

export interface DevicesOptions {
  /** A device is new, gone, or said something of itself. */
  onChange(index: number): void;
  /** The running plan cannot go on: a device said so, or its link closed. `device` is who is to blame. */
  onBroken(error: MeshError, device: number | undefined, epoch?: number): void;
  /** The model's bytes, for devices that get them from the host. */
  modelBytes(): ByteSource | undefined;
}

export interface Devices {
  add(link: Link): void;
  /** The host wants a device to have no part in plans, or to have one again; also when it comes back. */
  setPaused(index: number, paused: boolean): void;
  get(index: number): MeshDevice | undefined;
  /** Ascending by index. */
  all(): MeshDevice[];
  /** The epoch itself, or the next that was never used: answers and frames of an earlier one must mean nothing. */
  claimEpoch(wanted: number): number;
  send(index: number, message: ToDevice): void;
  /**
   * Sends a message and resolves with the bytes that a `kv-received` counts (0 for others) when `at` (by default the same device) answers.
   * Rejects with MeshError: what the device said in refusal, `lost`, or the signal's reason.
   */
  request(index: number, message: ToDevice, answer: Expected & { at?: number }, signal?: AbortSignal): Promise<number>;
  /** Asks a device how long its last batch took; undefined where it is gone or does not say. */
  profile(index: number, more?: ProfileWish): Promise<Profiled | undefined>;
  /** Sends a device a text, which it sends back; false where it does not. */
  echo(index: number, text: string): Promise<boolean>;
  /** As `request`, for an answer that something else sets off. */
  expect(index: number, answer: Expected, signal?: AbortSignal): Promise<number>;
}

/** What of a profile is wanted; see `control.ts`. */
export type ProfileWish = Partial<
  Pick<Extract<ToDevice, { type: 'profile' }>, 'layers' | 'passes' | 'operations' | 'clear'>
>;

type Asked = Extract<ToHost, { type: 'profiled' | 'echoed' }>;

interface Expected {
  type: Answer;
  epoch: number;
  /** Of `kv-received`: who sent it. */
  from?: number;
}

interface Waiting {
  key: string;
  /** Another device that the answer depends on. */
  from: number | undefined;
  resolve(bytes: number): void;
  reject(error: unknown): void;
}

export function createDevices({ onChange, onBroken, modelBytes }: DevicesOptions): Devices {
  /** Devices that the host pauses, by index. */
  const heldBack = new Set<number>();
  const devices = new Map<number, MeshDevice>();
  const waiting = new Map<number, Set<Waiting>>();
  /** Questions by their number. */
  const asking = new Map<number, { index: number; resolve(answer: Asked | undefined): void }>();
  let nextQuestion = 0;
  let lastEpoch = 0;

  function take(device: MeshDevice, message: ToHost): void {
    const { index } = device;
    switch (message.type) {
      case 'about':
        device.about = message.about;
        onChange(index);
        break;
      case 'paused':
        device.rests = message.paused;
        settlePause(device);
        break;
      case 'stats':
        device.stats = message;
        onChange(index);
        break;
      case 'progress':
        // What is left of a preparation that was cancelled says nothing.
        if (!isAwaited(index, `prepared ${message.epoch}`)) break;
        device.progress = message;
        onChange(index);
        break;
      case 'prepared':
        device.progress = undefined;
        settle(index, `prepared ${message.epoch}`, 0);
        break;
      case 'committed':
      case 'holding':
      case 'held':
        settle(index, `${message.type} ${message.epoch}`, 0);
        break;
      case 'kv-received':
        settle(index, `kv-received ${message.epoch} ${message.from}`, message.bytes);
        break;
      case 'profiled':
      case 'echoed':
        if (asking.get(message.id)?.index === index) asking.get(message.id)?.resolve(message);
        break;
      case 'refused':
        refuse(index, message);
        break;
      case 'broken':
        onBroken(new MeshError(message.code, message.message, message.device), message.device, message.epoch);
        break;
      case 'read':
        if (device.reads >= MAX_READS) throw new FrameError('more requests for bytes of the model than may wait');
        device.reads++;
        serve(device, message)
          .catch((error) => unreadable(device, message.transfer, error))
          .finally(() => device.reads--);
        break;
    }
  }

  /** Resolves with a device's answer; undefined where it is gone or says nothing in time. */
  function ask(index: number, question: (id: number) => ToDevice): Promise<Asked | undefined> {
    const device = devices.get(index);
    if (!device || device.link.failure) return Promise.resolve(undefined);
    const { link } = device;
    return new Promise((resolve) => {
      const id = nextQuestion++;
      const forget = link.onClosed(() => done(undefined));
      const timer = setTimeout(() => done(undefined), ASKED_MS);
      const done = (answer: Asked | undefined) => {
        clearTimeout(timer);
        forget();
        asking.delete(id);
        resolve(answer);
      };
      asking.set(id, { index, resolve: done });
      link.sendControl(question(id));
    });
  }

  const isAwaited = (index: number, key: string): boolean =>
    [...(waiting.get(index) ?? [])].some((entry) => entry.key === key);

  /** Nobody waits any more for what was asked in an epoch, and the device will not answer. */
  function forget(device: MeshDevice, epoch: number): void {
    device.progress = undefined;
    for (const entry of waiting.get(device.index) ?? []) {
      if (entry.key.split(' ')[1] === String(epoch)) entry.reject(new MeshError('closed', 'The host cancelled it.'));
    }
  }

  function settle(index: number, key: string, bytes: number): void {
    for (const entry of waiting.get(index) ?? []) if (entry.key === key) entry.resolve(bytes);
  }

  /** A refusal of an epoch ends everything that is asked of it, at whichever device. */
  function refuse(index: number, refused: Extract<ToHost, { type: 'refused' }>): void {
    const { epoch, code, message, device = index } = refused;
    const refusing = devices.get(index);
    if (refusing) refusing.progress = undefined;
    // The host's own device speaks for itself.
    const error = new MeshError(code, index === 0 ? message : `Device ${index}: ${message}`, device);
    for (const entries of waiting.values()) {
      for (const entry of entries) if (entry.key.split(' ')[1] === String(epoch)) entry.reject(error);
    }
  }

  async function serve(device: MeshDevice, read: Extract<ToHost, { type: 'read' }>): Promise<void> {
    const source = modelBytes();
    if (!source) throw new ModelError('network', 'The host has no model open.');
    const { offset, stride, length, count, transfer } = read;
    if (length * count > MAX_READ_BYTES || (count > 1 && stride < length))
      throw new ModelError('truncated', 'The read is larger than the host allows.');
    if (offset + (count - 1) * stride + length > source.size)
      throw new ModelError('truncated', 'The read goes past the end of the model.');
    const bytes =
      count === 1
        ? await source.read(offset, offset + length)
        : source.readStrided
          ? await source.readStrided(offset, stride, length, count)
          : await readRuns(source, offset, stride, length, count);
    await device.link.sendBulk({ epoch: 0, slot: BulkSlot.bytes, transfer }, bytes);
  }

  function unreadable({ link }: MeshDevice, transfer: number, error: unknown): void {
    if (link.failure) return;
    const { code = 'network', message } = error as { code?: string; message: string };
    link.sendControl({ type: 'unreadable', transfer, code, message: message.slice(0, 1024) } satisfies ToDevice);
  }

  function settlePause(device: MeshDevice): void {
    device.paused = device.rests || heldBack.has(device.index);
    onChange(device.index);
  }

  return {
    add(link) {
      const device: MeshDevice = {
        index: link.peer,
        link,
        about: undefined,
        stats: undefined,
        progress: undefined,
        paused: heldBack.has(link.peer),
        rests: false,
        reads: 0,
      };
      devices.set(link.peer, device);
      link.onControl((message) => take(device, parseToHost(message)));
      link.onClosed((failure) => {
        if (devices.get(link.peer) !== device) return;
        devices.delete(link.peer);
        for (const [at, entries] of waiting) {
          for (const entry of entries) if (at === link.peer || entry.from === link.peer) entry.reject(failure);
        }
        onBroken(failure, link.peer);
        onChange(link.peer);
      });
      onChange(link.peer);
    },
    setPaused(index, paused) {
      if (paused) heldBack.add(index);
      else heldBack.delete(index);
      const device = devices.get(index);
      if (device) settlePause(device);
    },
    get: (index) => devices.get(index),
    all: () => [...devices.values()].sort((a, b) => a.index - b.index),
    claimEpoch(wanted) {
      lastEpoch = Math.max(wanted, lastEpoch + 1);
      return lastEpoch;
    },
    async profile(index, { layers = false, passes = false, operations = false, clear = false } = {}) {
      const answer = await ask(index, (id) => ({ type: 'profile', id, layers, passes, operations, clear }));
      return answer?.type === 'profiled' ? answer : undefined;
    },
    async echo(index, text) {
      return (await ask(index, (id) => ({ type: 'echo', id, text })))?.type === 'echoed';
    },
    send(index, message) {
      const device = devices.get(index);
      if (!device) throw new MeshError('lost', `Device ${index} is gone.`, index);
      if (message.type === 'cancel') forget(device, message.epoch);
      device.link.sendControl(message);
    },
    request(index, message, { at = index, ...answer }, signal) {
      const device = devices.get(index);
      if (!device) return Promise.reject(new MeshError('lost', `Device ${index} is gone.`, index));
      const expected = this.expect(at, answer, signal);
      device.link.sendControl(message);
      return expected;
    },
    expect(index, { type, epoch, from }, signal) {
      return new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        if (!devices.has(index)) throw new MeshError('lost', `Device ${index} is gone.`, index);
        const entries = waiting.get(index) ?? new Set();
        waiting.set(index, entries);
        const abort = () => entry.reject(signal?.reason);
        const done = () => {
          entries.delete(entry);
          signal?.removeEventListener('abort', abort);
        };
        const entry: Waiting = {
          from,
          key: `${type} ${epoch}${from === undefined ? '' : ` ${from}`}`,
          resolve: (bytes) => {
            done();
            resolve(bytes);
          },
          reject: (error) => {
            done();
            reject(error);
          },
        };
        entries.add(entry);
        signal?.addEventListener('abort', abort);
      });
    },
  };
}
