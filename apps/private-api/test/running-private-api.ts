import { readdir } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import AdmZip from 'adm-zip';
import { pino } from 'pino';
import {
  callerHeader,
  writeCaller,
  type AdoptAnswer,
  type AttemptResult,
  type BlobReference,
  type CallerIdentity,
  type ClaimAnswer,
  type ConsumerRegistration,
  type HeldAttempts,
  type ParkAnswer,
  type RenewAnswer,
  type SettleAnswer,
} from '@inference-server/contracts';
import { consumerToken, newOperatorToken } from '@inference-server/service-kit';
import { createTestDatabase, testFolder, testRedis } from '@inference-server/testing';
import { startPrivateApi } from '../src/app.js';
import type { Config } from '../src/config.js';
import { plenty } from './capacities.js';

const gib = 1024 ** 3;
const day = 24 * 3600;

/** The real private-api on its own database, queue prefix and folder, and ways to talk to it. */
export async function runPrivateApi(overrides: Partial<Config> = {}) {
  const database = await createTestDatabase();
  const redis = await testRedis();
  const folder = await testFolder();
  const operatorToken = overrides.PRIVATE_API_TOKEN ?? newOperatorToken();
  const config: Config = {
    HOST: '127.0.0.1',
    PORT: 0,
    DATABASE_URL: database.url,
    REDIS_URL: redis.url,
    QUEUE_PREFIX: redis.prefix,
    STORAGE_URL: folder,
    PRIVATE_API_TOKEN: operatorToken,
    MAX_WRONG_PASSWORDS_PER_ADDRESS: 20,
    PASSWORD_HASH_COST: 16,
    MAX_UPLOAD_BYTES: gib,
    MIN_UPLOAD_BYTES_PER_WINDOW: 60 * 1024,
    UPLOAD_WINDOW_S: 60,
    MIN_FREE_BYTES: 0,
    MAX_UNZIPPED_BYTES: gib,
    MAX_ZIP_ENTRIES: 1_000,
    MAX_ZIP_RATIO: 200,
    GATE_THREADS: 1,
    MAX_WAITING_TASKS: 1_000_000,
    MAX_WAITING_TASKS_PER_OWNER: 0,
    MAX_STORED_BYTES_PER_OWNER: 0,
    MAX_DAILY_GPU_S_PER_OWNER: 0,
    QUEUE_TTL_S: 7 * day,
    RUN_TIMEOUT_S: day,
    MAX_RUN_TIMEOUT_S: 30 * day,
    MAX_CALL_S: 3600,
    MAX_GPU_COUNT: 64,
    MAX_GPU_MEMORY_MIB: 2 ** 31 - 1,
    MAX_CPUS: 4096,
    MAX_MEMORY_MIB: 2 ** 31 - 1,
    MAX_SHM_MIB: 2 ** 31 - 1,
    MAX_REPLICAS: 16,
    MAX_MIN_REPLICAS: 4,
    MODEL_SOURCE_TIMEOUT_S: 30,
    S3_REGION: 'us-east-1',
    INVOCATION_STORE: 'postgres',
    INPUT_RETENTION_S: 7 * day,
    OUTPUT_RETENTION_S: 7 * day,
    FETCHED_RETENTION_S: day,
    LOG_RETENTION_S: 30 * day,
    AUDIT_RETENTION_S: 400 * day,
    SWEEP_INTERVAL_S: day,
    STORAGE_SWEEP_INTERVAL_S: day,
    ABANDONED_AFTER_S: 900,
    ORPHANED_AFTER_S: 3600,
    MAX_ATTEMPTS: 3,
    LEASE_S: 30,
    PARK_S: 600,
    HEARTBEAT_S: 5,
    CONSUMER_GONE_AFTER_S: 3600,
    STOP_GRACE_S: 10,
    LOG_LEVEL: 'silent',
    LOG_FILE_MAX_BYTES: 1024 ** 2,
    LOG_FILES: 5,
    ...overrides,
  };
  const app = await startPrivateApi(config, pino({ level: 'silent' }));
  const { port } = app.http.server.address() as AddressInfo;
  const base = `http://127.0.0.1:${port}`;

  const call = (path: string, init: RequestInit = {}, token = operatorToken) =>
    fetch(base + path, {
      ...init,
      headers: { authorization: `Bearer ${token}`, ...(init.headers as Record<string, string>) },
      signal: AbortSignal.timeout(20_000),
    });

  return {
    base,
    operatorToken,
    database,
    redis,
    config,
    call,
    close: () => app.close(),
    consumer: (id: string, holder = `${id}-process`) =>
      actAsConsumer(call, operatorToken, id, holder),

    async postModel(id: string, query = ''): Promise<void> {
      const response = await call(
        `/api/models/?container_tag=busybox:1&human_readable_id=${id}${query}`,
        { method: 'POST' },
      );
      if (response.status !== 200) throw new Error(await response.text());
    },

    async postTask(model: string, zip = zipOf({ 'input.txt': 'hello' })): Promise<string> {
      const response = await call(`/api/tasks/?human_readable_id=${model}`, {
        method: 'POST',
        body: zip,
        headers: { 'content-type': 'application/zip' },
      });
      if (response.status !== 200) throw new Error(await response.text());
      return (await response.json()) as string;
    },

    /** What is stored: rows and files, for "nothing was left". */
    async stored() {
      const [rows] = await database.query<{ blobs: number; tasks: number; models: number }>(
        `SELECT (SELECT count(*)::int FROM blobs) AS blobs,
                (SELECT count(*)::int FROM tasks) AS tasks,
                (SELECT count(*)::int FROM models) AS models`,
      );
      const entries = await readdir(config.STORAGE_URL, { recursive: true, withFileTypes: true });
      // Without what sweeps and checks put there for a moment.
      const files = entries.filter(({ name }) => /^[0-9a-f-]{36}(\.part)?$/.test(name));
      return { ...rows, files: files.length };
    },
  };
}

