/**
 * Hashes that are the same on every page: `crypto.subtle` does not exist on a plain-http page of the home network.
 */
import { sha256 } from '@noble/hashes/sha2.js';

/** SHA-256 as 64 hexadecimal digits; about 140 MB/s. For names that nobody may forge, such as a model's digest. */
export function sha256Hex(bytes: Uint8Array): string {
  return hex(sha256(bytes));
}

function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

/** Bytes that the inner loop of MurmurHash3 takes at once: four 32-bit words. */
const BLOCK_BYTES = 16;

/**
 * 128-bit MurmurHash3 (the x86 variant, seed 0) as 32 hexadecimal digits; about 1 GB/s.
 * Finds damage and half-written pieces. It is no protection against someone who makes collisions on purpose:
 * where that matters, use {@link sha256Hex}.
 * Source: Austin Appleby, MurmurHash3_x86_128, public domain.
 */
export function hashHex(bytes: Uint8Array): string {
  const C1 = 0x239b961b;
  const C2 = 0xab0e9789 | 0;
  const C3 = 0x38b34ae5;
  const C4 = 0xa1e38b93 | 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.length;
  const whole = length - (length % BLOCK_BYTES);
  let h1 = 0;
  let h2 = 0;
  let h3 = 0;
  let h4 = 0;
  for (let at = 0; at < whole; at += BLOCK_BYTES) {
    h1 ^= Math.imul(rotate(Math.imul(view.getInt32(at, true), C1), 15), C2);
    h1 = (Math.imul((rotate(h1, 19) + h2) | 0, 5) + 0x561ccd1b) | 0;
    h2 ^= Math.imul(rotate(Math.imul(view.getInt32(at + 4, true), C2), 16), C3);
    h2 = (Math.imul((rotate(h2, 17) + h3) | 0, 5) + 0x0bcaa747) | 0;
    h3 ^= Math.imul(rotate(Math.imul(view.getInt32(at + 8, true), C3), 17), C4);
    h3 = (Math.imul((rotate(h3, 15) + h4) | 0, 5) + 0x96cd1c35) | 0;
    h4 ^= Math.imul(rotate(Math.imul(view.getInt32(at + 12, true), C4), 18), C1);
    h4 = (Math.imul((rotate(h4, 13) + h1) | 0, 5) + 0x32ac3b17) | 0;
  }
  if (whole < length) {
    // A rest of zeros mixes to nothing, so padding it with zeros equals the original's byte-wise tail.
    const rest = new DataView(new ArrayBuffer(BLOCK_BYTES));
    for (let at = whole; at < length; at++) rest.setUint8(at - whole, bytes[at]!);
    h4 ^= Math.imul(rotate(Math.imul(rest.getInt32(12, true), C4), 18), C1);
    h3 ^= Math.imul(rotate(Math.imul(rest.getInt32(8, true), C3), 17), C4);
    h2 ^= Math.imul(rotate(Math.imul(rest.getInt32(4, true), C2), 16), C3);
    h1 ^= Math.imul(rotate(Math.imul(rest.getInt32(0, true), C1), 15), C2);
  }
  h1 ^= length;
  h2 ^= length;
  h3 ^= length;
  h4 ^= length;
  h1 = (h1 + h2 + h3 + h4) | 0;
  h2 = (h2 + h1) | 0;
  h3 = (h3 + h1) | 0;
  h4 = (h4 + h1) | 0;
  h1 = finish(h1);
  h2 = finish(h2);
  h3 = finish(h3);
  h4 = finish(h4);
  h1 = (h1 + h2 + h3 + h4) | 0;
  h2 = (h2 + h1) | 0;
  h3 = (h3 + h1) | 0;
  h4 = (h4 + h1) | 0;
  return [h1, h2, h3, h4].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
}

function rotate(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}

function finish(word: number): number {
  let h = word ^ (word >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}
