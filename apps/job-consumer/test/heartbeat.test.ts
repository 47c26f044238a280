import { expect, it, vi } from 'vitest';
import { createLogger } from '@inference-server/service-kit';
import { whenFileEnds } from '@inference-server/testing';
import { startHeartbeat } from '../src/heartbeat.js';
import { createPrivateApiClient } from '../src/private-api-client.js';
import { testDevice, testIdentity } from './test-identity.js';
import { startTestPrivateApi } from './test-private-api.js';

it('waits for as long as another process has its device, and says why once', async () => {
  const served = await startTestPrivateApi('heartbeats');
  const { id, token, slots, device, host, share, labels } = testIdentity({
    id: 'late',
    device: testDevice('GPU-1'),
  });
  const logger = createLogger('test', 'silent');
  const warn = vi.spyOn(logger, 'warn');
  const api = createPrivateApiClient({ url: served.url, token, consumerId: id });
  whenFileEnds('client', () => api.close());
  const told = 'The device is that of the consumer early.';
  served.takenDevices.set(id, told);
  const registration = { holder: 'h', version: '0', state: 'ready', reason: null } as const;
  const starting = startHeartbeat(
    { api, logger },
    () => ({ ...registration, ...{ slots, device, host, share, labels, process: 'p' } }),
    {
      starting: new AbortController().signal,
      predecessorMs: 1,
      onBack: () => undefined,
      onReplaced: () => undefined,
    },
  );
  await expect.poll(() => served.refusedRegistrations, { timeout: 10_000 }).toBeGreaterThan(2);
  expect(served.registrations).toEqual([]);
  served.takenDevices.delete(id);
  const heartbeat = await starting;
  expect(served.registrations).toMatchObject([{ id }]);
  expect(warn.mock.calls).toEqual([
    [{ reason: expect.stringContaining(told) as string }, 'not registered yet'],
  ]);
  await heartbeat.close();
});
