import { expect, it, vi } from 'vitest';
import { createLogger } from '@inference-server/service-kit';
import { whenFileEnds } from '@inference-server/testing';
import { startHeartbeat } from '../src/heartbeat.js';
import { createPrivateApiClient } from '../src/private-api-client.js';
import { testDevice, testIdentity } from './test-identity.js';
import { startTestPrivateApi } from './test-private-api.js';

const told = 'The device is that of the consumer early.';

it('waits for as long as another process has its device, and says why once', async () => {
  const { served, id, warn, start } = await open('late');
  served.takenDevices.set(id, told);
  const starting = start();
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

it('says anew why it is not taken when that changes, and that its device is taken each time', async () => {
  const { served, id, warn, start, news } = await open('early');
  const heartbeat = await start();
  const ends = { timeout: 10_000 };
  served.away = true;
  await expect.poll(() => warn.mock.calls.length, ends).toBe(1);
  served.takenDevices.set(id, told);
  served.away = false;
  await expect.poll(() => served.refusedRegistrations, ends).toBeGreaterThan(2);
  expect(warn.mock.calls).toEqual([
    [{ reason: expect.stringContaining('away') as string }, 'a heartbeat was not taken'],
    [{ reason: expect.stringContaining(told) as string }, 'a heartbeat was not taken'],
  ]);
  expect(news).not.toContain('back');
  served.takenDevices.delete(id);
  await expect.poll(() => news.at(-1), ends).toBe('back');
  expect(news.slice(0, -1)).toEqual(Array(served.refusedRegistrations).fill('taken'));
  // The same reason is news after a heartbeat that was taken.
  served.takenDevices.set(id, told);
  await expect.poll(() => warn.mock.calls.length, ends).toBe(3);
  await heartbeat.close();
});

async function open(name: string) {
  const served = await startTestPrivateApi('heartbeats');
  const { id, token, slots, device, host, share, labels } = testIdentity({
    id: name,
    device: testDevice('GPU-1'),
  });
  const logger = createLogger('test', 'silent');
  const warn = vi.spyOn(logger, 'warn');
  const api = createPrivateApiClient({ url: served.url, token, consumerId: id });
  whenFileEnds('client', () => api.close());
  const registration = { holder: 'h', version: '0', state: 'ready', reason: null } as const;
  const news: string[] = [];
  const start = () =>
    startHeartbeat(
      { api, logger },
      () => ({ ...registration, ...{ slots, device, host, share, labels, process: 'p' } }),
      {
        starting: new AbortController().signal,
        predecessorMs: 1,
        onTaken: () => news.push('taken'),
        onBack: () => news.push('back'),
        onReplaced: () => news.push('replaced'),
      },
    );
  return { served, id, warn, start, news };
}
