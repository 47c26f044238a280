import { expect, it } from 'vitest';
import { loadConfig, newOperatorToken } from '@inference-server/service-kit';
import { Config } from '../src/config.js';

const required = {
  DATABASE_URL: 'postgres://127.0.0.1/x',
  REDIS_URL: 'redis://127.0.0.1:6379',
  STORAGE_URL: '/x',
  PRIVATE_API_TOKEN: newOperatorToken(),
};
const times = Object.keys(Config.properties).filter((name) => name.endsWith('_S'));

it('has a longest for each of its times, which a timer and the database can take', () => {
  expect(times).toContain('SWEEP_INTERVAL_S');
  const config = loadConfig(Config, required);
  for (const name of times) {
    const { maximum = Infinity } = Config.properties[name as 'LEASE_S'] as { maximum?: number };
    expect(maximum, name).toBeLessThan(2 ** 31);
    expect(config[name as 'LEASE_S'], name).toBeLessThanOrEqual(maximum);
    expect(() => loadConfig(Config, { ...required, [name]: String(maximum + 1) })).toThrow(name);
  }
});

it.each(['SWEEP_INTERVAL_S', 'STORAGE_SWEEP_INTERVAL_S', 'ABANDONED_AFTER_S', 'UPLOAD_WINDOW_S'])(
  'has no %s that is too long for a timer: that would go off at once',
  (name) => {
    const longestTimerS = (2 ** 31 - 1) / 1000;
    const tooLong = { ...required, [name]: String(longestTimerS + 1) };
    expect(() => loadConfig(Config, tooLong)).toThrow(name);
  },
);
