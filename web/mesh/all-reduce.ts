/**
 * All-reduce among the members of a stage: everyone sends its encoded partial sums to everyone, and adds all of them in
 * the order of the members, its own included as the others see it. So the sums are the same bits everywhere, and bytes
 * go once over every link.
 */
import { MeshError } from './errors.ts';
import { createFrameBuffer, type Frame, FrameError, type Header, Kind } from './frames.ts';
import type { Link } from './link.ts';
import { allFinite, decode, digest, encode, type NumberType, wireBytes } from './wire.ts';

/** Most exchanges whose frames may have come before this member got there. */
const MAX_OPEN_EXCHANGES = 1024;

export interface AllReduceOptions {
  /** Devices of the stage in plan order, this one among them: the order of the sum. */
  members: number[];
  self: number;
  /** Links to the other members, by device. */
  links: ReadonlyMap<number, Link>;
  epoch: number;
  wire: NumberType;
  /** Numbers in a row. */
  dim: number;
  /** Most rows in one exchange. */
  maxRows: number;
}

/** What an exchange is about; the same on all members, and never twice in an epoch while one is open. */
export interface Exchange {
  layer: number;
  /** 0 after attention, 1 after FFN. */
  slot: number;
  /** Of the first row. */
  position: number;
}

export type SumsWatch = (parts: readonly Uint8Array[]) => void;

export interface AllReduce {
  /**
   * Sends `partial` (rows × dim) and resolves with the sum over all members in `into` (as long; may be `partial` itself).
   * Several exchanges may be in flight. Rejects with the MeshError of the first link to a member that is lost, or
   * `wrong-numbers` with the member whose sums are no finite numbers.
   * @param watch given what every member sent, encoded, in their order; not to be kept
   */
  run(exchange: Exchange, partial: Float32Array, into: Float32Array, watch?: SumsWatch): Promise<Float32Array>;
  /**
   * Compares the digest of this member's replica with the others'. Resolves when all are equal; rejects with MeshError
   * `diverged` otherwise.
   */
  verify(exchange: Exchange, replica: Float32Array): Promise<void>;
  /** Rejects what is in flight with `closed`, and takes no more frames. */
  close(): void;
}

/** Parts of one exchange: from each member, and who waits for them. */
interface Pending {
  parts: (Uint8Array | undefined)[];
  missing: number;
  rows: number;
  complete: ((parts: Uint8Array[]) => void) | undefined;
  reject: ((failure: MeshError) => void) | undefined;
}

const DIGEST_BYTES = 4;

