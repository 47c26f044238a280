import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import {
  callerHeader,
  frameInvocation,
  headedType,
  maxInvocationContentBytes,
  writeCaller,
} from '@inference-server/contracts';
import { newOperatorToken, publicApiToken, rpcGatewayToken } from '@inference-server/service-kit';
import {
  createTestDatabase,
  freePort,
  startApp,
  testFolder,
  testRedis,
  type TestApp,
} from '@inference-server/testing';

const mib = 1024 ** 2;

let apps: Record<'private-api' | 'public-api', { url: string; app: TestApp }>;
let token: string;
let folder: string;
beforeAll(async () => {
  const [database, redis] = [await createTestDatabase(), await testRedis()];
  token = newOperatorToken();
  folder = await testFolder();
  const logs = { LOG_DIR: join(folder, 'logs'), LOG_LEVEL: 'debug' };
  const start = async (app: string, settings: Record<string, string>) => {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const all = { ...logs, ...settings, PORT: String(port) };
    return { url, app: await startApp({ app, settings: all, ready: `${url}/readyz` }) };
  };
  const privateApi = await start('private-api', {
    PRIVATE_API_TOKEN: token,
    DATABASE_URL: database.url,
    REDIS_URL: redis.url,
    QUEUE_PREFIX: redis.prefix,
    STORAGE_URL: join(folder, 'storage'),
    MIN_FREE_BYTES: '0',
  });
  const publicApi = await start('public-api', {
    PUBLIC_API_TOKEN: publicApiToken(token),
    PRIVATE_API_URL: privateApi.url,
    ANONYMOUS_ROLE: 'submit',
  });
  apps = { 'private-api': privateApi, 'public-api': publicApi };
}, 60_000);

/** What is resident at its most, since the start. */
async function peakOf({ app: { pid } }: { app: TestApp }): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}

async function store(id: number, content: Buffer): Promise<void> {
  const caller = { owner: 'anonymous', credential: 'anonymous', address: 'a' };
  const answer = await fetch(`${apps['private-api'].url}/internal/invocations`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${rpcGatewayToken(token)}`,
      [callerHeader]: writeCaller({ ...caller, role: 'submit' }),
      'content-type': headedType,
    },
    body: Buffer.concat([frameInvocation({ id, metadata: [], output_metadata: [] }), content]),
    signal: AbortSignal.timeout(60_000),
  });
  expect([answer.status, await answer.json()]).toEqual([200, { id }]);
}

/** The digest of the content of the answer, and of a JSON around it that fits. */
async function digestOf(id: number): Promise<string> {
  const answer = await fetch(`${apps['public-api'].url}/invocation/${id}`);
  expect(answer.status).toBe(200);
  const bytes = Buffer.from(await answer.arrayBuffer());
  const before = `{"model_input":{"id":${id},"content":"`;
  const after = `","metadata":[]},"model_output":{"id":${id},"metadata":[]}}`;
  expect(bytes.subarray(0, before.length).toString()).toBe(before);
  expect(bytes.subarray(-after.length).toString()).toBe(after);
  return sha256(bytes.subarray(before.length, -after.length));
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

it('the largest contents pass, six at once, in memory that does not grow with them', async () => {
  const content = Buffer.alloc(maxInvocationContentBytes, 'base64+/');
  await store(1, Buffer.from('warm'));
  const before = await Promise.all(Object.values(apps).map(peakOf));
  const ids = [1, 2, 3, 4, 5, 6];
  await Promise.all(ids.map((id) => store(id, content)));
  for (const digest of await Promise.all(ids.map(digestOf))) expect(digest).toBe(sha256(content));
  const after = await Promise.all(Object.values(apps).map(peakOf));
  const growth = after.map((peak, at) => (peak - (before[at] ?? 0)) / mib);
  // Of 384 MiB: what Node has read and not given back yet.
  expect(Math.max(...growth)).toBeLessThan(192);
}, 120_000);

it('is in the logs of both, as in their standard output', async () => {
  for (const name of ['private-api', 'public-api'] as const) {
    const file = await readFile(join(folder, 'logs', `${name}.log`), 'utf8');
    expect(file).toContain('"msg":"answered"');
    expect(await apps[name].app.log()).toContain(file.slice(0, 500));
  }
});
