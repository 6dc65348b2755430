import { expect, test } from 'vitest';
import { parseIceServers } from '../../../signaling-server/rooms-ice.ts';

test.each([
  [undefined, []],
  [' ', []],
  ['stun:a.example, stun:10.0.0.2:3478', [{ urls: 'stun:a.example' }, { urls: 'stun:10.0.0.2:3478' }]],
  [
    '[{"urls":["turn:t.example"],"username":"u","credential":"p"}]',
    [{ urls: ['turn:t.example'], username: 'u', credential: 'p' }],
  ],
])('ICE_SERVERS=%s', (text, servers) => {
  expect(parseIceServers(text)).toEqual(servers);
});

test.each(['http://a.example', '[{"urls":"turn:x","credential":7}]', '[{', '[{"urls":"turn:x","password":"hunter2"}]'])(
  'ICE_SERVERS=%s is refused, and not repeated',
  (text) => {
    expect(() => parseIceServers(text)).toThrow(/^ICE_SERVERS/);
    expect(() => parseIceServers(text)).not.toThrow(/hunter2/);
  },
);
