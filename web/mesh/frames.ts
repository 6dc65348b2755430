/**
 * Frames: what travels on the channels of a link. A fixed header of 16 bytes, little-endian, then the payload:
 *
 * | offset | size | field |
 * |---|---|---|
 * | 0 | 1 | version, at this place in every version |
 * | 1 | 1 | kind |
 * | 2 | 1 | number type in the low half; bit 4: a part (8 more bytes of header); the rest is 0 |
 * | 3 | 1 | slot: free for the kind's use |
 * | 4 | 2 | epoch of the plan, modulo 65536 |
 * | 6 | 2 | layer |
 * | 8 | 4 | position of the first token |
 * | 12 | 2 | rows: tokens in the payload |
 * | 14 | 2 | sequence: one more with every frame of a channel, modulo 65536 |
 * | 16 | 4 | part only: bytes of the whole payload |
 * | 20 | 4 | part only: where this part starts in it |
 *
 * A frame above the channel's message size travels in parts: consecutive messages with the same header, put together by
 * the reader. Frames of kind `bulk` are parts that nobody puts together: the receiver takes them one by one.
 */
import { NUMBER_TYPES, type NumberType } from './wire.ts';

export const FRAME_VERSION = 3;
export const HEADER_BYTES = 16;
export const PART_HEADER_BYTES = 24;
const PART_FLAG = 0x10;

export const Kind = {
  /** First on every channel. JSON: who is speaking. */
  hello: 1,
  /** A member's partial sums after attention (slot 0) or FFN (slot 1): rows × dim numbers. */
  partial: 2,
  /** The residual stream, from the leader of a stage to the members of the next. */
  residual: 3,
  /** A member's best candidates. */
  candidates: 4,
  /** Token ids, Uint32. */
  tokens: 5,
  /** A piece of weights or KV; `position` is the transfer's number. */
  bulk: 6,
  /** JSON, checked by whoever takes it. */
  control: 7,
  /** Slot 0 asks, slot 1 answers with the same payload. */
  heartbeat: 8,
  /** `position` bytes of bulk taken so far, modulo 2^32. */
  ack: 9,
  /** As heartbeat, but from engine to engine. */
  echo: 10,
  /** Digest of a replica, one Uint32. */
  digest: 11,
} as const;
export type Kind = (typeof Kind)[keyof typeof Kind];
const HIGHEST_KIND = 11;

/** What a sender says of a frame; the sequence number is the channel's business. */
export interface Header {
  kind: Kind;
  type: NumberType;
  slot: number;
  epoch: number;
  layer: number;
  position: number;
  rows: number;
}

/** A frame as it was received. Its reader reuses the object, but never the payload's memory. */
export interface Frame extends Header {
  payload: Uint8Array;
  /** Bulk: where the payload starts in the transfer, and how long the transfer is. Otherwise 0 and the payload's length. */
  offset: number;
  total: number;
}

/** A frame that breaks the format: its link must be closed. */
export class FrameError extends Error {
  override name: string = 'FrameError';
}

/** The other side speaks another version of the frames. */
export class FrameVersionError extends FrameError {
  override name = 'FrameVersionError';
  constructor(readonly theirs: number) {
    super(`frames of version ${theirs}, where this page speaks version ${FRAME_VERSION}`);
  }
}

/** Writes a header at the start of `view`; a part's two further fields where they are given. */
export function writeHeader(
  view: DataView,
  header: Header,
  sequence: number,
  part?: { total: number; offset: number },
) {
  view.setUint8(0, FRAME_VERSION);
  view.setUint8(1, header.kind);
  view.setUint8(2, NUMBER_TYPES.indexOf(header.type) | (part ? PART_FLAG : 0));
  view.setUint8(3, header.slot);
  view.setUint16(4, header.epoch, true);
  view.setUint16(6, header.layer, true);
  view.setUint32(8, header.position, true);
  view.setUint16(12, header.rows, true);
  view.setUint16(14, sequence, true);
  if (!part) return;
  view.setUint32(16, part.total, true);
  view.setUint32(20, part.offset, true);
}

/** Memory to make frames in: the payload is written once and may be sent to many links. */
export interface FrameBuffer {
  bytes: Uint8Array;
  /** The memory behind the header, at a multiple of 4 bytes. */
  payload: Uint8Array;
  view: DataView;
}

export function createFrameBuffer(maxPayload: number): FrameBuffer {
  const buffer = new ArrayBuffer(HEADER_BYTES + maxPayload);
  return {
    bytes: new Uint8Array(buffer),
    payload: new Uint8Array(buffer, HEADER_BYTES),
    view: new DataView(buffer),
  };
}

