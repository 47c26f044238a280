import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import AdmZip from 'adm-zip';
import { beforeAll, expect, inject, it } from 'vitest';
import { consumerToken } from '@inference-server/service-kit';
import { waitUntil, type TestApp } from '@inference-server/testing';
import { runServer, type RunningServer } from '../running-server.js';

let server: RunningServer;
let consumer: TestApp;

beforeAll(async () => {
  server = await runServer({ SWEEP_INTERVAL_S: '0.5' });
  // A consumer is silent after 4 s.
  await server.startPrivateApi({ CONSUMER_GONE_AFTER_S: '1' });
  await server.startPublicApi();
  consumer = await server.startConsumer('leaves');
  await server.postModel('script');
}, 60_000);

it('lets what a stopped consumer has parked be, also when it is away for long', async () => {
  const uid = await post('while [ ! -e /input/never ]; do sleep 0.2; done');
  await untilRunning('leaves', uid);
  await consumer.stop();
  const stays = await server.startConsumer('stays');
  await sweepsPass();
  expect(await kindsOf('leaves')).toEqual(['input', 'output', 'run']);
  await stays.stop();
  consumer = await server.startConsumer('leaves');
  await cancel(uid);
  await untilLeft('leaves', []);
}, 60_000);

it('removes what a killed one has left once it cannot come back to it, and nothing else', async () => {
  const uid = await post('sleep 1000');
  await untilRunning('leaves', uid);
  // What staged the input goes after the start.
  await untilLeft('leaves', ['input', 'output', 'run']);
  await consumer.kill();
  const lost = async () => {
    const { attempts } = await server.client.getTaskStatus(uid);
    return attempts.length === 1 && attempts[0]?.outcome === 'lost';
  };
  expect(await waitUntil(lost, { timeoutMs: 20_000 })).toBe(true);
  expect(await waitUntil(() => isSilent('leaves'), { timeoutMs: 10_000 })).toBe(true);
  // Nobody has claimed the next attempt: it could resume this one.
  expect(await sweepCommand('--dry-run')).toMatch(/^orphans +0 /m);
  expect(await sweepCommand()).toMatch(/^orphans +0 /m);
  expect(await kindsOf('leaves')).toEqual(['input', 'output', 'run']);

  const stays = await server.startConsumer('stays');
  await untilRunning('stays', uid);
  await untilLeft('leaves', []);
  expect(await stays.log()).toContain('removed an orphan');
  expect(await kindsOf('stays')).toEqual(['input', 'output', 'run']);

  // Back again it finds nothing, and works.
  consumer = await server.startConsumer('leaves');
  await cancel(uid);
  const next = await post('echo fine > /output/result');
  const { zip } = await server.client.waitForTask(next, { signal: AbortSignal.timeout(40_000) });
  const bytes = Buffer.from(await new Response(zip).arrayBuffer());
  expect(new AdmZip(bytes).readAsText('result')).toBe('fine\n');
  await stays.stop();
  expect(await waitUntil(nothingLeft, { timeoutMs: 10_000 })).toBe(true);
}, 90_000);

async function post(script: string): Promise<string> {
  const zip = new AdmZip();
  zip.addFile('run.sh', Buffer.from(script));
  return server.client.postTask({ human_readable_id: 'script', zip: zip.toBuffer() });
}

async function cancel(uid: string): Promise<void> {
  const url = `${server.publicApiUrl}/api/tasks/${uid}/cancel?wait=20`;
  const answer = await fetch(url, { method: 'POST', signal: AbortSignal.timeout(30_000) });
  expect(answer.status).toBe(200);
}

async function kindsOf(consumerId: string): Promise<(string | undefined)[]> {
  return (await server.inEngine())
    .filter(({ labels }) => labels['inference-server.consumer'] === consumerId)
    .map(({ labels }) => labels['inference-server.kind'])
    .sort();
}

async function untilLeft(consumerId: string, kinds: string[]): Promise<void> {
  let left: unknown[] = [];
  const isSo = async () => {
    left = await kindsOf(consumerId);
    return JSON.stringify(left) === JSON.stringify(kinds);
  };
  expect((await waitUntil(isSo, { timeoutMs: 20_000 })) ? kinds : left).toEqual(kinds);
}

async function untilRunning(consumerId: string, uid: string): Promise<void> {
  const runs = async () => {
    const containers = (await server.engine.api.call('GET', '/containers/json')) as {
      Labels: Record<string, string>;
    }[];
    return containers.some(
      ({ Labels }) =>
        Labels['inference-server.task'] === uid &&
        Labels['inference-server.consumer'] === consumerId,
    );
  };
  expect(await waitUntil(runs, { timeoutMs: 30_000 })).toBe(true);
}

async function isSilent(consumerId: string): Promise<boolean> {
  const rows = await server.database.query(
    `SELECT id FROM consumers WHERE id = $1 AND heartbeat_at < now() - interval '4 seconds'`,
    [consumerId],
  );
  return rows.length > 0;
}

/** A sweep that began after this was called has ended: what a gone consumer left is gone, twice. */
async function sweepsPass(): Promise<void> {
  const [row] = await server.database.query<{ id: string }>('SELECT id FROM installations');
  await server.database.query(
    `INSERT INTO consumers
       (id, holder, version, state, slots, host, share, process, labels, heartbeat_at)
     VALUES ('bait', '', '', 'gone', 1, '{"cpus": 1, "memory_mib": 1}', '{"cpus": 1, "memory_mib": 1}',
             '', '{}', now()) ON CONFLICT DO NOTHING`,
  );
  for (const round of [1, 2]) {
    const labels = {
      'inference-server.installation': row?.id ?? '',
      'inference-server.consumer': 'bait',
      'inference-server.kind': 'input',
    };
    const volume = { Name: `${row?.id}-bait-${round}`, Labels: labels };
    await server.engine.api.call('POST', '/volumes/create', volume);
    await untilLeft('bait', []);
  }
}

async function nothingLeft(): Promise<boolean> {
  return (await server.inEngine()).length === 0;
}

/** What the command says that is run with a consumer's settings. */
async function sweepCommand(...args: string[]): Promise<string> {
  const file = join(inject('repository'), 'apps', 'job-consumer', 'dist', 'sweep.js');
  const { stdout } = await promisify(execFile)(process.execPath, [file, ...args], {
    env: {
      PRIVATE_API_URL: server.privateApiUrl,
      CONSUMER_TOKEN: consumerToken(server.token, 'leaves'),
      DOCKER_HOST: server.engine.dockerHost,
      LOG_LEVEL: 'silent',
    },
    timeout: 30_000,
  });
  return stdout;
}