/** Creates this member's end. Throws MeshError `lost` where there is no link to a member. */
export function createAllReduce(options: AllReduceOptions): AllReduce {
  const { members, self, links, epoch, wire, dim, maxRows } = options;
  const own = members.indexOf(self);
  if (own < 0) throw new RangeError(`device ${self} is no member of the stage ${members.join(':')}`);
  const others = members
    .map((device, place) => ({ device, place }))
    .filter(({ device }) => device !== self)
    .map(({ device, place }) => {
      const link = links.get(device);
      if (!link) throw new MeshError('lost', `There is no link to device ${device}.`, device);
      return { link, place };
    });
  const buffer = createFrameBuffer(Math.max(DIGEST_BYTES, wireBytes(wire, maxRows * dim)));
  const open = new Map<number, Pending>();
  const spare: Pending[] = [];
  let failure: MeshError | undefined;

  function pendingOf(key: number, rows: number): Pending {
    const known = open.get(key);
    if (known) {
      if (known.rows !== rows) throw new FrameError(`${rows} rows for an exchange of ${known.rows}`);
      return known;
    }
    if (open.size >= MAX_OPEN_EXCHANGES) throw new FrameError('too many exchanges ahead of this device');
    const pending: Pending = spare.pop() ?? {
      parts: members.map(() => undefined),
      missing: 0,
      rows: 0,
      complete: undefined,
      reject: undefined,
    };
    pending.missing = members.length;
    pending.rows = rows;
    open.set(key, pending);
    return pending;
  }

  function addPart(key: number, rows: number, place: number, bytes: Uint8Array): void {
    const pending = pendingOf(key, rows);
    if (pending.parts[place]) throw new FrameError('the same part of an exchange twice');
    pending.parts[place] = bytes;
    pending.missing--;
    if (pending.missing > 0) return;
    open.delete(key);
    pending.complete?.(pending.parts as Uint8Array[]);
    pending.parts.fill(undefined);
    pending.complete = undefined;
    pending.reject = undefined;
    spare.push(pending);
  }

  function takePartial(place: number, frame: Frame): void {
    if (frame.type !== wire) throw new FrameError(`numbers as ${frame.type}, where the plan says ${wire}`);
    if (frame.rows < 1 || frame.rows > maxRows)
      throw new FrameError(`${frame.rows} rows, where 1 to ${maxRows} are allowed`);
    const expected = wireBytes(wire, frame.rows * dim);
    if (frame.payload.length !== expected)
      throw new FrameError(`${frame.payload.length} bytes of partial sums, where ${expected} were due`);
    addPart(exchangeKey(frame), frame.rows, place, frame.payload);
  }
  function takeDigest(place: number, frame: Frame): void {
    if (frame.payload.length !== DIGEST_BYTES) throw new FrameError('a digest of the wrong size');
    addPart(digestKey(frame), 0, place, frame.payload);
  }

  function fail(reason: MeshError): void {
    failure ??= reason;
    for (const pending of open.values()) pending.reject?.(failure);
    open.clear();
  }

  /** Says whose sums are no finite numbers. `scratch` is as long as the sum. */
  function wrongNumbers(parts: readonly Uint8Array[], scratch: Float32Array): MeshError {
    const place = parts.findIndex((part) => {
      decode(wire, part, scratch, true);
      return !allFinite(scratch);
    });
    // Finite parts may still add up to more than single precision holds: then it is nobody's fault but the model's.
    const device = place < 0 ? self : members[place];
    return new MeshError('wrong-numbers', `Device ${device} computed values that are not numbers.`, device);
  }

  /** Sends the buffer's first bytes to all others, and adds the own part; resolves with all parts in member order. */
  function exchange<T>(header: Header, key: number, length: number, finish: (parts: Uint8Array[]) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (failure) throw failure;
      const pending = pendingOf(key, header.rows);
      if (pending.complete) throw new RangeError('this exchange is in flight already');
      pending.reject = reject;
      pending.complete = (parts) => {
        // A promise's executor is over by now: what throws here must be caught here.
        try {
          resolve(finish(parts));
        } catch (error) {
          reject(error);
        }
      };
      for (const { link } of others) void link.send(buffer, header, length);
      // The next exchange writes to the buffer, maybe before this one is complete.
      addPart(key, header.rows, own, buffer.payload.slice(0, length));
    });
  }

  const undo = others.flatMap(({ link, place }) => [
    link.route(Kind.partial, epoch, (frame) => takePartial(place, frame)),
    link.route(Kind.digest, epoch, (frame) => takeDigest(place, frame)),
    link.onClosed(fail),
  ]);

  return {
    run({ layer, slot, position }, partial, into, watch) {
      const rows = partial.length / dim;
      if (!Number.isInteger(rows) || rows < 1 || rows > maxRows || into.length !== partial.length)
        return Promise.reject(new RangeError(`${partial.length} numbers are no 1 to ${maxRows} rows of ${dim}`));
      const length = encode(wire, partial, buffer.payload);
      const header: Header = { kind: Kind.partial, type: wire, slot, epoch, layer, position, rows };
      return exchange(header, exchangeKey(header), length, (parts) => {
        for (let i = 0; i < parts.length; i++) decode(wire, parts[i], into, i === 0);
        if (!allFinite(into)) throw wrongNumbers(parts, into);
        watch?.(parts);
        return into;
      });
    },
    verify({ layer, slot, position }, replica) {
      new DataView(buffer.payload.buffer).setUint32(buffer.payload.byteOffset, digest(replica), true);
      const header: Header = { kind: Kind.digest, type: 'f32', slot, epoch, layer, position, rows: 0 };
      return exchange(header, digestKey(header), DIGEST_BYTES, (parts) => {
        const odd = parts.findIndex((part) => part.some((byte, i) => byte !== parts[own][i]));
        if (odd < 0) return;
        const text = `The replicas of devices ${self} and ${members[odd]} differ at position ${position}.`;
        throw new MeshError('diverged', text, members[odd]);
      });
    },
    close() {
      for (const end of undo) end();
      fail(new MeshError('closed', 'The plan that this exchange belongs to has ended.'));
    },
  };
}

/** One number for what an exchange is about: layers and slots below 2^16 and 2^4, so exact in a double. */
function exchangeKey({ layer, slot, position }: Exchange): number {
  return (position * 0x10000 + layer) * 16 + (slot & 0x0f);
}

/** Digests share the map with the sums they check. */
function digestKey(exchange: Exchange): number {
  return -1 - exchangeKey(exchange);
}
