import { createHmac, timingSafeEqual } from 'node:crypto';

/**
 * Tickets for the relay: a member gets one with its welcome, and no list of them needs to be kept or shared. Good for
 * one member of one room, as long as the key lives.
 */
export interface Tickets {
  issue(room: string, index: number): string;
  accepts(ticket: string, room: string, index: number): boolean;
}

/** `key`: at least 32 random bytes, the same on all processes that share rooms. */
export function createTickets(key: Uint8Array): Tickets {
  const mac = (room: string, index: number) => createHmac('sha256', key).update(`relay ${room} ${index}`).digest();
  return {
    issue: (room, index) => mac(room, index).toString('base64url'),
    accepts(ticket, room, index) {
      const given = Buffer.from(ticket, 'base64url');
      const due = mac(room, index);
      return given.length === due.length && timingSafeEqual(given, due);
    },
  };
}
