import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket as NodeWebSocket } from 'ws';
import { enterRoom, type Room, type RoomEvents, type RoomOptions } from '../../../web/mesh/room.ts';
import { newDeviceKey, newSecret, roomKeys } from '../../../web/mesh/secret.ts';
import { connect, joinMessage, startRooms, type TestRooms, until } from '../rooms/page.ts';

let rooms: TestRooms;
let origin = '';
const entered: Room[] = [];
const texts: string[] = [];
const pageWebSocket = globalThis.WebSocket;

beforeEach(async () => {
  rooms = await startRooms();
  origin = `http://127.0.0.1:${rooms.port}`;
  texts.length = 0;
  // As a browser's: it says where its page is from.
  class PageWebSocket extends NodeWebSocket {
    constructor(url: string) {
      super(url, { origin });
      this.on('error', () => undefined);
    }
    override send(data: string): void {
      texts.push(data);
      super.send(data);
    }
  }
  globalThis.WebSocket = PageWebSocket as unknown as typeof WebSocket;
});
afterEach(async () => {
  for (const room of entered.splice(0)) room.leave();
  await rooms.close();
  globalThis.WebSocket = pageWebSocket;
});

function memoryStorage(copyOf?: Storage): Storage {
  const items = new Map<string, string>();
  const storage = {
    getItem: (name: string) => items.get(name) ?? null,
    setItem: (name: string, value: string) => void items.set(name, value),
    removeItem: (name: string) => void items.delete(name),
    clear: () => items.clear(),
    key: (index: number) => [...items.keys()][index] ?? null,
    get length() {
      return items.size;
    },
  };
  for (let i = 0; i < (copyOf?.length ?? 0); i++) {
    const name = copyOf!.key(i)!;
    storage.setItem(name, copyOf!.getItem(name)!);
  }
  return storage;
}

async function enter(secret: string, role: 'host' | 'device', changes: Partial<RoomOptions> = {}): Promise<Room> {
  const room = await enterRoom({
    server: origin,
    secret,
    role,
    profile: { name: role, browser: 'Test', rtc: true },
    storage: memoryStorage(),
    ...changes,
  });
  entered.push(room);
  return room;
}
const joined = (room: Room) => until(() => room.state === 'joined');
function heard<K extends keyof RoomEvents>(room: Room, name: K): RoomEvents[K][] {
  const list: RoomEvents[K][] = [];
  room.on(name, (detail) => list.push(detail));
  return list;
}

test('members find each other and exchange sealed signals', async () => {
  const secret = newSecret();
  const host = await enter(secret, 'host');
  await joined(host);
  const device = await enter(secret, 'device');
  await joined(device);
  await until(() => host.members.size === 2);
  expect([host.self, device.self, host.id]).toEqual([0, 1, device.id]);
  expect(host.members.get(1)).toMatchObject({ id: device.device, name: 'device', online: true });
  const signals = heard(host, 'signal');
  device.signal(0, 'hello');
  await until(() => signals.length === 1);
  expect(signals[0]).toMatchObject({ data: 'hello', member: { index: 1 } });
});

test('the secret never leaves the page, nor does a key reach another page', async () => {
  const secret = newSecret();
  const host = await enter(secret, 'host');
  await joined(host);
  const device = await enter(secret, 'device');
  await joined(device);
  device.signal(0, 'hello');
  expect(texts.length).toBeGreaterThan(2);
  for (const text of texts) expect(text).not.toContain(secret);
  expect(rooms.log.join('\n')).not.toContain(roomKeys(secret).proof);
});

test('a signal that was sealed without the secret is not believed', async () => {
  const secret = newSecret();
  const host = await enter(secret, 'host');
  await joined(host);
  // As a malicious server could: it knows the room's id and proof, but not the secret.
  const { id, proof } = roomKeys(secret);
  const forger = connect(rooms.port);
  forger.say(joinMessage({ secret: '', id, proof, hostKey: '' }, 'forger', newDeviceKey()));
  await forger.hear('welcome');
  const signals = heard(host, 'signal');
  forger.say({ type: 'signal', peer: 0, data: 'believe me', seal: 'a'.repeat(32) });
  forger.say({ type: 'profile', profile: { name: 'after', browser: '', rtc: true, session: 1 } });
  await until(() => host.members.get(1)?.name === 'after');
  expect(signals).toEqual([]);
});

test('a device that comes before the host waits for it', async () => {
  const secret = newSecret();
  const device = await enter(secret, 'device');
  await until(() => device.state === 'waiting');
  await enter(secret, 'host');
  await joined(device);
});

