/** What a stranger may cost this server. */
export interface RoomLimits {
  rooms: number;
  /** Members of a room that are present, and devices that wait to be admitted, each. */
  members: number;
  /** Devices that a room remembers, present or not. */
  seats: number;
  /** WebSockets over all, rooms and relay together. */
  connections: number;
  connectionsPerAddress: number;
  /** Messages a second on a room's socket in the long run, and at once. */
  messagesPerSecond: number;
  messageBurst: number;
  /** Bytes a second and direction through one relayed channel. */
  relayBytesPerSecond: number;
  /** Time in ms for a socket to say what it wants, and for the second end of a relayed channel to come. */
  helloMs: number;
  /** Time in ms between two WebSocket pings; a socket that has not answered the last one is ended. */
  pingMs: number;
  /** How long in ms a member's place is shown after its socket broke without a goodbye. */
  absenceMs: number;
  /** How long in ms a host's page may take to answer the plan socket. */
  planReplyMs: number;
}

export const DEFAULT_LIMITS: RoomLimits = {
  rooms: 1000,
  members: 16,
  seats: 1024,
  connections: 4096,
  connectionsPerAddress: 256,
  messagesPerSecond: 50,
  messageBurst: 400,
  relayBytesPerSecond: 64 * 1024 * 1024,
  helloMs: 10_000,
  pingMs: 10_000,
  absenceMs: 30_000,
  planReplyMs: 10_000,
};

/** Lets `perSecond` units pass in the long run and `burst` at once. Gives the time in ms after which `units` may pass. */
export function createRate(perSecond: number, burst: number, now: () => number = () => performance.now()) {
  let available = burst;
  let last = now();
  return (units: number): number => {
    const at = now();
    available = Math.min(burst, available + ((at - last) / 1000) * perSecond) - units;
    last = at;
    return available >= 0 ? 0 : (-available / perSecond) * 1000;
  };
}
