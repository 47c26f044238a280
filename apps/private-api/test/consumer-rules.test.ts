import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ConsumerDetails, ConsumerRegistration, Problem } from '@inference-server/contracts';
import { testFolder } from '@inference-server/testing';
import { gpu, plenty } from './capacities.js';
import { runPrivateApi, type RunningPrivateApi } from './running-private-api.js';

const policy = `
consumers:
  - { name: cpu, max_slots: 2, max_cpus: 8, max_memory_mib: 8192, devices: [], labels: { site: [lab-2, lab-3] } }
  - { name: cpu, max_slots: 1, devices: [GPU-1] }
  - { name: gpu, devices: [GPU-5, MIG-1], gpus: [GPU-3], max_gpu_memory_mib: 8000 }
  - { name: plain, devices: [GPU-4] }
  - { name: ward.*-gpu-*, labels: { disk: ['nv*'] } }
`;

let api: RunningPrivateApi;
beforeAll(async () => {
  const file = join(await testFolder(), 'policy.yaml');
  await writeFile(file, policy);
  api = await runPrivateApi({ POLICY_FILE: file });
});
afterAll(() => api.close());

async function register(id: string, registration: Partial<ConsumerRegistration> = {}) {
  const { token, holder } = api.consumer(id);
  const said = { holder, version: '0', state: 'ready', reason: null, ...plenty, ...registration };
  const answer = await api.call(
    `/internal/consumers/${id}`,
    {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(said),
    },
    token,
  );
  const { code, detail, reason } = (await answer.json()) as Partial<Problem>;
  return { status: answer.status, code, detail, reason };
}
const whole = (uuid: string, memory_mib: number | null): Partial<ConsumerRegistration> => ({
  device: { uuid, name: null, memory_mib, driver: null },
});
const slice = (uuid: string, gpu_uuid: string): Partial<ConsumerRegistration> => ({
  device: { uuid, gpu_uuid, name: null, memory_mib: 1, driver: null },
});
const share = (more: object) => ({ share: { ...plenty.share, ...more } });

it.each<[string, string, Partial<ConsumerRegistration>]>([
  ['as much as it may', 'cpu', { labels: { site: 'lab-3' } }],
  ['less', 'cpu', { slots: 1, ...share({ cpus: 1 }), labels: {} }],
  ['what another entry of its name allows', 'cpu', { ...gpu(null), labels: { any: 'x' } }],
  ['as much of a GPU', 'gpu', whole('GPU-5', 8000)],
  ['a slice of a GPU that it may have', 'gpu', slice('MIG-1', 'GPU-3')],
  ['a name of a pattern', 'ward.7-gpu-1', { slots: 1000, labels: { disk: 'nvme' } }],
])('a consumer is let in with %s', async (_what, id, registration) => {
  expect(await register(id, registration)).toMatchObject({ status: 200 });
});

it.each<[string, string, Partial<ConsumerRegistration>, string]>([
  ['a name that is not there', 'cpu-cpu', {}, 'no entry has its name'],
  ['a name beside a pattern', 'wardx7-gpu-1', {}, 'no entry has its name'],
  ['more slots', 'cpu', { slots: 3 }, '2 slots'],
  ['more cores', 'cpu', share({ cpus: 8.5 }), '8 cores'],
  ['more memory', 'cpu', share({ memory_mib: 8193 }), '8192 MiB'],
  ['a device', 'cpu', { device: { ...gpu(1).device, uuid: 'GPU-2' } as never }, 'devices'],
  ['more of a GPU', 'gpu', whole('GPU-5', 8001), '8000 MiB'],
  ['who knows how much of a GPU', 'gpu', whole('GPU-5', null), '8000 MiB'],
  ['a slice of another GPU', 'gpu', slice('MIG-1', 'GPU-2'), 'gpus'],
  ['a GPU that is said to be of another', 'plain', slice('GPU-4', 'GPU-2'), 'gpus'],
  ['a label of another value', 'cpu', { labels: { site: 'lab-1' } }, 'labels'],
  ['another label', 'cpu', { labels: { site: 'lab-2', disk: 'nvme' } }, 'labels'],
  ['a label beside a pattern', 'ward.7-gpu-1', { labels: { disk: 'hdd' } }, 'labels'],
])('a consumer is not let in with %s', async (_what, id, registration, why) => {
  const refused = await register(id, registration);
  expect(refused).toMatchObject({ status: 403, code: 'FORBIDDEN', reason: 'consumers' });
  expect(refused.detail).toContain(why);
});

it('what a consumer says later is judged too, and changes nothing where it is too much', async () => {
  const before = { slots: 2, labels: { site: 'lab-2' } };
  expect(await register('cpu', before)).toMatchObject({ status: 200 });
  expect(await register('cpu', { slots: 3, labels: { site: 'lab-2' } })).toMatchObject({
    status: 403,
  });
  const listed = (await (await api.call('/api/consumers/')).json()) as ConsumerDetails[];
  expect(listed.find(({ id }) => id === 'cpu')).toMatchObject(before);
});
