import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DEFAULT_MODELS_DIR, parseServerOptions, UsageError } from '../../../signaling-server/options.ts';

describe('server options', () => {
  test('defaults: port 8080 and the models directory of the repository', () => {
    expect(parseServerOptions([], {})).toMatchObject({ port: 8080, models: DEFAULT_MODELS_DIR });
    expect(DEFAULT_MODELS_DIR).toBe(resolve(import.meta.dirname, '../../../models'));
  });

  test('the environment replaces defaults, and flags replace the environment', () => {
    const env = { PORT: '9000', MODELS_DIR: '/from-env' };
    expect(parseServerOptions([], env)).toMatchObject({ port: 9000, models: resolve('/from-env') });
    expect(parseServerOptions(['--port', '9100', '--models=/from-flag'], env)).toMatchObject({
      port: 9100,
      models: resolve('/from-flag'),
    });
  });

  test('relative directories count from the working directory', () => {
    expect(parseServerOptions(['--models', 'here'], {})).toMatchObject({ models: resolve('here') });
  });

  test('ICE servers and Redis come from the environment, and neither is needed', () => {
    expect(parseServerOptions([], {})).toMatchObject({ iceServers: [] });
    expect(parseServerOptions([], {})).not.toHaveProperty('redisUrl');
    const env = { ICE_SERVERS: 'stun:stun.example.org', REDIS_URL: 'redis://localhost' };
    expect(parseServerOptions([], env)).toMatchObject({
      iceServers: [{ urls: 'stun:stun.example.org' }],
      redisUrl: 'redis://localhost',
    });
    expect(() => parseServerOptions([], { ICE_SERVERS: 'http://x' })).toThrow(UsageError);
  });

  test('the plan socket is off unless asked for', () => {
    expect(parseServerOptions([], {})).not.toHaveProperty('planSocket');
    const env = { EDGEVISOR_PLAN_SOCKET: '/run/from-env' };
    expect(parseServerOptions([], env)).toMatchObject({ planSocket: '/run/from-env' });
    expect(parseServerOptions(['--plan-socket', 'here'], env)).toMatchObject({ planSocket: resolve('here') });
  });

  test('--help asks for the usage', () => {
    expect(parseServerOptions(['--help'], {})).toBe('help');
  });

  test.each([
    [['--prot', '1'], {}, /--prot/],
    [['extra'], {}, /extra/],
    [['--port'], {}, /--port/],
    [['--port', 'eighty'], {}, /--port must be a number.*eighty/],
    [['--port', '65535'], {}, /65534/],
    [[], { PORT: '-1' }, /PORT must be a number/],
  ])('%j with %j is refused, with the usage', (argv, env, problem) => {
    expect(() => parseServerOptions(argv, env)).toThrow(UsageError);
    expect(() => parseServerOptions(argv, env)).toThrow(problem);
    expect(() => parseServerOptions(argv, env)).toThrow(/Usage: npm start/);
  });
});
