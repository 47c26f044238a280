import { exec, execFile } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, inject, test } from 'vitest';
import { createTestDatabase, testEngine, testFolder } from '@inference-server/testing';
import { startServer } from '../server.js';

const timeout = 180_000;

/** What docs/retention.md says to run beside a server of npm start. */
async function documentedCommands(): Promise<string[]> {
  const page = await readFile(`${inject('repository')}/docs/retention.md`, 'utf8');
  const [, lines = ''] = /runs by `npm start`[^`]*```\n([^`]*)```/.exec(page) ?? [];
  return lines.trim().split('\n');
}

async function run(line: string, settings: Record<string, string>) {
  const { PATH, HOME } = inject('environment');
  const env = { PATH, HOME, ...settings };
  return promisify(exec)(line, { cwd: inject('repository'), env, timeout: 60_000 });
}

test(
  'the sweeps that the page names run beside npm start, with the settings of the server',
  { timeout },
  async () => {
    const database = await createTestDatabase({ empty: true });
    const { dockerHost } = await testEngine();
    const DATA_DIR = await testFolder();
    const server = await startServer({
      DATA_DIR,
      DATABASE_URL: database.url,
      DOCKER_HOST: dockerHost,
      QUEUE_TTL_S: '3600',
      // None of its own comes first.
      SWEEP_INTERVAL_S: '3600',
    });
    await server.untilSays('InferenceServer is up');
    await database.query(
      `WITH m AS (INSERT INTO models (human_readable_id, description, current_version)
                  VALUES ('gpu', '', 1) RETURNING human_readable_id),
            v AS (INSERT INTO model_versions
                    (human_readable_id, number, container_tag, use_gpu, pull_policy)
                  SELECT human_readable_id, 1, 'a:1', true, 'missing' FROM m RETURNING id)
       INSERT INTO tasks (uid, model_version_id, created_at)
       SELECT 'u', id, now() - interval '2 hours' FROM v`,
    );

    const commands = await documentedCommands();
    expect(commands).toEqual(['npm run sweep -- --dry-run', 'npm run sweep:engine -- --dry-run']);
    const [rows, engine] = [
      await run(commands[0]!, { DATA_DIR }),
      await run(commands[1]!, { DATA_DIR }),
    ];
    expect(rows.stdout).toMatch(/^expired-tasks +1 +0 /m);
    expect(rows.stdout).toMatch(/^staged-files +0 +0 /m);
    expect(engine.stdout).toMatch(/^orphans +0 +0 /m);
    expect(engine.stdout).toMatch(/^model-volumes +0 +0 /m);

    // Whatever the other terminal has, but for another database.
    const kept = await run(commands[0]!, { DATA_DIR, QUEUE_TTL_S: '86400' });
    expect(kept.stdout).toMatch(/^expired-tasks +1 +0 /m);
    const other = await createTestDatabase();
    const elsewhere = { DATABASE_URL: other.url, STORAGE_URL: await testFolder() };
    expect((await run(commands[0]!, { DATA_DIR, ...elsewhere })).stdout).toMatch(
      /^expired-tasks +0 +0 /m,
    );

    server.signal('SIGTERM');
    expect(await server.ended).toBe(0);
    await expect(run(commands[0]!, { DATA_DIR })).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(
        /private-api: none that npm start has started runs on [^]*DATABASE_URL: is required/,
      ),
    });
  },
);

const isRoot = process.getuid?.() === 0;

// Only root can run it as somebody else.
test.skipIf(!isRoot)('a sweep by another user than the server’s says what to do', async () => {
  // Where any user may read: the repository may not be such a place.
  const folder = await mkdtemp(join(tmpdir(), 'is-other-user-'));
  try {
    await chmod(folder, 0o755);
    await cp(join(inject('repository'), 'scripts'), join(folder, 'scripts'), { recursive: true });
    await mkdir(join(folder, '.data', 'run'), { recursive: true });
    // Process 1 is root's.
    const record = JSON.stringify({ pid: 1, startTime: '0' });
    await writeFile(join(folder, '.data', 'run', 'private-api.json'), record);
    const sweep = promisify(execFile)(
      process.execPath,
      [join(folder, 'scripts', 'sweep.mjs'), 'private-api'],
      { cwd: folder, env: {}, timeout: 60_000, uid: 65534, gid: 65534 },
    );
    await expect(sweep).rejects.toMatchObject({
      code: 1,
      stderr: `private-api: run it as the user of the server that runs on ${folder}/.data.\n`,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
