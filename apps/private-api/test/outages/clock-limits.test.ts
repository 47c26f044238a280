import { describe, expect, it } from 'vitest';
import type { Model } from '@inference-server/contracts';
import { runPrivateApi } from '../running-private-api.js';
import { claimTask } from '../task-helpers.js';

describe('the time of a run', () => {
  it.each([
    ['of a model that says nothing is the usual one', '', 3600, 7200, 3600],
    ['is no longer than any, be it the usual one', '', 86_400, 7200, 7200],
    ['is what the model says', '&timeout_s=7000', 3600, 7200, 7000],
  ])('%s', async (_what, query, RUN_TIMEOUT_S, MAX_RUN_TIMEOUT_S, expected) => {
    const strict = await runPrivateApi({ RUN_TIMEOUT_S, MAX_RUN_TIMEOUT_S });
    try {
      await strict.postModel('copy', query);
      const uid = await strict.postTask('copy');
      const consumer = await claimTask(strict, uid);
      expect(await consumer.claim(uid)).toMatchObject({
        outcome: 'won',
        work: { timeout_s: expected },
      });
    } finally {
      await strict.close();
    }
  });

  it('is no longer than the server says, whatever the model was granted before', async () => {
    const strict = await runPrivateApi({ MAX_RUN_TIMEOUT_S: 3600 });
    try {
      await strict.postModel('copy');
      await strict.database.query('UPDATE model_versions SET timeout_s = 86400');
      const uid = await strict.postTask('copy');
      const consumer = await claimTask(strict, uid);
      expect(await consumer.claim(uid)).toMatchObject({
        outcome: 'won',
        work: { timeout_s: 3600 },
      });
      // As the successor of the process that runs it hears it.
      const successor = strict.consumer('c1', 'its-successor');
      await strict.database.query(`UPDATE consumers SET heartbeat_at = now() - interval '1 hour'`);
      await successor.register();
      expect(await successor.adopt(uid)).toMatchObject({
        outcome: 'won',
        work: { timeout_s: 3600 },
      });
    } finally {
      await strict.close();
    }
  });
});

describe.each([
  ['registration', 'POST', '/api/models/?human_readable_id=m&'],
  ['put', 'PUT', '/api/models/m?'],
])('a %s', (_what, method, path) => {
  it.each([
    ['timeout_s', 'MAX_RUN_TIMEOUT_S', 3600],
    ['retention_s', 'OUTPUT_RETENTION_S', 7200],
    ['input_retention_s', 'INPUT_RETENTION_S', 600],
    ['log_retention_s', 'LOG_RETENTION_S', 0],
    ['gpu_count', 'MAX_GPU_COUNT', 4],
    ['gpu_memory_mib', 'MAX_GPU_MEMORY_MIB', 9000],
    ['cpus', 'MAX_CPUS', 2.5],
    ['memory_mib', 'MAX_MEMORY_MIB', 1000],
    ['shm_mib', 'MAX_SHM_MIB', 100],
  ] as const)(
    'with more %s than the server allows is refused',
    async (parameter, setting, most) => {
      const strict = await runPrivateApi({
        MAX_RUN_TIMEOUT_S: 3600,
        OUTPUT_RETENTION_S: 7200,
        INPUT_RETENTION_S: 600,
        LOG_RETENTION_S: 0,
        MAX_GPU_COUNT: 4,
        MAX_GPU_MEMORY_MIB: 9000,
        MAX_CPUS: 2.5,
        MAX_MEMORY_MIB: 1000,
        MAX_SHM_MIB: 100,
      });
      try {
        const register = (value: number) =>
          strict.call(`${path}container_tag=a:1&use_gpu=true&${parameter}=${value}`, { method });
        const refused = await register(most + 1);
        expect(refused.status).toBe(422);
        expect(await refused.json()).toMatchObject({
          code: 'VALIDATION_FAILED',
          parameter,
          detail: expect.stringContaining(setting),
        });
        expect(((await (await register(most)).json()) as Model)[parameter]).toBe(most);
      } finally {
        await strict.close();
      }
    },
  );
});
