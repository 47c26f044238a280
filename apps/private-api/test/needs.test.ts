import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ClaimAnswer, Model } from '@inference-server/contracts';
import { needs, waitUntil } from '@inference-server/testing';
import { gpu } from './capacities.js';
import { ended, runPrivateApi, type RunningPrivateApi } from './running-private-api.js';
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

const deviceOf = (uuid: string, memoryMib: number) => ({
  uuid,
  name: null,
  memory_mib: memoryMib,
  driver: null,
});

async function post(id: string, query: string): Promise<Model> {
  const address = `/api/models/?human_readable_id=${id}&container_tag=a:1&${query}`;
  return (await (await api.call(address, { method: 'POST' })).json()) as Model;
}

const isUnservable = (uid: string) => async () =>
  (await problemOfTask(api, uid)).task?.unservable === true;
/** Whether a consumer that was not heard of for long, and alone could run a task, counts as gone. */
async function missing(site: string): Promise<() => Promise<boolean>> {
  await api.consumer(site).register({ labels: { site } });
  const silent = `UPDATE consumers SET heartbeat_at = now() - interval '2 hours' WHERE id = $1`;
  await api.database.query(silent, [site]);
  await post(`of-${site}`, `labels=site=${site}`);
  return isUnservable(await api.postTask(`of-${site}`));
}

const isQueued = (uid: string) => async () => (await stateOfTask(api, uid))?.state === 'QUEUED';

it('a consumer that was not heard of while private-api was away is not missed before it could be', async () => {
  // It leads since just now: this is the first test.
  const isMissed = await missing('venus');
  await post('never-there', 'labels=site=pluto');
  const neverThere = await api.postTask('never-there');
  // The pass that says this has judged the other, too.
  expect(await waitUntil(isUnservable(neverThere), { timeoutMs: 10_000 })).toBe(true);
  expect(await isMissed()).toBe(false);
  await api.database.query(`UPDATE leaders SET steady_since = now() - interval '1 hour'`);
  expect(await waitUntil(isMissed, { timeoutMs: 15_000 })).toBe(true);
});

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
    await consumer.settle(uid, { kind: 'failed', reason: 'exit_code', ...ended });
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
    await api.database.query(`UPDATE leaders SET steady_since = now() - interval '1 hour'`);
    expect(await waitUntil(await missing('saturn'), { timeoutMs: 15_000 })).toBe(true);
    await post('labelled', 'labels=site=mars');
    const uid = await api.postTask('labelled');
    expect(await waitUntil(isUnservable(uid), { timeoutMs: 10_000 })).toBe(true);
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

describe('a model whose run takes more of a GPU than it says', () => {
  const register = async (mib: number, tag = 'a:1'): Promise<Model> => {
    const query = `container_tag=${tag}&use_gpu=true&gpu_memory_mib=${mib}&cpus=1&memory_mib=100&labels=site=greedy`;
    const answer = await api.call(`/api/models/greedy?${query}`, { method: 'PUT' });
    return (await answer.json()) as Model;
  };
  const get = async () => (await (await api.call('/api/models/greedy')).json()) as Model;
  const consumer = () => api.consumer('shared');
  const claimed = async (uid: string) => {
    expect(await waitUntil(isQueued(uid), { timeoutMs: 10_000 })).toBe(true);
    expect(await consumer().claim(uid)).toMatchObject({ outcome: 'won' });
  };
  const end = (uid: string, peakMib: number | null) =>
    consumer().settle(uid, {
      ...{ kind: 'failed', reason: 'exit_code', ...ended },
      usage: {
        ...{ samples: 1, run_s: 1, cpu_s: 1, memory_peak_mib: 1, read_bytes: 0, written_bytes: 0 },
        ...{ gpu_s: 1, gpu_memory_peak_mib: peakMib, gpu_utilization: 50 },
      },
    });

  it('says so, and shares none until it says more', async () => {
    expect(await register(4_000)).toMatchObject({
      gpu_memory_exceeded: false,
      gpu_memory_peak_mib: null,
    });
    await consumer().register({
      ...{ device: deviceOf('GPU-2', 16_000), slots: 8, labels: { site: 'greedy' } },
    });
    const first = await api.postTask('greedy');
    const second = await api.postTask('greedy');
    await claimed(first);
    await claimed(second);

    await end(first, 4_000);
    expect(await get()).toMatchObject({ gpu_memory_exceeded: false, gpu_memory_peak_mib: 4_000 });
    // As soon as it is seen, not at its end.
    await consumer().renew(second, { peakMib: 4_001 });
    expect(await get()).toMatchObject({ gpu_memory_exceeded: true, gpu_memory_peak_mib: 4_001 });
    await end(second, 4_001);
    expect(await register(4_000)).toMatchObject({
      version: 1,
      warnings: [expect.stringContaining('A run took 4001 MiB of a GPU')],
    });

    const alone = await api.postTask('greedy');
    await claimed(alone);
    const waits = await api.postTask('greedy');
    // What comes after it, and could share with nobody, tells that the pass is over.
    const plain = await api.postTask(await plainModel());
    expect(await waitUntil(isQueued(plain), { timeoutMs: 10_000 })).toBe(true);
    expect((await stateOfTask(api, waits))?.state).toBe('PENDING');

    // Less than before, or nothing, changes nothing.
    await end(alone, 3);
    await claimed(waits);
    await end(waits, null);
    expect(await get()).toMatchObject({ gpu_memory_exceeded: true, gpu_memory_peak_mib: 4_001 });

    // Of the same image it is known.
    expect(await register(3_000)).toMatchObject({ version: 2, gpu_memory_exceeded: true });
    const next = await register(5_000);
    expect(next).toMatchObject({
      ...{ version: 3, gpu_memory_exceeded: false, gpu_memory_peak_mib: 4_001 },
    });
    expect(next).not.toHaveProperty('warnings');
    const another = await register(4_000, 'another:1');
    expect(another).toMatchObject({ gpu_memory_exceeded: false, gpu_memory_peak_mib: null });
    for (const uid of [await api.postTask('greedy'), await api.postTask('greedy')]) {
      await claimed(uid);
      await end(uid, null);
    }
    await consumer().signOff();
  });

  it('goes to the largest GPU that is free, and waits for none', async () => {
    await post('peaks', 'use_gpu=true&gpu_memory_mib=1000&labels=site=peaks');
    const [small, large] = [api.consumer('small'), api.consumer('large')];
    const at = { slots: 1, labels: { site: 'peaks' } };
    await small.register({ ...at, device: deviceOf('GPU-3', 2_000) });
    await large.register({ ...at, device: deviceOf('GPU-4', 8_000) });
    const consumerOf = async (uid: string) => {
      expect(await waitUntil(isQueued(uid), { timeoutMs: 10_000 })).toBe(true);
      const [row] = await api.database.query<{ id: string }>(
        'SELECT consumer_id AS id FROM tasks WHERE uid = $1',
        [uid],
      );
      return row?.id;
    };
    const first = await api.postTask('peaks');
    expect(await consumerOf(first)).toBe('small');
    await small.claim(first);
    await small.renew(first, { peakMib: 3_000 });
    await small.settle(first, { kind: 'failed', reason: 'exit_code', ...ended });
    const second = await api.postTask('peaks');
    expect(await consumerOf(second)).toBe('large');
    const third = await api.postTask('peaks');
    expect(await consumerOf(third)).toBe('small');
    await large.signOff();
    await small.signOff();
  });

  async function plainModel(): Promise<string> {
    await post('beside', '');
    await api.consumer('beside').register();
    return 'beside';
  }
});