/** Sends the parts of a frame whose payload does not fit into one message. `send` must not keep the bytes. */
export function sendParts(
  payload: Uint8Array,
  header: Header,
  sequence: number,
  maxMessage: number,
  send: (message: Uint8Array) => void,
): void {
  const room = maxMessage - PART_HEADER_BYTES;
  const message = new Uint8Array(Math.min(maxMessage, PART_HEADER_BYTES + payload.length));
  const view = new DataView(message.buffer);
  for (let offset = 0; offset < payload.length; offset += room) {
    const piece = payload.subarray(offset, offset + room);
    writeHeader(view, header, sequence, { total: payload.length, offset });
    message.set(piece, PART_HEADER_BYTES);
    send(message.subarray(0, PART_HEADER_BYTES + piece.length));
  }
}

/**
 * Reads the messages of one channel, in order. Gives the frame once it is whole; undefined while parts are missing.
 * The frame object is the same every time. Throws FrameError or FrameVersionError; the reader is of no use afterwards.
 * `maxPayload`: most bytes of a payload that is put together from parts. `lossy`: on this channel frames may be missing.
 */
export function createReader(maxPayload: number, lossy = false): (message: ArrayBuffer) => Frame | undefined {
  const frame: Frame = {
    kind: Kind.hello,
    type: 'f32',
    slot: 0,
    epoch: 0,
    layer: 0,
    position: 0,
    rows: 0,
    payload: new Uint8Array(),
    offset: 0,
    total: 0,
  };
  let expected = 0;
  let whole: Uint8Array | undefined;
  let filled = 0;

  function readPart(message: ArrayBuffer, view: DataView): boolean {
    if (message.byteLength <= PART_HEADER_BYTES) throw new FrameError('a part without content');
    const piece = new Uint8Array(message, PART_HEADER_BYTES);
    const total = view.getUint32(16, true);
    const offset = view.getUint32(20, true);
    if (offset + piece.length > total) throw new FrameError('a part that is longer than the whole');
    if (frame.kind === Kind.bulk) {
      frame.payload = piece;
      frame.offset = offset;
      frame.total = total;
      return true;
    }
    if (!whole) {
      if (total > maxPayload) throw new FrameError(`a payload of ${total} bytes, where ${maxPayload} are allowed`);
      whole = new Uint8Array(total);
      filled = 0;
    }
    if (total !== whole.length || offset !== filled) throw new FrameError('a part out of its order');
    whole.set(piece, offset);
    filled += piece.length;
    if (filled < total) return false;
    frame.payload = whole;
    frame.offset = 0;
    frame.total = total;
    whole = undefined;
    return true;
  }

  return (message) => {
    if (message.byteLength === 0) throw new FrameError('an empty message');
    const view = new DataView(message);
    const version = view.getUint8(0);
    if (version !== FRAME_VERSION) throw new FrameVersionError(version);
    if (message.byteLength < HEADER_BYTES) throw new FrameError('a message shorter than a header');
    const kind = view.getUint8(1);
    const types = view.getUint8(2);
    const type = NUMBER_TYPES[types & 0x0f];
    const sequence = view.getUint16(14, true);
    if (kind < 1 || kind > HIGHEST_KIND) throw new FrameError(`kind ${kind}, which does not exist`);
    if (!type || types & ~(0x0f | PART_FLAG)) throw new FrameError(`number type ${types}, which does not exist`);
    const part = (types & PART_FLAG) !== 0;
    if (whole && !(part && sameHeader(view, frame, kind, type)))
      throw new FrameError('a frame between the parts of another');
    if (kind === Kind.bulk && !part) throw new FrameError('a piece of bulk without its place');
    if (!lossy && sequence !== expected) throw new FrameError(`frame ${sequence}, where ${expected} was due`);
    frame.kind = kind as Kind;
    frame.type = type;
    frame.slot = view.getUint8(3);
    frame.epoch = view.getUint16(4, true);
    frame.layer = view.getUint16(6, true);
    frame.position = view.getUint32(8, true);
    frame.rows = view.getUint16(12, true);
    if (part) {
      if (!readPart(message, view)) return undefined;
    } else {
      frame.payload = new Uint8Array(message, HEADER_BYTES);
      frame.offset = 0;
      frame.total = frame.payload.length;
    }
    expected = (expected + 1) & 0xffff;
    return frame;
  };
}

function sameHeader(view: DataView, frame: Frame, kind: number, type: NumberType): boolean {
  return (
    frame.kind === kind &&
    frame.type === type &&
    frame.slot === view.getUint8(3) &&
    frame.epoch === view.getUint16(4, true) &&
    frame.layer === view.getUint16(6, true) &&
    frame.position === view.getUint32(8, true) &&
    frame.rows === view.getUint16(12, true)
  );
}
