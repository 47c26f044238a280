import { expect, it } from 'vitest';
import {
  consumerToken,
  createLogger,
  loadConfig,
  publicApiToken,
  verifyToken,
} from '@inference-server/service-kit';
import { Config } from '../src/config.js';
import { describeHost } from '../src/describe-host.js';
import { consumersOf, type HostResources } from '../src/identities.js';
import { testDevice } from './test-identity.js';

const operator = 'an-operator-token-of-some-length';
const required = {
  PRIVATE_API_URL: 'http://127.0.0.1:7000',
  REDIS_URL: 'redis://127.0.0.1:6379',
  CONSUMER_TOKEN: consumerToken(operator, 'host'),
};
const consumers = (environment: Record<string, string>, host: Partial<HostResources> = {}) =>
  consumersOf(loadConfig(Config, { ...required, ...environment }), {
    ...{ cpus: 12, memoryMib: 10_000, devices: [] },
    ...host,
  });
const uuids = [
  'GPU-6f1c2a3b-0000-4000-8000-0123456789ab',
  'MIG-0a1b2c3d-0000-4000-8000-0123456789ab',
];
const devices = uuids.map((uuid) => testDevice(uuid, 8_000));

it('makes one CPU consumer by default, with the cores as its slots', () => {
  const [only, ...more] = consumers({});
  expect(more).toEqual([]);
  expect(only.device).toBeNull();
  expect(only.slots).toBe(12);
  expect(only.id).toBe('host');
  expect(verifyToken(operator, only.token)).toEqual({
    kind: 'consumer',
    consumerId: only.id,
  });
});

it('makes a consumer of each device that is found, and one for the rest of the host', () => {
  const found = consumers({ GPUS: 'auto' }, { devices });
  expect(found.map(({ id, slots, device }) => ({ id, slots, device }))).toEqual([
    { id: 'host-cpu', slots: 4, device: null },
    { id: 'host-gpu-6f1c2a3b', slots: 16, device: { ...devices[0], memory_mib: 7_488 } },
    { id: 'host-gpu-0a1b2c3d', slots: 16, device: { ...devices[1], memory_mib: 7_488 } },
  ]);
  for (const { id, token } of found) {
    expect(verifyToken(operator, token)).toEqual({ kind: 'consumer', consumerId: id });
  }
  const without = consumers({ GPUS: 'auto' });
  expect(without.map(({ id, slots }) => ({ id, slots }))).toEqual([{ id: 'host-cpu', slots: 12 }]);
});

it('makes none for the rest of the host where devices are named, unless it is asked for', () => {
  const idsOf = (environment: Record<string, string>) =>
    consumers(environment, { devices }).map(({ id }) => id);
  const ids = ['host-gpu-6f1c2a3b', 'host-gpu-0a1b2c3d'];
  expect(idsOf({ GPUS: uuids.join(',') })).toEqual(ids);
  expect(idsOf({ GPUS: uuids.join(','), CPU_SLOTS: '3' })).toEqual(['host-cpu', ...ids]);
  expect(idsOf({ GPUS: 'auto', CPU_SLOTS: '0' })).toEqual(ids);
  expect(() => consumers({ CPU_SLOTS: '0' })).toThrow(/nothing to run tasks on/);
});

it.each([
  ['nvidia.com/gpu=GPU-6f1c2a3b-0000-4000-8000-0123456789ab', '6f1c2a3b'],
  ['nvidia.com/gpu=0', '0'],
  ['GPU-1', '1'],
  ['MIG-GPU-6f1c2a3b-0000-4000-8000-0123456789ab/1/0', '6f1c2a3b-1-0'],
])('names the consumer of %s by it', (uuid, name) => {
  const [only] = consumers({ GPUS: uuid }, { devices: [testDevice(uuid)] });
  expect(only.id).toBe(`host-gpu-${name}`);
  expect(only.device?.memory_mib).toBeNull();
});

it.each([
  ['by two names', [uuids[0]!, `nvidia.com/gpu=${uuids[0]}`]],
  ['a slice by two names', [`nvidia.com/gpu=${uuids[1]}`, uuids[1]!]],
  ['with a slice of it', [uuids[0]!, uuids[1]!]],
  [
    'with a slice of it, by CDI names',
    [`nvidia.com/gpu=${uuids[1]}`, `nvidia.com/gpu=${uuids[0]}`],
  ],
])('refuses a device that is named twice: %s', (_how, twice) => {
  const asked = twice.map((uuid) => ({
    ...testDevice(uuid),
    ...(uuid.includes('MIG') && { gpu_uuid: uuids[0]! }),
  }));
  expect(() => consumers({ GPUS: twice.join() }, { devices: asked })).toThrow(
    `named twice: ${twice.join(', ')}`,
  );
});

it('refuses two devices whose consumers would have one name', () => {
  const alike = ['GPU-6f1c2a3b-0000-4000-8000-000000000001', uuids[0]!].map((uuid) =>
    testDevice(uuid),
  );
  expect(() => consumers({ GPUS: 'auto' }, { devices: alike })).toThrow(/one name/);
});

