import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import type { Logger } from '@inference-server/service-kit';
import type { PrivateApiClient } from '../../src/private-api-client.js';
import { startSyncLoop } from '../../src/sync-loop.js';

test('a private-api that answers nothing is logged, and asked again', async () => {
  let asked = 0;
  const warnings: unknown[] = [];
  const sync: PrivateApiClient['sync'] = async (_report, signal) => {
    asked += 1;
    await once(signal, 'abort');
    throw signal.reason as Error;
  };
  const loop = startSyncLoop({
    api: { sync } as PrivateApiClient,
    logger: { warn: (...said: unknown[]) => warnings.push(said) } as unknown as Logger,
    report: () => ({ holds: [], demand: [] }),
    apply: () => undefined,
  });
  onTestFinished(() => loop.close());
  const hurrying = setInterval(() => loop.hurry(), 200);
  onTestFinished(() => clearInterval(hurrying));
  await expect.poll(() => asked, { timeout: 15_000 }).toBe(2);
  expect(loop.hasFreshNews()).toBe(false);
  expect(warnings).toEqual([
    [{ reason: 'private-api did not answer within 10000 ms' }, 'no news of models and replicas'],
  ]);
}, 20_000);
