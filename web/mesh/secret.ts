/**
 * What follows from a room's secret and a device's key. Both stay in the browser: the server sees only what is derived
 * here, and cannot go back. Written without `crypto.subtle` and `crypto.randomUUID`, which plain-http pages lack.
 */
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';

const SECRET_BYTES = 16;
const ID_BYTES = 16;
const SEAL_BYTES = 16;
const encoder = new TextEncoder();

/** What a page derives from the room's secret. */
export interface RoomKeys {
  /** The room's public name, 32 hex digits; safe to show and to log. */
  id: string;
  /** Shown to the server by whoever knows the secret, 64 hex digits. */
  proof: string;
  /** Seals the signals between members, so that the server can neither forge nor change them. */
  seal: Uint8Array;
}

/** A new room's secret: 128 random bits, 22 characters that a link's fragment can carry. */
export function newSecret(): string {
  return base64url(randomBytes(SECRET_BYTES));
}

/** Whether a text can be a room's secret: what {@link newSecret} makes. */
export function isSecret(text: string): boolean {
  return /^[A-Za-z0-9_-]{22}$/.test(text);
}

export function roomKeys(secret: string): RoomKeys {
  return {
    id: toHex(derive('room', secret).subarray(0, ID_BYTES)),
    proof: toHex(derive('proof', secret)),
    seal: derive('seal', secret),
  };
}

/** A device's private key, 32 hex digits. Whoever holds it is that device. */
export function newDeviceKey(): string {
  return toHex(randomBytes(ID_BYTES));
}

/** The device's public id, 32 hex digits. */
export function deviceId(key: string): string {
  return toHex(derive('device', key).subarray(0, ID_BYTES));
}

/** A random number of a page's life, 31 bits: a member that comes back with another one has been reloaded. */
export function newSession(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1;
}

/** Seal of a signal from one device id to another, 32 hex digits. */
export function sealSignal(seal: Uint8Array, from: string, to: string, data: string): string {
  return toHex(hmac(sha256, seal, encoder.encode(`${from} ${to} ${data}`)).subarray(0, SEAL_BYTES));
}

function derive(purpose: string, secret: string): Uint8Array {
  return hmac(sha256, encoder.encode(secret), encoder.encode(`edgevisor ${purpose}`));
}

function randomBytes(count: number): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(count));
}

function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}