it.each([
  ...['auto,GPU-1', 'GPU-1,none', 'GPU-1,auto,GPU-2', 'GPU-1, GPU-2', 'GPU-1,', 'GPU-'],
  ...['0', '0,1', '0,GPU-1', 'GPU-1,1', 'all', 'nvidia.com/gpu=all', 'nvidia.com/gpu=all,GPU-1'],
])('has no GPUS=%s', (GPUS) => {
  expect(() => consumers({ GPUS })).toThrow(/^GPUS: .*GPU-…, MIG-…, CDI names; no numbers/);
  if (GPUS.includes(',')) return;
  expect(() => consumers({ GPU_UUID: GPUS })).toThrow(/^GPU_UUID: .*no number/);
});

it.each(['GPU-1', 'MIG-2', 'MIG-GPU-1/2/0', 'nvidia.com/gpu=0', 'nvidia.com/gpu=0:1'])(
  'takes %s for a device, with others and alone',
  (name) => {
    expect(loadConfig(Config, { ...required, GPUS: `${name},GPU-9` })).toMatchObject({
      GPUS: `${name},GPU-9`,
    });
    expect(loadConfig(Config, { ...required, GPU_UUID: name })).toMatchObject({ GPU_UUID: name });
  },
);

it('refuses one name twice', async () => {
  const config = loadConfig(Config, { ...required, GPUS: 'GPU-1,GPU-1' });
  const description = {
    ...{ cpus: 2, memoryBytes: 1024 ** 3, runtimes: [], cdiDevices: [] },
    ...{ hasUserNamespaces: false, hasSeccomp: true, cgroupDriver: 'none' },
  };
  const host = await describeHost(
    {
      config,
      engine: { describe: async () => description },
      gpuSource: { list: async () => undefined },
      logger: createLogger('test', 'silent'),
    },
    new AbortController().signal,
  );
  expect(() => consumersOf(config, host)).toThrow('named twice: GPU-1, GPU-1');
});

it('takes limits and its name as they are given', () => {
  const token = consumerToken(operator, 'mine');
  const [only] = consumers({
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
  const [gpu, second] = consumers({ GPUS: uuids.join(',') }, { devices });
  expect(cpu.share.cpus).toBe(cpu.host.cpus);
  expect(cpu.share.memory_mib).toBeLessThan(cpu.host.memory_mib);
  expect(cpu.limits.memoryBytes).toBe(Math.floor((cpu.share.memory_mib * 3) / 4 / 4) * 1024 ** 2);
  expect(gpu.share).toEqual(second?.share);
  expect(gpu.share.cpus).toBe(cpu.share.cpus / 2);
  expect(gpu.limits.memoryBytes).toBe(gpu.share.memory_mib * 1024 ** 2);
});

it('shares out no more than its part of the host, so that two processes on one engine fit', () => {
  const [cpu] = consumers({ HOST_SHARE: '0.25', CPU_SLOTS: '1' });
  const gpus = consumers({ HOST_SHARE: '0.75', GPUS: 'auto', CPU_SLOTS: '0' }, { devices });
  const all = [cpu, ...gpus];
  const sumOf = (amountOf: (of: typeof cpu) => number) =>
    all.reduce((sum, of) => sum + amountOf(of), 0);
  expect(gpus).toHaveLength(2);
  expect(sumOf(({ share }) => share.cpus)).toBe(12);
  expect(sumOf(({ share }) => share.memory_mib)).toBe(9_000);
  // A quarter of what is for CPU slots is left to replicas.
  const left = Math.ceil(cpu.share.memory_mib / 4);
  expect(sumOf(({ limits }) => limits.memoryBytes)).toBe((9_000 - left) * 1024 ** 2);
  expect(all.map(({ host }) => host.cpus)).toEqual([12, 12, 12]);
  expect(consumers({ HOST_SHARE: '0.5' })[0].slots).toBe(6);
  for (const none of ['0', '1.1', '-1', 'all']) {
    expect(() => consumers({ HOST_SHARE: none }), none).toThrow(/HOST_SHARE/);
  }
});

it.each([
  [{ CONTAINER_CPUS: '13' }, /^CONTAINER_CPUS.*each of 12 CPU slots.*12 cores/],
  [{ CONTAINER_MEMORY_MIB: '9001' }, /CONTAINER_MEMORY_MIB.*9000 MiB/],
  [{ CPU_SLOTS: '1000', HOST_SHARE: '0.5' }, /too little for each of 1000 CPU slots: 0.006 cores/],
])('refuses %o, which no task of its could have', (settings, words) => {
  expect(() => consumers(settings)).toThrow(words);
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
  for (const token of ['', operator, publicApiToken(operator), consumerToken(operator, '-')]) {
    expect(() => consumers({ CONSUMER_TOKEN: token })).toThrow(/CONSUMER_TOKEN/);
  }
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
