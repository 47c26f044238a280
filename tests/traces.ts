import { readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import AdmZip from 'adm-zip';
import { expect } from 'vitest';
import { waitUntil, type TestApp } from '@inference-server/testing';
import type { RunningServer } from './running-server.js';

/** What a request may leave behind. */
export interface Stored {
  tasks: number;
  models: number;
  blobs: number;
  /** Blobs that are being received or deleted. */
  unstored: number;
  /** Files of blobs. */
  files: number;
  /** Files that uploads are received in. */
  received: number;
  /** Files of the server's folder that private-api has open. */
  open: number;
}

/** Settings of a private-api: what tasks have left goes at times of its own else, between two looks. */
export const noSweeps = { SWEEP_INTERVAL_S: '3600' };

export type Traces = ReturnType<typeof tracesOf>;

/** Looks for what requests leave behind in rows, on the disk and in private-api. */
export function tracesOf(server: RunningServer, privateApi: TestApp) {
  const { database, folder } = server;

  async function stored(): Promise<Stored> {
    const [rows] = await database.query<Pick<Stored, 'tasks' | 'models' | 'blobs' | 'unstored'>>(
      `SELECT (SELECT count(*)::int FROM tasks) AS tasks,
              (SELECT count(*)::int FROM models) AS models,
              (SELECT count(*)::int FROM blobs) AS blobs,
              (SELECT count(*)::int FROM blobs WHERE state <> 'stored') AS unstored`,
    );
    if (rows === undefined) throw new Error('no rows');
    const open = (await openIn(privateApi)).filter((path) => path.startsWith(folder)).length;
    const [files, received] = await Promise.all([
      countFiles(join(folder, 'storage', 'blobs')),
      countFiles(join(folder, 'storage', 'staging')),
    ]);
    return { ...rows, files, received, open };
  }

  return {
    /** What is there once nobody runs a task any more, or is at the files of one. */
    async atRest(): Promise<Stored> {
      let now: Stored | undefined;
      const quiet = async () => {
        const rows = await database.query(
          `SELECT 1 FROM tasks WHERE state IN ('PENDING', 'QUEUED', 'RUNNING')
            UNION ALL SELECT 1 FROM blobs WHERE state = 'deleting'`,
        );
        const found = await stored();
        now = rows.length === 0 && found.open === 0 ? found : undefined;
        return now !== undefined;
      };
      await waitUntil(quiet, { timeoutMs: 15_000 });
      if (now === undefined) throw new Error('The server does not come to rest.');
      return now;
    },

    /** Fails unless it is `before` that is there again within seconds. */
    async expect(before: Stored): Promise<void> {
      let now = before;
      const same = async () => {
        now = await stored();
        return JSON.stringify(now) === JSON.stringify(before);
      };
      await waitUntil(same, { timeoutMs: 5_000 });
      expect(now).toEqual(before);
    },
  };
}

/** What a process has open: paths, and `socket:[…]` for connections. */
export async function openIn({ pid }: TestApp): Promise<string[]> {
  const names = await readdir(`/proc/${pid}/fd`);
  return Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')));
}

/** Posts a task of the script image, gets what it wrote, and deletes it. */
export async function expectTaskToRun({ client }: RunningServer, model: string): Promise<void> {
  const script = new AdmZip();
  script.addFile('run.sh', Buffer.from('echo fine > /output/result'));
  const uid = await client.postTask({ human_readable_id: model, zip: script.toBuffer() });
  const { zip } = await client.waitForTask(uid, { signal: AbortSignal.timeout(25_000) });
  const output = new AdmZip(Buffer.from(await new Response(zip).arrayBuffer()));
  expect(output.readAsText('result')).toBe('fine\n');
  await client.deleteTask(uid);
}

async function countFiles(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).length;
}
