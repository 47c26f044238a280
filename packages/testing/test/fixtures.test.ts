import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { describe, expect, test } from 'vitest';
import { releaseAll } from '../src/clean-up.js';
import {
  createTestDatabase,
  ownRedis,
  testEngine,
  testFolder,
  testRedis,
  whenFileEnds,
} from '../src/index.js';
import { childrenOf, expectNoOpenHandles, openHandles } from '../src/leaks.js';

describe('createTestDatabase', () => {
  test('gives a database of its own to each caller, and drops it', async () => {
    const [one, two] = await Promise.all([
      createTestDatabase({ empty: true }),
      createTestDatabase({ empty: true }),
    ]);
    await one.query('create table t as select 1 as n');
    expect(await one.query('select n from t')).toEqual([{ n: 1 }]);
    await expect(two.query('select n from t')).rejects.toThrow('does not exist');
    await one.drop();
    await expect(one.query('select 1')).rejects.toThrow('does not exist');
  });

  test('fails when a session was left open', async () => {
    const database = await createTestDatabase({ empty: true });
    const client = new Client({ connectionString: database.url });
    client.on('error', () => undefined);
    await client.connect();
    await expect(database.drop()).rejects.toThrow('1 sessions were left open');
    await client.end().catch(() => undefined);
  });
});

describe('testRedis', () => {
  test('sees only the keys under its own prefix', async () => {
    const [mine, other] = await Promise.all([testRedis(), testRedis()]);
    const client = new Redis(mine.url);
    await client.set(`${mine.prefix}:a`, '1');
    await client.quit();
    expect(await mine.keys()).toEqual([`${mine.prefix}:a`]);
    expect(await other.keys()).toEqual([]);
  });

  test('an own one keeps its data over a restart on the same port', async () => {
    const dataDir = await testFolder();
    const first = await ownRedis({ dataDir });
    const port = Number(new URL(first.url).port);
    const client = new Redis(first.url);
    await client.set('kept', '1');
    await client.quit();
    await first.stop();
    const second = await ownRedis({ dataDir, port });
    const again = new Redis(second.url);
    expect(await again.get('kept')).toBe('1');
    await again.quit();
  });
});

describe('testEngine', () => {
  test('runs a container of the shell image, and finds what was left behind', async () => {
    const { api, image, installationId } = await testEngine();
    const name = `is-test-${installationId}`;
    await api.call('POST', `/containers/create?name=${name}`, {
      Image: image,
      Cmd: ['sh', '-c', 'exit 7'],
      Labels: { 'inference-server.installation': installationId },
      HostConfig: { NetworkMode: 'none' },
    });
    await api.call('POST', `/containers/${name}/start`);
    expect(await api.call('POST', `/containers/${name}/wait`)).toMatchObject({ StatusCode: 7 });
    await expect(releaseAll()).rejects.toThrow(`Left in the engine: container ${name}`);
    await api.call('DELETE', `/containers/${name}?v=1`);
  });
});

describe('what a file leaves open', () => {
  const before = async () => ({
    childrenBefore: await childrenOf(process.pid),
    handlesBefore: openHandles(),
    graceMs: 300,
  });

  test('a listening server', async () => {
    const state = await before();
    const server = createServer().listen(0);
    await once(server, 'listening');
    await expect(expectNoOpenHandles(state)).rejects.toThrow('1 × TCPServerWrap');
    server.close();
    await expectNoOpenHandles(state);
  });

  test('a child process, even one that keeps nothing waiting', async () => {
    const state = await before();
    const child = spawn('sleep', ['1000'], { stdio: 'ignore', detached: true });
    child.unref();
    await expect(expectNoOpenHandles(state)).rejects.toThrow(`child process ${child.pid}`);
    child.kill();
    await once(child, 'exit');
    await expectNoOpenHandles(state);
  });
});

test('clean-up goes on after a failure, and tells all of them', async () => {
  const folder = await testFolder();
  await writeFile(join(folder, 'file'), '');
  const released: string[] = [];
  whenFileEnds('first', async () => {
    released.push('first');
    throw new Error('one');
  });
  whenFileEnds('second', async () => {
    released.push('second');
    throw new Error('two');
  });
  await expect(releaseAll()).rejects.toThrow(/second: Error: two\nfirst: Error: one/);
  expect(released).toEqual(['second', 'first']);
});
