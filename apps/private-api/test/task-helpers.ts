import { expect } from 'vitest';
import type { Problem } from '@inference-server/contracts';
import { waitUntil } from '@inference-server/testing';
import type { Database } from '../src/database/database.js';
import { createQuotas } from '../src/modules/quotas/quotas.js';
import { createTaskRepository, type TaskRepository } from '../src/modules/tasks/repository.js';
import { createWaitingLimits } from '../src/modules/tasks/waiting-limits.js';
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

/** Tasks of which nobody has too many. */
export function tasksIn(database: Database): TaskRepository {
  const limits = createWaitingLimits(database, { total: 1_000_000, perOwner: 0 });
  const quotas = createQuotas(database, { storedBytes: 0, gpuSPerDay: 0 }, async () => 0);
  return createTaskRepository(database, limits, quotas);
}
