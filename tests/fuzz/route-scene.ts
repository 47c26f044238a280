import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import AdmZip from 'adm-zip';
import type { BlobReference, ClaimAnswer, ModelContract } from '@inference-server/contracts';
import {
  consumerToken,
  newOperatorToken,
  publicApiToken,
  relayToken,
  rpcGatewayToken,
} from '@inference-server/service-kit';
import {
  createTestDatabase,
  freePort,
  startApp,
  testFolder,
  testRedis,
  waitUntil,
  type TestApp,
} from '@inference-server/testing';
import type { RouteCase } from './route-draft.js';

const consumer = 'seed';
const holder = 'seed-process';
const model = 'seed-model';
const runtimeModel = 'seed-runtime-model';
const seeds = ['gone', 'running', 'finished', 'failed', 'pending'];
const maxGrowthBytes = 512 * 1024 ** 2;

/** Both APIs and rpc-gateway as processes, and tasks in every state for the requests to meet. */
export async function openScene() {
  const database = await createTestDatabase();
  const redis = await testRedis();
  const folder = await testFolder();
  const token = newOperatorToken();
  const relayUrl = `http://127.0.0.1:${await freePort()}`;
  const ports = { 'private-api': await freePort(), 'public-api': await freePort() };
  const base = `http://127.0.0.1:${ports['private-api']}`;
  const shared = { LOG_LEVEL: 'error', MAX_UPLOAD_BYTES: '65536' };
  const privateApi = await startApp({
    app: 'private-api',
    settings: {
      ...shared,
      PRIVATE_API_TOKEN: token,
      PORT: String(ports['private-api']),
      DATABASE_URL: database.url,
      REDIS_URL: redis.url,
      QUEUE_PREFIX: redis.prefix,
      STORAGE_URL: join(folder, 'storage'),
      MIN_FREE_BYTES: '0',
      LEASE_S: '3600',
      // Guesses are made by the thousand.
      PASSWORD_HASH_COST: '10',
    },
    ready: `${base}/readyz`,
  });
  const publicApi = await startApp({
    app: 'public-api',
    settings: {
      ...shared,
      PUBLIC_API_TOKEN: publicApiToken(token),
      PORT: String(ports['public-api']),
      PRIVATE_API_URL: base,
      RPC_GATEWAY_URL: relayUrl,
      RELAY_TOKEN: relayToken(token),
      ANONYMOUS_ROLE: 'publish',
      ALLOW_PUBLIC_POST_MODEL: '1',
    },
    ready: `http://127.0.0.1:${ports['public-api']}/readyz`,
  });
  const rpcGateway = await startApp({
    app: 'rpc-gateway',
    settings: {
      LOG_LEVEL: 'error',
      RPC_GATEWAY_TOKEN: rpcGatewayToken(token),
      RELAY_TOKEN: relayToken(token),
      GRPC_PORT: '0',
      HTTP_PORT: new URL(relayUrl).port,
      PRIVATE_API_URL: base,
      // No consumer is here that would host a model, or run a task of one.
      START_TIMEOUT_S: '0.05',
      MAX_CALL_S: '2',
    },
    ready: `${relayUrl}/readyz`,
  });
  const apps = [privateApi, publicApi, rpcGateway];

  const tokens: Record<RouteCase['token'], string | undefined> = {
    right: undefined,
    operator: token,
    'public-api': publicApiToken(token),
    'rpc-gateway': rpcGatewayToken(token),
    consumer: consumerToken(token, 'another'),
    forged: `consumer.${consumer}.${'A'.repeat(43)}`,
    cut: token.slice(0, -1),
    none: undefined,
  };
  const ask = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const isZip = Buffer.isBuffer(body);
    const response = await fetch(base + path, {
      method,
      headers: {
        authorization: `Bearer ${path.startsWith('/internal') ? consumerToken(token, consumer) : token}`,
        ...(body === undefined
          ? {}
          : { 'content-type': isZip ? 'application/zip' : 'application/json' }),
      },
      ...(body === undefined ? {} : { body: isZip ? new Uint8Array(body) : JSON.stringify(body) }),
      signal: AbortSignal.timeout(20_000),
    });
    if (response.status !== 200) {
      throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    }
    return await response.json();
  };
  const before = new Map<TestApp, Usage>();
  const disposable: string[] = [];
  const slots = new Map(
    Object.entries({
      unknown: 'A'.repeat(43),
      consumer,
      holder,
      model,
      runtimeModel,
      etag: `"${createHash('sha256').update(output).digest('hex')}"`,
      modified: new Date().toUTCString(),
      zip: zip.toString('latin1'),
      emptyZip: emptyZip.toString('latin1'),
      cutZip: zip.subarray(0, -3).toString('latin1'),
    }),
  );

  await registerModels();
  await seedTasks();
  for (const app of apps) before.set(app, await usageOf(app));

  return {
    token,
    ports,
    output,

    /** The request with what the scene has in place of its names. */
    fill: (text: string) =>
      text.replaceAll(/\{(\w+)\}/g, (all, name: string) => {
        if (name === 'disposable') return disposable.pop() ?? slots.get('unknown') ?? all;
        return slots.get(name) ?? all;
      }),

    bearerOf({ token: kind, contract }: RouteCase): string | undefined {
      if (kind !== 'right') return tokens[kind];
      if (contract.callers.includes('consumer')) return consumerToken(token, consumer);
      return contract.callers.includes('rpc-gateway') ? rpcGatewayToken(token) : token;
    },

    /** A task that may be deleted. */
    posted: (uid: string) => disposable.push(uid),

    /** What the cases have ended begins anew, what they have left behind goes. */
    async tidy(): Promise<void> {
      disposable.splice(0);
      for (const uid of await strayTasks()) {
        await ask('DELETE', `/api/tasks/${uid}`).catch(() => undefined);
      }
      await removeRows();
      // A case may have deleted one, and another registered it anew with needs that nobody here meets.
      for (const name of [model, runtimeModel]) {
        await ask('DELETE', `/api/models/${name}`).catch(() => undefined);
      }
      await registerModels();
      await seedTasks();
    },

    /** What the processes have logged as errors. */
    async errorsLogged(): Promise<string[]> {
      const logs = await Promise.all(apps.map((app) => app.log()));
      return logs.flatMap(errorsIn);
    },

    /** Throws unless all processes serve, within memory and open files, without an error logged. */
    async expectHealth(): Promise<void> {
      const gateway = new URL(relayUrl).port;
      for (const [name, port] of Object.entries({ ...ports, 'rpc-gateway': gateway })) {
        const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
        // Unread, it would keep its connection.
        await answer.arrayBuffer();
        if (answer.status !== 200) throw new Error(`${name} is not ready`);
      }
      await ask('DELETE', `/api/tasks/${await postTask()}`);
      for (const app of apps) await expectModest(app);
    },
  };

  async function registerModels(): Promise<void> {
    await ask('POST', `/api/models/?human_readable_id=${model}&container_tag=busybox%3A1`);
    const query = new URLSearchParams({
      ...{ human_readable_id: runtimeModel, container_tag: 'busybox:1', kind: 'runtime' },
      contract: JSON.stringify(contract),
    });
    await ask('POST', `/api/models/?${query.toString()}`);
  }

  async function postTask(): Promise<string> {
    return (await ask('POST', `/api/tasks/?human_readable_id=${model}`, zip)) as string;
  }

  async function stateOf(uid: string | undefined): Promise<string | undefined> {
    const rows = await database.query<{ state: string; gone: boolean }>(
      `SELECT state::text, deleted_at IS NOT NULL AS gone FROM tasks WHERE uid = $1`,
      [uid ?? ''],
    );
    return rows[0]?.gone === true ? 'gone' : rows[0]?.state;
  }

  /** Also those of which nobody was told: one that needs more than is free keeps the others waiting. */
  async function strayTasks(): Promise<string[]> {
    const rows = await database.query<{ uid: string }>(
      `SELECT uid FROM tasks WHERE deleted_at IS NULL AND uid <> ALL ($1)`,
      [seeds.map((name) => slots.get(name) ?? '')],
    );
    return rows.map(({ uid }) => uid);
  }

  async function seedTasks(): Promise<void> {
    const wanted = {
      running: ['RUNNING'],
      finished: ['FINISHED'],
      failed: ['FAILED'],
      pending: ['PENDING', 'QUEUED'],
      gone: ['gone'],
    };
    const missing = [];
    for (const [name, states] of Object.entries(wanted)) {
      if (!states.includes((await stateOf(slots.get(name))) ?? '')) missing.push(name);
    }
    for (const name of missing) {
      const uid = await postTask();
      slots.set(name, uid);
      if (name === 'gone') await ask('DELETE', `/api/tasks/${uid}`);
      if (name !== 'gone' && name !== 'pending') await run(uid, name);
    }
  }

  /** Claims the task, and ends it as its name says. */
  async function run(uid: string, name: string): Promise<void> {
    const at = `/internal/attempts/${uid}/1`;
    // A case may have drained it, or registered another process or another consumer.
    await database.query('DELETE FROM consumers WHERE id <> $1', [consumer]);
    await database.query('UPDATE consumers SET draining = false, holder = $1', [holder]);
    await ask('PUT', `/internal/consumers/${consumer}`, {
      ...{
        holder,
        version: '0',
        state: 'ready',
        reason: null,
        slots: 1000,
        device: null,
        host: { cpus: 1000, memory_mib: 1_000_000 },
        share: {
          cpus: 1000,
          memory_mib: 1_000_000,
          cpus_per_task: null,
          memory_per_task_mib: null,
        },
        process: 'process',
      },
      labels: {},
    });
    const isMine = async () => {
      const rows = await database.query(
        `SELECT uid FROM tasks WHERE uid = $1 AND state = 'QUEUED' AND consumer_id = $2`,
        [uid, consumer],
      );
      return rows.length > 0;
    };
    if (!(await waitUntil(isMine, { timeoutMs: 20_000 }))) throw new Error('no ticket was sent');
    const claim = (await ask('POST', `${at}/claim`, { holder })) as ClaimAnswer;
    if (claim.outcome !== 'won') throw new Error(`the claim was refused: ${claim.reason}`);
    if (name === 'running') return;
    const ended = { detail: 'It ended.', exit_code: 1, log: 'one\ntwo\n' };
    const lease = { epoch: claim.epoch, holder };
    if (name === 'failed') {
      const result = { kind: 'failed', reason: 'exit_code', ...ended };
      await ask('POST', `${at}/settle`, { lease, result });
      return;
    }
    const path = `${at}/output?epoch=${claim.epoch}&holder=${holder}`;
    const { sha256 } = (await ask('PUT', path, output)) as BlobReference;
    const result = { kind: 'finished', output_sha256: sha256, ...ended, exit_code: 0 };
    await ask('POST', `${at}/settle`, { lease, result });
  }

  /** Tombstones and registered models have no route that would remove them; nor has a consumer. */
  async function removeRows(): Promise<void> {
    const kept = seeds.map((name) => slots.get(name));
    await database.query(
      `DELETE FROM attempts WHERE task_uid IN
         (SELECT uid FROM tasks WHERE deleted_at IS NOT NULL AND uid <> ALL ($1))`,
      [kept],
    );
    await database.query(`DELETE FROM tasks WHERE deleted_at IS NOT NULL AND uid <> ALL ($1)`, [
      kept,
    ]);
    await database.query(
      `DELETE FROM model_versions WHERE human_readable_id NOT IN ($1, $2)
          AND NOT EXISTS (SELECT 1 FROM tasks WHERE model_version_id = model_versions.id)
          AND NOT EXISTS (SELECT 1 FROM replicas WHERE model_version_id = model_versions.id)`,
      [model, runtimeModel],
    );
    await database.query(
      `DELETE FROM models WHERE NOT EXISTS
         (SELECT 1 FROM model_versions v WHERE v.human_readable_id = models.human_readable_id)`,
    );
  }

  async function expectModest(app: TestApp): Promise<void> {
    const { rssBytes, openFiles } = before.get(app) ?? { rssBytes: 0, openFiles: 0 };
    let now = await usageOf(app);
    const isModest = async () => {
      now = await usageOf(app);
      return now.openFiles <= openFiles + 40;
    };
    if (!(await waitUntil(isModest, { timeoutMs: 20_000 }))) {
      throw new Error(`${now.openFiles} files are open, ${openFiles} were before`);
    }
    const growth = now.rssBytes - rssBytes;
    if (growth > maxGrowthBytes) throw new Error(`memory has grown by ${growth} bytes`);
    const faults = errorsIn(await app.log());
    if (faults.length > 0) throw new Error(`logged: ${faults.join('\n')}`);
  }
}

export type RouteScene = Awaited<ReturnType<typeof openScene>>;

function errorsIn(log: string): string[] {
  return log.split('\n').filter((line) => /"level":[56]0/.test(line));
}

interface Usage {
  rssBytes: number;
  openFiles: number;
}

async function usageOf({ pid }: TestApp): Promise<Usage> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const [, rss = '0'] = /^VmRSS:\s+(\d+) kB/m.exec(status) ?? [];
  return { rssBytes: Number(rss) * 1024, openFiles: (await readdir(`/proc/${pid}/fd`)).length };
}

const contract: ModelContract = {
  signature_name: 'any',
  inputs: [
    { name: 'numbers', dtype: 'DT_INT64', shape: [-1] },
    { name: 'text', dtype: 'DT_STRING', shape: [] },
  ],
  outputs: [],
};

function zipOf(files: Record<string, string>): Buffer {
  const archive = new AdmZip();
  for (const [name, content] of Object.entries(files)) archive.addFile(name, Buffer.from(content));
  return archive.toBuffer();
}

const zip = zipOf({ 'input.txt': 'hello' });
const emptyZip = zipOf({});
const output = zipOf({ 'output.txt': 'done '.repeat(200) });
