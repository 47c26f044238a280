import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  endLeftovers,
  findFreePort,
  isAlive,
  isPortTaken,
  readLogTail,
  startProcess,
  waitUntil,
  type ProcessRecord,
} from '../src/index.js';

let dataDir: string;
const environment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'local-services-'));
});
afterEach(async () => {
  await endLeftovers(dataDir);
  await rm(dataDir, { recursive: true });
});

const specOf = (name: string, script: string) => ({
  name,
  command: process.execPath,
  args: ['-e', script],
  environment,
  dataDir,
  logFile: join(dataDir, 'logs', `${name}.log`),
});
const recordOf = async (name: string) =>
  JSON.parse(await readFile(join(dataDir, 'run', `${name}.json`), 'utf8')) as ProcessRecord;

describe('startProcess', () => {
  test('writes the record and the log, and stops the process with its signal', async () => {
    const child = await startProcess({
      ...specOf('sleeper', 'console.log("up"); setInterval(() => {}, 1e6)'),
      port: 4711,
    });
    const record = await recordOf('sleeper');
    expect(record).toMatchObject({ name: 'sleeper', pid: child.pid, port: 4711 });
    expect(isAlive(record)).toBe(true);
    await waitUntil(async () => (await readLogTail(child.logFile)) === 'up', { timeoutMs: 10_000 });

    expect(await child.stop()).toEqual({ code: null, signal: 'SIGTERM' });
    expect(await child.stop()).toEqual({ code: null, signal: 'SIGTERM' });
    expect(isAlive(record)).toBe(false);
    await expect(recordOf('sleeper')).rejects.toThrow('ENOENT');
    expect(await readLogTail(child.logFile)).toBe('up');
  });

  test('kills a process that does not end in time', async () => {
    const script = 'process.on("SIGTERM", () => {}); console.log("up"); setInterval(() => {}, 1e6)';
    const child = await startProcess({ ...specOf('deaf', script), stopGraceMs: 200 });
    await waitUntil(async () => (await readLogTail(child.logFile)) === 'up', { timeoutMs: 10_000 });
    expect(await child.stop()).toEqual({ code: null, signal: 'SIGKILL' });
  });

  test('reports the end of a process that ends by itself', async () => {
    const child = await startProcess(specOf('short', 'process.exit(3)'));
    expect(await child.ended).toEqual({ code: 3, signal: null });
  });

  test('reports a command that does not exist', async () => {
    const missing = { ...specOf('missing', ''), command: '/nowhere/at-all' };
    await expect(startProcess(missing)).rejects.toMatchObject({
      code: 'SERVICE_UNAVAILABLE',
      message: expect.stringContaining('missing cannot be started') as string,
    });
  });

  test('a child with a channel hears of the end of its supervisor', async () => {
    const supervisor = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `import { startProcess } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
         await startProcess({ ...${JSON.stringify(specOf('orphan', 'process.on("disconnect", () => process.exit()); setInterval(() => {}, 1e6)'))}, ipc: true });
         console.log('up');`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await once(supervisor.stdout, 'data');
    const record = await recordOf('orphan');
    expect(isAlive(record)).toBe(true);
    supervisor.kill('SIGKILL');
    expect(await waitUntil(() => !isAlive(record), { timeoutMs: 10_000 })).toBe(true);
  });
});

describe('endLeftovers', () => {
  test('ends what still runs, in reverse order of its start, and forgets the rest', async () => {
    const first = await startProcess(specOf('first', 'setInterval(() => {}, 1e6)'));
    const second = await startProcess(specOf('second', 'setInterval(() => {}, 1e6)'));
    const gone = await startProcess(specOf('gone', ''));
    const record = await readFile(join(dataDir, 'run', 'first.json'), 'utf8');
    await gone.ended;
    await writeFile(
      join(dataDir, 'run', 'gone.json'),
      JSON.stringify({ ...(JSON.parse(record) as object), name: 'gone', pid: gone.pid }),
    );

    const ended = await endLeftovers(dataDir, { startOrder: ['first', 'second'] });
    expect(ended.map(({ name }) => name)).toEqual(['second', 'first']);
    expect(await first.ended).toEqual({ code: null, signal: 'SIGTERM' });
    expect(await second.ended).toEqual({ code: null, signal: 'SIGTERM' });
    expect(await endLeftovers(dataDir)).toEqual([]);
  });

  test('leaves a process alone whose pid is recorded with another start time or boot', async () => {
    const child = await startProcess(specOf('mine', 'setInterval(() => {}, 1e6)'));
    const record = await recordOf('mine');
    for (const other of [{ startTime: '1' }, { bootId: 'another' }]) {
      const text = JSON.stringify({ ...record, ...other });
      await writeFile(join(dataDir, 'run', 'mine.json'), text);
      expect(await endLeftovers(dataDir)).toEqual([]);
      expect(isAlive(record)).toBe(true);
    }
    await child.stop();
  });

  test('a record that is cut short names no process', async () => {
    await mkdir(join(dataDir, 'run'), { recursive: true });
    await writeFile(join(dataDir, 'run', 'half.json'), '{"name":"ha');
    expect(await endLeftovers(dataDir)).toEqual([]);
  });
});

describe('ports', () => {
  test('a port is taken while somebody listens on it', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    expect(await isPortTaken(port, '127.0.0.1')).toBe(true);
    server.close();
    await once(server, 'close');
    expect(await isPortTaken(port, '127.0.0.1')).toBe(false);
  });

  test('findFreePort names one that can be listened on', async () => {
    expect(await isPortTaken(await findFreePort(), '127.0.0.1')).toBe(false);
  });

  const outgoing = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8');
  const firstOutgoing = Number.parseInt(outgoing, 10);
  // An administrator may leave nearly none to others.
  const leavesMany = firstOutgoing > 20_000;
  test.runIf(leavesMany)('findFreePort names none that a connection may be given', async () => {
    const ports = await Promise.all(Array.from({ length: 100 }, () => findFreePort()));
    expect(Math.max(...ports)).toBeLessThan(firstOutgoing);
    expect(new Set(ports).size).toBeGreaterThan(90);
  });
});