/** The header of private-api in which public-api names this one. */
export function actingFor(
  owner: string,
  role: CallerIdentity['role'] = 'submit',
  address = '192.0.2.1',
): Record<string, string> {
  const caller = { owner, role, credential: owner, address };
  return { [callerHeader]: writeCaller(caller) };
}

export type RunningPrivateApi = Awaited<ReturnType<typeof runPrivateApi>>;

export function zipOf(files: Record<string, string>): Buffer<ArrayBuffer> {
  const zip = new AdmZip();
  for (const [name, content] of Object.entries(files)) zip.addFile(name, Buffer.from(content));
  return Buffer.from(zip.toBuffer());
}

export function formOf(
  ...parts: [name: string, content: Buffer | Uint8Array | string | null, fileName?: string][]
) {
  const form = new FormData();
  for (const [name, content, fileName] of parts) {
    if (content === null) form.append(name, 'text');
    else form.append(name, new Blob([content]), fileName ?? 'input.zip');
  }
  return form;
}

type Call = (path: string, init?: RequestInit, token?: string) => Promise<Response>;

/** A consumer as private-api sees one: the calls of the contract, by hand. */
function actAsConsumer(call: Call, operatorToken: string, id: string, holder: string) {
  const token = consumerToken(operatorToken, id);
  const ask = async <Answer>(method: string, path: string, body?: unknown): Promise<Answer> => {
    const response = await call(
      path,
      body === undefined
        ? { method }
        : {
            method,
            body: JSON.stringify(body),
            headers: { 'content-type': 'application/json' },
          },
      token,
    );
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    return (await response.json()) as Answer;
  };
  const at = (uid: string, attempt: number) => `/internal/attempts/${uid}/${attempt}`;

  return {
    token,
    holder,
    register: (registration: Partial<ConsumerRegistration> = {}) =>
      ask<{ installation_id: string }>('PUT', `/internal/consumers/${id}`, {
        holder,
        version: '0',
        state: 'ready',
        reason: null,
        ...plenty,
        ...registration,
      }),
    signOff: () =>
      ask<{ returned_tickets: number }>('DELETE', `/internal/consumers/${id}?holder=${holder}`, {}),
    claim: (uid: string, attempt = 1) =>
      ask<ClaimAnswer>('POST', `${at(uid, attempt)}/claim`, { holder }),
    adopt: (uid: string, attempt = 1) =>
      ask<AdoptAnswer>('POST', `${at(uid, attempt)}/adopt`, { holder }),
    heldAttempts: () => ask<HeldAttempts>('GET', `/internal/consumers/${id}/attempts`),
    renew: (
      uid: string,
      how: { attempt?: number; epoch?: number; knowsOfCancel?: boolean; peakMib?: number } = {},
    ) => {
      const { attempt = 1, epoch = 1, knowsOfCancel = false, peakMib } = how;
      return ask<RenewAnswer>('POST', `${at(uid, attempt)}/renew`, {
        epoch,
        holder,
        knows_of_cancel: knowsOfCancel,
        ...(peakMib !== undefined && { gpu_memory_peak_mib: peakMib }),
      });
    },
    park: (uid: string, { attempt = 1, epoch = 1 } = {}) =>
      ask<ParkAnswer>('POST', `${at(uid, attempt)}/park`, { epoch, holder }),
    fetch: (uid: string, what: 'input' | 'model-files', attempt = 1) =>
      call(`${at(uid, attempt)}/${what}?epoch=1&holder=${holder}`, {}, token),
    putOutput: async (uid: string, zip: Buffer<ArrayBuffer>, attempt = 1) =>
      call(
        `${at(uid, attempt)}/output?epoch=1&holder=${holder}`,
        { method: 'PUT', body: zip, headers: { 'content-type': 'application/zip' } },
        token,
      ),
    settle: (uid: string, result: AttemptResult, attempt = 1, epoch = 1) =>
      ask<SettleAnswer>('POST', `${at(uid, attempt)}/settle`, {
        lease: { epoch, holder },
        result,
      }),
    async finish(uid: string, zip: Buffer<ArrayBuffer>, attempt = 1): Promise<SettleAnswer> {
      const stored = (await (await this.putOutput(uid, zip, attempt)).json()) as BlobReference;
      return this.settle(uid, finished(stored.sha256), attempt);
    },
  };
}

export const ended = { detail: 'It ended.', exit_code: 0, log: 'one\ntwo\n' };

export function finished(sha256: string): AttemptResult {
  return { kind: 'finished', output_sha256: sha256, ...ended };
}
