import * as v from 'valibot';
import type { IceServer } from '../web/mesh/messages.ts';

const urls = v.pipe(v.string(), v.regex(/^(stun|stuns|turn|turns):\S+$/));
const IceServersSchema = v.array(
  v.strictObject({
    urls: v.union([urls, v.array(urls)]),
    username: v.optional(v.string()),
    credential: v.optional(v.string()),
  }),
);

/**
 * Reads `ICE_SERVERS`: addresses with commas between them (`stun:stun.example.org,stun:10.0.0.2`), or JSON as
 * `RTCPeerConnection` takes it, where a TURN server needs a name and a password. Nothing gives no servers.
 * Throws an Error that says what is wrong, without repeating the password.
 */
export function parseIceServers(text: string | undefined): IceServer[] {
  const trimmed = text?.trim();
  if (!trimmed) return [];
  let value: unknown;
  try {
    value = trimmed.startsWith('[') ? JSON.parse(trimmed) : trimmed.split(',').map((url) => ({ urls: url.trim() }));
  } catch {
    throw new Error('ICE_SERVERS starts like JSON, but is none.');
  }
  const result = v.safeParse(IceServersSchema, value);
  if (result.success) return result.output;
  const place = v.getDotPath(result.issues[0]) ?? 'it';
  throw new Error(
    `ICE_SERVERS: ${place} is not as it should be. Write stun:HOST:PORT, or JSON with urls, username, credential.`,
  );
}
