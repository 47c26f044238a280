import { expect, it } from 'vitest';
import { consumerToken, loadConfig, verifyToken } from '@inference-server/service-kit';
import { Config, consumersOf } from '../src/config.js';

const operator = 'an-operator-token-of-some-length';
const required = {
  PRIVATE_API_URL: 'http://127.0.0.1:7000',
  REDIS_URL: 'redis://127.0.0.1:6379',
  PRIVATE_API_TOKEN: operator,
};
const consumers = (environment: Record<string, string>) =>
  consumersOf(loadConfig(Config, { ...required, ...environment }));

it('makes one CPU consumer by default, with the cores as its slots', () => {
  const [only, ...more] = consumers({});
  expect(more).toEqual([]);
  expect(only.device).toBeNull();
  expect(only.slots).toBeGreaterThan(0);
  expect(only.id).toMatch(/-cpu$/);
  expect(verifyToken(operator, only.token)).toEqual({
    kind: 'consumer',
    consumerId: only.id,
  });
});

it('makes a consumer with one slot for each GPU', () => {
  const found = consumers({
    CONSUMER_ID: 'host',
    GPUS: 'GPU-1,MIG-2,nvidia.com/gpu=0',
    CPU_SLOTS: '9',
  });
  expect(found.map(({ id, slots, device }) => ({ id, slots, gpu: device?.uuid }))).toEqual([
    { id: 'host-gpu-0', slots: 1, gpu: 'GPU-1' },
    { id: 'host-gpu-1', slots: 1, gpu: 'MIG-2' },
    { id: 'host-gpu-2', slots: 1, gpu: 'nvidia.com/gpu=0' },
  ]);
});

it('takes limits and a derived token as they are given', () => {
  const token = consumerToken(operator, 'mine');
  const [only] = consumers({
    CONSUMER_ID: 'mine',
    CONSUMER_TOKEN: token,
    CPU_SLOTS: '3',
    CONTAINER_MEMORY_MIB: '100',
    CONTAINER_CPUS: '0.5',
  });
  expect(only).toMatchObject({
    id: 'mine',
    token,
    slots: 3,
    limits: { memoryBytes: 100 * 1024 ** 2, cpus: 0.5 },
  });
});

it('shares the host out between consumers, and those between their slots', () => {
  const [cpu] = consumers({ CPU_SLOTS: '4' });
  const [gpu, second] = consumers({ GPUS: 'GPU-1,GPU-2' });
  expect(cpu.share.cpus).toBe(cpu.host.cpus);
  expect(cpu.share.memory_mib).toBeLessThan(cpu.host.memory_mib);
  expect(cpu.limits.memoryBytes).toBe(Math.floor(cpu.share.memory_mib / 4) * 1024 ** 2);
  expect(gpu.share).toEqual(second?.share);
  expect(gpu.share.cpus).toBe(cpu.share.cpus / 2);
  expect(gpu.limits.memoryBytes).toBe(gpu.share.memory_mib * 1024 ** 2);
});

it('reads labels', () => {
  expect(consumers({})[0].labels).toEqual({});
  expect(consumers({ CONSUMER_LABELS: 'site=lab-2,disk=nvme' })[0].labels).toEqual({
    site: 'lab-2',
    disk: 'nvme',
  });
  expect(() => consumers({ CONSUMER_LABELS: 'a=1,a=2' })).toThrow(/CONSUMER_LABELS/);
  expect(() => consumers({ CONSUMER_LABELS: 'a' })).toThrow(/CONSUMER_LABELS/);
});

it('refuses settings that contradict each other, or are missing', () => {
  expect(() => consumers({ GPUS: 'GPU-1,GPU-2', CONSUMER_TOKEN: 'x'.repeat(20) })).toThrow(
    /CONSUMER_TOKEN/,
  );
  expect(() => consumers({ PRIVATE_API_TOKEN: '' })).toThrow(/PRIVATE_API_TOKEN/);
  expect(() => consumers({ REDIS_URL: '', CPU_SLOTS: 'many' })).toThrow(/REDIS_URL[^]*CPU_SLOTS/);
});

it('has no time that is too long for a timer: that would go off at once', () => {
  const longestTimerS = (2 ** 31 - 1) / 1000;
  const times = Object.keys(Config.properties).filter((name) => name.endsWith('_S'));
  expect(times).toContain('SWEEP_INTERVAL_S');
  for (const name of times.filter((each) => each !== 'MODEL_VOLUME_MAX_AGE_S')) {
    expect(() => consumers({ [name]: String(longestTimerS + 1) }), name).toThrow(name);
  }
  // No timer waits for that one. Ten times the pause is the longest that there is.
  expect(() => consumers({ MODEL_VOLUME_MAX_AGE_S: String(2 ** 31) })).toThrow(/MODEL_VOLUME/);
  expect(() => consumers({ QUARANTINE_S: String(longestTimerS / 10 + 1) })).toThrow(/QUARANTINE_S/);
});
