import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { openBlobStore } from '@inference-server/blob-store';
import type { Logger } from '@inference-server/service-kit';
import { createTestDatabase, testFolder } from '@inference-server/testing';
import { openDatabase } from '../src/database/database.js';
import { createInstallation } from '../src/database/installation.js';
import { createPostgresInvocationStore } from '../src/modules/invocations/stores/postgres-invocation-store.js';
import { createSweeps, type SweepSettings } from '../src/retention/sweeps.js';

const day = 24 * 3600;
const signal = new AbortController().signal;

/** A database and a store, and the sweeps of them, to be run by hand. */
export async function openSweepScene() {
  const test = await createTestDatabase();
  const folder = await testFolder();
  const database = openDatabase(test.url, pino({ level: 'silent' }));
  const store = await openBlobStore(folder);
  const logged: LogLine[] = [];
  const logger: Logger = pino(
    {},
    { write: (line: string) => logged.push(JSON.parse(line) as LogLine) },
  );
  const settings: SweepSettings = {
    QUEUE_TTL_S: 7 * day,
    INPUT_RETENTION_S: 0,
    OUTPUT_RETENTION_S: 7 * day,
    FETCHED_RETENTION_S: day,
    LOG_RETENTION_S: 30 * day,
    AUDIT_RETENTION_S: 400 * day,
    SWEEP_INTERVAL_S: 60,
    STORAGE_SWEEP_INTERVAL_S: 3600,
    ABANDONED_AFTER_S: 900,
    ORPHANED_AFTER_S: 3600,
  };
  const invocations = createPostgresInvocationStore(database);
  const sweeps = createSweeps({
    database,
    store,
    invocations,
    installation: createInstallation(database, () => randomBytes(16).toString('hex')),
    settings,
    logger,
    leader: undefined,
  });
  const sweepNamed = (name: string) => {
    const sweep = sweeps.find((each) => each.name === name);
    if (sweep === undefined) throw new Error(`there is no sweep ${name}`);
    return sweep;
  };
  const pathOf = (id: string) => join(folder, 'blobs', id.slice(0, 2), id);
  const stagedPath = (name: string) => join(folder, 'staging', name);
  await test.query(
    `INSERT INTO models (human_readable_id, description, current_version) VALUES ('copy', '', 1)`,
  );
  const [version] = await test.query<{ id: string }>(
    `INSERT INTO model_versions (human_readable_id, number, container_tag, use_gpu, pull_policy)
     VALUES ('copy', 1, 'a:1', false, 'missing') RETURNING id`,
  );

  return {
    url: test.url,
    query: test.query,
    database,
    store,
    invocations,
    folder,
    settings,
    sweeps,
    logged,
    versionId: version?.id ?? '',
    pathOf,
    stagedPath,
    close: () => database.close(),
    look: (name: string) => sweepNamed(name).look(signal),
    take: (name: string) => sweepNamed(name).take(signal),

    /** One sweep to its end; in how many steps, and what they took together. */
    async takeWhole(name: string) {
      let [steps, count, bytes] = [0, 0, 0];
      for (let more = true; more; steps += 1) {
        const taken = await sweepNamed(name).take(signal);
        [count, bytes, more] = [count + taken.count, bytes + taken.bytes, taken.more];
      }
      return { steps, count, bytes };
    },

    /** Every sweep once. */
    async takeAll(): Promise<void> {
      for (const sweep of sweeps) while ((await sweep.take(signal)).more);
    },

    /** A row, touched so long ago. */
    async row(
      state: 'pending' | 'stored' | 'deleting',
      given: { ageS?: number; bytes?: number; id?: string } = {},
    ): Promise<string> {
      const { ageS = 0, bytes = null, id = randomUUID() } = given;
      await test.query(
        `INSERT INTO blobs (id, state, bytes, sha256, touched_at)
         VALUES ($1, $2::blob_state, $3, '', now() - $4 * interval '1 second')`,
        [id, state, bytes, ageS],
      );
      return id;
    },

    /** A file of the store, written so long ago. */
    async file(id: string, { ageS = 0, content = 'zip' } = {}): Promise<string> {
      await mkdir(join(folder, 'blobs', id.slice(0, 2)), { recursive: true });
      await writeAged(pathOf(id), content, ageS);
      return id;
    },
    staged: (name: string, { ageS = 0, content = 'half' } = {}) =>
      writeAged(stagedPath(name), content, ageS),

    async task(state: string, columns: Record<string, unknown> = {}): Promise<string> {
      const uid = randomBytes(32).toString('base64url');
      const all = { uid, state, model_version_id: version?.id, ...columns };
      const names = Object.keys(all);
      await test.query(
        `INSERT INTO tasks (${names.join()}) VALUES (${names.map((_, at) => `$${at + 1}`).join()})`,
        Object.values(all),
      );
      return uid;
    },

    /** The first attempt of a task, which runs unless the columns say otherwise. */
    async attempt(uid: string, columns: Record<string, unknown> = {}): Promise<void> {
      const all = {
        task_uid: uid,
        number: 1,
        consumer_id: 'c1',
        epoch: 1,
        holder: 'h',
        lease_until: new Date(),
        ...columns,
      };
      const names = Object.keys(all);
      await test.query(
        `INSERT INTO attempts (${names.join()}) VALUES (${names.map((_, at) => `$${at + 1}`).join()})`,
        Object.values(all),
      );
    },

    /** A version of the model, which has version 1, with files; its id. */
    async version(number: number, filesBlobId: string): Promise<string> {
      const [row] = await test.query<{ id: string }>(
        `INSERT INTO model_versions
           (human_readable_id, number, container_tag, use_gpu, pull_policy, files_blob_id)
         VALUES ('copy', $1, 'a:1', false, 'missing', $2) RETURNING id`,
        [number, filesBlobId],
      );
      return row?.id ?? '';
    },

    blobStates: async () => {
      const rows = await test.query<{ id: string; state: string }>('SELECT id, state FROM blobs');
      return Object.fromEntries(rows.map(({ id, state }) => [id, state]));
    },

    /** All that a sweep could change: every row of every table, every file with its content. */
    async everything(): Promise<Record<string, unknown>> {
      const tables = [
        'model_versions',
        'tasks',
        'attempts',
        'blobs',
        'invocations',
        'invocation_contents',
        'idempotency_keys',
        'login_failures',
        'audit_events',
        'keys',
        'users',
        'installations',
        'leaders',
      ];
      const rows = await Promise.all(
        tables.map((table) => test.query(`SELECT * FROM ${table} AS row ORDER BY row::text`)),
      );
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      const files = entries.filter((entry) => entry.isFile());
      const contents = await Promise.all(
        files.map(async ({ parentPath, name }) => [
          join(parentPath, name),
          await readFile(join(parentPath, name), 'utf8'),
        ]),
      );
      return { rows, files: contents.sort() };
    },
  };
}

interface LogLine {
  level: number;
  msg: string;
  [name: string]: unknown;
}

export type SweepScene = Awaited<ReturnType<typeof openSweepScene>>;

async function writeAged(path: string, content: string, ageS: number): Promise<void> {
  await writeFile(path, content);
  const then = new Date(Date.now() - ageS * 1000);
  await utimes(path, then, then);
}
