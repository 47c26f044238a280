import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ClaimAnswer, Model } from '@inference-server/contracts';
import { waitUntil } from '@inference-server/testing';
import { gpu, needs } from './capacities.js';
import { runPrivateApi, type RunningPrivateApi } from './running-private-api.js';
import { problemOfTask, registerBoth, stateOfTask } from './task-helpers.js';

let api: RunningPrivateApi;
beforeAll(async () => {
  api = await runPrivateApi({ HEARTBEAT_S: 60 });
});
afterAll(() => api.close());

/** Everything that a model can say that its runs need. */
const everything =
  'use_gpu=true&gpu_count=1&gpu_memory_mib=8000&cpus=1.5&memory_mib=2000&shm_mib=64&labels=site=lab-2,disk=';
const asTold = needs({
  use_gpu: true,
  gpu_memory_mib: 8_000,
  cpus: 1.5,
  memory_mib: 2_000,
  shm_mib: 64,
  labels: { site: 'lab-2', disk: '' },
});

async function post(id: string, query: string): Promise<Model> {
  const address = `/api/models/?human_readable_id=${id}&container_tag=a:1&${query}`;
  return (await (await api.call(address, { method: 'POST' })).json()) as Model;
}

const isQueued = (uid: string) => async () => (await stateOfTask(api, uid))?.state === 'QUEUED';

describe('what a model needs', () => {
  it('is told of it, and to whoever runs it', async () => {
    expect(await post('all', everything)).toMatchObject(asTold);
    const got = (await (await api.call('/api/models/all')).json()) as Model;
    expect(got).toMatchObject(asTold);
    expect(got).not.toHaveProperty('warnings');
    const uid = await api.postTask('all');
    const consumer = api.consumer('g');
    await consumer.register({ ...gpu(8_000), labels: { site: 'lab-2', disk: '', more: 'x' } });
    expect(await waitUntil(isQueued(uid), { timeoutMs: 10_000 })).toBe(true);
    const claim: ClaimAnswer = await consumer.claim(uid);
    expect(claim).toMatchObject({ outcome: 'won', work: { needs: asTold } });
    await consumer.signOff();
  });

  it('makes another version, where it changes', async () => {
    const put = async (query: string) => {
      const answer = await api.call(`/api/models/changing?container_tag=a:1&${query}`, {
        method: 'PUT',
      });
      return ((await answer.json()) as Model).version;
    };
    const versions = [];
    for (const query of [
      '',
      'cpus=1',
      'cpus=1',
      'labels=a=1,b=2',
      'labels=b=2,a=1',
      'gpu_count=1',
    ]) {
      versions.push(await put(query));
    }
    expect(versions).toEqual([1, 2, 2, 3, 3, 4]);
  });
});

describe('what nobody can run', () => {
  it('is warned of when it is registered', async () => {
    await registerBoth(api);
    const warnings = async (id: string, query: string) => (await post(id, query)).warnings;
    expect(await warnings('w1', 'use_gpu=true&gpu_memory_mib=16384')).toBeUndefined();
    expect(await warnings('w2', 'use_gpu=true&gpu_memory_mib=16385')).toEqual([
      'No consumer that is registered now could run a task of it. It needs: a GPU with 16385 MiB.',
    ]);
    expect(await warnings('w3', 'labels=site=moon')).toEqual([
      expect.stringContaining('the label site=moon'),
    ]);
  });

  it('says so for as long as it waits, and runs when somebody comes who can', async () => {
    await registerBoth(api);
    await post('labelled', 'labels=site=mars');
    const uid = await api.postTask('labelled');
    const told = async () => (await problemOfTask(api, uid)).task?.unservable === true;
    expect(await waitUntil(told, { timeoutMs: 10_000 })).toBe(true);
    const { detail } = await problemOfTask(api, uid);
    expect(detail).toBe(
      'The task waits for a consumer that could run it; none is there. It needs: a CPU consumer, the label site=mars.',
    );
    // It does not stand before what can run.
    await post('plain', '');
    expect(await waitUntil(isQueued(await api.postTask('plain')), { timeoutMs: 10_000 })).toBe(
      true,
    );

    await api.consumer('mars').register({ labels: { site: 'mars' } });
    expect(await waitUntil(isQueued(uid), { timeoutMs: 10_000 })).toBe(true);
    // Who comes and goes could come again.
    await api.consumer('mars').signOff();
    const waits = async () => (await stateOfTask(api, uid))?.state === 'PENDING';
    expect(await waitUntil(waits, { timeoutMs: 10_000 })).toBe(true);
    // The pass that gives this away has judged that too.
    expect(await waitUntil(isQueued(await api.postTask('plain')), { timeoutMs: 10_000 })).toBe(
      true,
    );
    expect((await problemOfTask(api, uid)).task).not.toHaveProperty('unservable');
  });
});
