import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import type { GatewayNews, GatewayReport } from '@inference-server/contracts';
import type { Logger } from '@inference-server/service-kit';
import type { PrivateApiClient } from '../src/private-api-client.js';
import { startSyncLoop } from '../src/sync-loop.js';
import { idOf } from './private-api.js';

/** The loop of a gateway whose calls come and go; what is asked of private-api is answered after `answerMs`. */
function startLoop({ answerMs, heldMs }: { answerMs: number; heldMs: number }) {
  const asked: GatewayReport[] = [];
  const applied: GatewayNews[] = [];
  let [calls, failures] = [0, 0];
  const sync: PrivateApiClient['sync'] = async (report, signal) => {
    asked.push(report);
    const isNews = report.revision === null;
    await sleep(isNews ? answerMs : heldMs, undefined, { signal });
    return { revision: `r${asked.length}`, models_revision: 'm', replicas: [], trouble: [] };
  };
  const loop = startSyncLoop({
    api: { sync } as PrivateApiClient,
    logger: { info: () => undefined, warn: () => undefined } as unknown as Logger,
    report: () => {
      const demand = { model_version_id: idOf(1), waiting: 0, in_flight: (calls += 1) % 7 };
      return { holds: [], demand: [demand] };
    },
    apply: (news) => {
      if (failures > 0) {
        failures -= 1;
        throw new Error('what it says is nonsense');
      }
      applied.push(news);
    },
  });
  onTestFinished(() => loop.close());
  return { asked, applied, loop, fail: (times: number) => (failures = times) };
}

test('news are heard however slow private-api is, and however often there is something to tell', async () => {
  const { asked, applied, loop } = startLoop({ answerMs: 600, heldMs: 60_000 });
  const telling = setInterval(() => loop.hurry(), 50);
  onTestFinished(() => clearInterval(telling));
  await expect.poll(() => applied.length, { timeout: 8_000 }).toBeGreaterThan(2);
  expect(loop.hasFreshNews()).toBe(true);
  // Each is told at least as often as one is answered.
  expect(asked.length).toBeGreaterThanOrEqual(applied.length);
});

test('calls that come and go are told of while a request is held', async () => {
  const { asked, applied } = startLoop({ answerMs: 20, heldMs: 60_000 });
  await expect.poll(() => asked.length, { timeout: 6_000 }).toBeGreaterThan(4);
  expect(applied.length).toBeGreaterThan(1);
  expect(new Set(asked.map(({ demand }) => demand[0]?.in_flight)).size).toBeGreaterThan(2);
});

test('everything is asked for anew while an answer is waited for: by the next request', async () => {
  const { asked, applied, loop } = startLoop({ answerMs: 400, heldMs: 60_000 });
  await expect.poll(() => asked.length).toBe(1);
  expect(await loop.refresh()).toBe(true);
  expect(applied.map(({ revision }) => revision)).toEqual(['r1', 'r2']);
  expect(asked[1]).toMatchObject({ revision: null, models_revision: null });
});

test('news that could not be taken are asked for again', async () => {
  const { asked, applied, loop, fail } = startLoop({ answerMs: 20, heldMs: 60_000 });
  fail(1);
  await expect.poll(() => loop.hasFreshNews()).toBe(false);
  await expect.poll(() => applied.length).toBe(1);
  expect(asked[1]).toMatchObject({ revision: null, models_revision: null });
  expect(loop.hasFreshNews()).toBe(true);
});
