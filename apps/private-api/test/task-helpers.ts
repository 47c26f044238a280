import { expect } from 'vitest';
import type { Problem } from '@inference-server/contracts';
import { waitUntil } from '@inference-server/testing';
import { gpu } from './capacities.js';
import type { RunningPrivateApi } from './running-private-api.js';

export async function stateOfTask(api: RunningPrivateApi, uid: string) {
  const [row] = await api.database.query<{ state: string; attempt: number }>(
    'SELECT state, attempt FROM tasks WHERE uid = $1',
    [uid],
  );
  return row;
}

export async function problemOfTask(api: RunningPrivateApi, uid: string, query = '') {
  return (await (await api.call(`/api/tasks/${uid}${query}`)).json()) as Problem;
}

/** A consumer with room for everything, which has claimed the task's first attempt. */
export async function claimTask(api: RunningPrivateApi, uid: string) {
  const consumer = api.consumer('c1');
  await consumer.register({ slots: 1000 });
  const queued = async () => (await stateOfTask(api, uid))?.state === 'QUEUED';
  expect(await waitUntil(queued, { timeoutMs: 10_000 })).toBe(true);
  expect(await consumer.claim(uid)).toMatchObject({ outcome: 'won', epoch: 1 });
  return consumer;
}

/** One CPU consumer, and one with a GPU. */
export async function registerBoth(api: RunningPrivateApi): Promise<void> {
  await api.consumer('cpu').register();
  await api.consumer('gpu').register({ device: gpu(16_384).device, slots: 1 });
}