test('a reload is the same device, a second tab is another, and so is a copied tab', async () => {
  const secret = newSecret();
  await joined(await enter(secret, 'host'));
  const storage = memoryStorage();
  const device = await enter(secret, 'device', { storage });
  await joined(device);
  const second = await enter(secret, 'device');
  await joined(second);
  const copy = await enter(secret, 'device', { storage: memoryStorage(storage) });
  await joined(copy);
  expect([device.self, second.self, copy.self]).toEqual([1, 2, 3]);
  device.leave();
  const reloaded = await enter(secret, 'device', { storage });
  await joined(reloaded);
  expect([reloaded.device, reloaded.self]).toEqual([device.device, 1]);
});

test('after a restart of the server all are back at their places, whoever comes first', async () => {
  const secret = newSecret();
  const host = await enter(secret, 'host');
  await joined(host);
  const gone = await enter(secret, 'device');
  await joined(gone);
  const device = await enter(secret, 'device');
  await joined(device);
  gone.leave();
  const { port } = rooms;
  await rooms.close();
  await until(() => host.state === 'connecting' && device.state === 'connecting');
  rooms = await startRooms({}, port);
  await Promise.all([joined(host), joined(device)]);
  expect([host.self, device.self]).toEqual([0, 2]);
  await until(() => host.members.get(2)?.online === true);
  const late = await enter(secret, 'device');
  await joined(late);
  expect(late.self).toBe(3);
});

test('the host admits, refuses, renames and removes', async () => {
  const secret = newSecret();
  const host = await enter(secret, 'host', { ask: true });
  await joined(host);
  const wanted = await enter(secret, 'device', { profile: { name: 'wanted', browser: 'Test', rtc: true } });
  await until(() => wanted.state === 'pending' && host.knocks.length === 1);
  host.admit(host.knocks[0].id);
  await joined(wanted);
  expect(host.knocks).toEqual([]);
  host.rename(1, 'kitchen');
  await until(() => wanted.members.get(1)?.name === 'kitchen');

  const unwanted = await enter(secret, 'device');
  await until(() => host.knocks.length === 1);
  host.refuse(host.knocks[0].id);
  await until(() => unwanted.state === 'closed');
  expect(unwanted.failure).toMatchObject({ code: 'refused', message: 'The host did not let this device in.' });

  const left = heard(host, 'left');
  host.remove(1);
  await until(() => wanted.state === 'closed');
  expect(wanted.failure).toMatchObject({ code: 'removed' });
  expect(left).toMatchObject([{ reason: 'removed', member: { name: 'kitchen' } }]);
});

test('a removed device stays out after the server has forgotten everything', async () => {
  const secret = newSecret();
  const hostStorage = memoryStorage();
  const host = await enter(secret, 'host', { storage: hostStorage });
  await joined(host);
  const storage = memoryStorage();
  const device = await enter(secret, 'device', { storage });
  await joined(device);
  await until(() => host.members.size === 2);
  host.remove(1);
  await until(() => device.state === 'closed');
  host.leave();
  await until(() => rooms.stats().rooms === 0);
  await joined(await enter(secret, 'host', { storage: hostStorage }));
  const back = await enter(secret, 'device', { storage });
  await until(() => back.state === 'closed');
  expect(back.failure).toMatchObject({ code: 'removed' });
});

test('a device that has seen the host does not follow another into its room', async () => {
  const secret = newSecret();
  const host = await enter(secret, 'host');
  await joined(host);
  const storage = memoryStorage();
  const device = await enter(secret, 'device', { storage });
  await joined(device);
  host.leave();
  device.leave();
  await until(() => rooms.stats().rooms === 0);
  await joined(await enter(secret, 'host'));
  const again = await enter(secret, 'device', { storage });
  await until(() => again.state === 'closed');
  expect(again.failure).toMatchObject({ code: 'impostor' });
});

test('a page that is replaced by another tab says so and does not fight back', async () => {
  const secret = newSecret();
  await joined(await enter(secret, 'host'));
  const storage = memoryStorage();
  const device = await enter(secret, 'device', { storage });
  await joined(device);
  const { key } = JSON.parse(storage.getItem(`edgevisor.room.${device.id}`)!) as { key: string };
  const { id, proof } = roomKeys(secret);
  const thief = connect(rooms.port);
  thief.say(joinMessage({ secret, id, proof, hostKey: '' }, 'other tab', key));
  await thief.hear('welcome');
  await until(() => device.state === 'closed');
  expect(device.failure).toMatchObject({ code: 'replaced', message: 'This device goes on in another tab.' });
});
