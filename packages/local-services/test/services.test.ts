import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  askDockerEngine,
  dockerAddress,
  endLeftovers,
  startDockerEngine,
  startPostgres,
  startRedis,
} from '../src/index.js';
import { mountPoints } from '../src/mounts.js';

let dataDir: string;
const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
const signal = AbortSignal.timeout(120_000);
const given = () => ({ dataDir, environment, signal, logFile: join(dataDir, 'service.log') });

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'local-services-'));
});
afterEach(async () => {
  await endLeftovers(dataDir);
  await rm(dataDir, { recursive: true });
});

describe('startPostgres', () => {
  const ask = async (url: string, query: string) => {
    const client = new Client({ connectionString: url });
    try {
      await client.connect();
      return (await client.query<Record<string, unknown>>(query)).rows;
    } finally {
      await client.end();
    }
  };

  test('keeps its data and its password over a second start; wants the password', async () => {
    const first = await startPostgres({ ...given(), durable: false });
    await ask(first.url, 'create table kept as select 1 as n');
    await first.stop();
    expect(await first.ended).toEqual({ code: 0, signal: null });

    const second = await startPostgres(given());
    expect(
      await ask(second.url, 'select n, current_setting($$fsync$$) as fsync from kept'),
    ).toEqual([{ n: 1, fsync: 'on' }]);
    const wrong = new URL(second.url);
    wrong.password = 'guess';
    await expect(ask(wrong.href, 'select 1')).rejects.toThrow('password authentication failed');
    await second.stop();
  });

  test('starts again after it was killed, even when its pid is another process now', async () => {
    const first = await startPostgres({ ...given(), durable: false });
    process.kill(first.pid, 'SIGKILL');
    await first.ended;
    const pidFile = join(dataDir, 'postgres', 'postmaster.pid');
    const lines = (await readFile(pidFile, 'utf8')).split('\n');
    await writeFile(pidFile, [process.ppid, ...lines.slice(1)].join('\n'));
    const second = await startPostgres({ ...given(), durable: false });
    expect(await ask(second.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    await second.stop();
  });

  test('a cluster that was cut short in the making is made anew', async () => {
    await mkdir(join(dataDir, 'postgres.part'));
    await writeFile(join(dataDir, 'postgres.part', 'PG_VERSION'), '18');
    const postgres = await startPostgres({ ...given(), durable: false });
    expect(await ask(postgres.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    await postgres.stop();
  });

  test('a start that fails tells the end of the log', async () => {
    await mkdir(join(dataDir, 'postgres'));
    await expect(startPostgres(given())).rejects.toThrow(
      /postgres ended while starting[^]*PG_VERSION|postgres ended while starting[^]*postgresql\.conf/,
    );
  });
});

describe('startRedis', () => {
  test('wants its password, keeps its data, evicts nothing', async () => {
    const redis = await startRedis(given());
    const url = new URL(redis.url);
    expect(await say(url, ['PING'])).toContain('NOAUTH');
    const auth = `AUTH ${url.password}`;
    expect(await say(url, [auth, 'CONFIG GET maxmemory-policy'])).toContain('noeviction');
    await say(url, [auth, 'SET kept 1']);
    await redis.stop();
    expect(await redis.ended).toEqual({ code: 0, signal: null });

    const again = await startRedis(given());
    const second = new URL(again.url);
    expect(await say(second, [`AUTH ${second.password}`, 'GET kept'])).toContain('$1\r\n1');
    await again.stop();
  });

  test('a taken port is an error with the end of the log', async () => {
    const server = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await expect(startRedis({ ...given(), port })).rejects.toThrow(/redis ended[^]*already in use/);
    server.close();
  });

  test('a start that is called off leaves no process', async () => {
    const called = new AbortController();
    const starting = startRedis({ ...given(), signal: called.signal });
    called.abort(new Error('called off'));
    await expect(starting).rejects.toThrow('called off');
    expect(await endLeftovers(dataDir)).toEqual([]);
  });

  async function say(url: URL, commands: string[]): Promise<string> {
    const { connect } = await import('node:net');
    const socket = connect({ port: Number(url.port), host: url.hostname });
    socket.end([...commands, 'QUIT', ''].join('\r\n'));
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    return answer;
  }
});

describe('docker engine', () => {
  test('addresses', () => {
    expect(dockerAddress('unix:///a/b.sock')).toEqual({ socketPath: '/a/b.sock' });
    expect(dockerAddress('tcp://127.0.0.1:2375')).toEqual({ host: '127.0.0.1', port: 2375 });
    expect(dockerAddress('tcp://[::1]:2375')).toEqual({ host: '::1', port: 2375 });
    expect(dockerAddress('ssh://host')).toBeUndefined();
  });

  test('is asked itself: a socket that somebody else serves is no engine', async () => {
    const path = join(dataDir, 'other.sock');
    expect(await askDockerEngine(`unix://${path}`)).toBe(false);
    const server = createServer((socket) => {
      socket.resume().end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK');
    }).listen(path);
    await once(server, 'listening');
    expect(await askDockerEngine(`unix://${path}`)).toBe(false);
    server.close();
  });

  test('a silent address is no engine', async () => {
    const server = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    expect(await askDockerEngine(`tcp://127.0.0.1:${port}`, 200)).toBe(false);
    server.close();
  });

  test.each([
    ['a short folder', ''],
    ['a folder too long for sockets', 'x'.repeat(100)],
  ])('starts, stops and leaves no mount: %s', async (_what, name) => {
    const folder = join(dataDir, name);
    const engine = await startDockerEngine({ ...given(), dataDir: folder });
    expect(await askDockerEngine(engine.url)).toBe(true);
    await engine.stop();
    expect(await askDockerEngine(engine.url)).toBe(false);
    // Other engines of this machine make and remove mounts of their own meanwhile.
    expect((await mountPoints()).filter((path) => path.startsWith(dataDir))).toEqual([]);
  });

  test('starts again after it was killed', async () => {
    const first = await startDockerEngine(given());
    process.kill(first.pid, 'SIGKILL');
    await first.ended;
    const second = await startDockerEngine(given());
    expect(await askDockerEngine(second.url)).toBe(true);
    await second.stop();
  });
});
