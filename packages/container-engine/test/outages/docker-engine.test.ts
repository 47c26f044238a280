import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { testFolder } from '@inference-server/testing';
import { createDockerEngine, type ContainerEngine, type ContainerSpec } from '../../src/index.js';
import { describeContainerEngine } from '../container-engine-conformance.js';
import { startCuttingProxy, type CuttingProxy } from '../cutting-proxy.js';
import { importBusybox, startOwnEngine, type OwnEngine } from '../own-engine.js';
import { header, tarOf } from '../tiny-tar.js';
import { Readable } from 'node:stream';

let own: OwnEngine;
let engine: ContainerEngine;
let folder: string;
let proxy: CuttingProxy | undefined;
const signal = new AbortController().signal;

beforeAll(async () => {
  own = await startOwnEngine();
  folder = await testFolder();
  engine = createDockerEngine({ dockerHost: own.dockerHost });
  await importBusybox(own.docker, 'busybox:1', ['VOLUME /anonymous']);
  await importBusybox(own.docker, 'busybox:user', ['USER 1000:1000']);
  await importBusybox(own.docker, 'busybox:stranger', ['USER nobody-knows']);
});

afterEach(async () => {
  await proxy?.close();
  proxy = undefined;
  const all = await own.docker.listContainers({ all: true });
  for (const { Id } of all) await engine.removeContainer(Id, signal);
});

describeContainerEngine('the docker adapter', () => ({
  engine,
  image: 'busybox:1',
  userImage: 'busybox:user',
  allVolumes: async () => (await own.docker.listVolumes()).Volumes.map(({ Name }) => Name).sort(),
}));

describe('a broken way to the engine', () => {
  const behindProxy = async ({
    awayMs = 1500,
    ...options
  }: { cutAfterBytes?: number; awayMs?: number } = {}) => {
    proxy = await startCuttingProxy(join(folder, 'proxy.sock'), own.socketPath, options);
    return createDockerEngine({
      dockerHost: `unix://${proxy.socketPath}`,
      deadlines: { callMs: 500, slowCallMs: 500, idleMs: 500, pollMs: 300, awayMs },
    });
  };

  it('is told from an engine that refuses', async () => {
    const absent = createDockerEngine({ dockerHost: `unix://${join(folder, 'nobody.sock')}` });
    const unreachable = { problem: 'unreachable', code: 'SERVICE_UNAVAILABLE' };
    await expect(absent.ping(signal)).rejects.toMatchObject(unreachable);
    const refusing = createDockerEngine({ dockerHost: 'tcp://127.0.0.1:9' });
    await expect(refusing.inspectImage('x', signal)).rejects.toMatchObject(unreachable);
  });

  it('does not hide the end of a container, nor whose doing it was', async () => {
    const cut = await behindProxy();
    const id = await engine.createContainer(specOf('sleep 1; exit 4'), signal);
    const exit = cut.waitForExit(id, signal);
    await engine.startContainer(id, signal);
    proxy?.cut();
    // It was seen to run after that.
    expect(await exit).toMatchObject({ exitCode: 4, interrupted: false });
  });

  it('marks the end of a container as uncertain that came while the engine was away', async () => {
    const cut = await behindProxy({ awayMs: 10_000 });
    const id = await engine.createContainer(specOf('sleep 0.3; exit 4'), signal);
    const exit = cut.waitForExit(id, signal);
    await engine.startContainer(id, signal);
    await proxy?.close();
    const state = async () => (await engine.inspectContainer(id, signal))?.state;
    await expect.poll(state, { timeout: 8_000, interval: 20 }).toBe('exited');
    await behindProxy();
    expect(await exit).toMatchObject({ exitCode: 4, interrupted: true });
  });

  it('ends the wait when the engine stays away', async () => {
    const cut = await behindProxy();
    const id = await engine.createContainer(specOf('sleep 100'), signal);
    await engine.startContainer(id, signal);
    const exit = cut.waitForExit(id, signal);
    setTimeout(() => void proxy?.close(), 100);
    await expect(exit).rejects.toMatchObject({ problem: 'unreachable' });
    proxy = undefined;
  });

  it('does not hold a call past its deadline', async () => {
    const cut = await behindProxy();
    const id = await engine.createContainer(specOf('true'), signal);
    proxy?.freeze();
    const overdue = { problem: 'overdue', code: 'SERVICE_UNAVAILABLE' };
    const silent = new Readable({ read() {} });
    await Promise.all([
      expect(cut.ping(signal)).rejects.toMatchObject(overdue),
      expect(cut.describe(signal)).rejects.toMatchObject(overdue),
      expect(cut.inspectImage('busybox:1', signal)).rejects.toMatchObject(overdue),
      expect(cut.inspectContainer(id, signal)).rejects.toMatchObject(overdue),
      expect(cut.startContainer(id, signal)).rejects.toMatchObject(overdue),
      expect(cut.getArchive(id, '/tmp', signal)).rejects.toMatchObject(overdue),
      expect(cut.measureStorage([id], signal)).rejects.toMatchObject(overdue),
      expect(cut.putArchive(id, '/tmp', silent, signal)).rejects.toMatchObject(overdue),
      expect(cut.readLogs(id, { maxBytes: 9, maxLines: 9 }, signal)).rejects.toMatchObject(overdue),
      expect(cut.pullImage('127.0.0.1:9/x:1', signal)).rejects.toMatchObject(overdue),
    ]);
    const long = { timeoutMs: 60_000, maxBytes: 9 };
    await Promise.all([
      expect(cut.listProcesses(id, signal)).rejects.toMatchObject(overdue),
      expect(cut.runCommand(id, ['true'], long, signal)).rejects.toMatchObject(overdue),
    ]);
  });

  it('tells of a command whose output broke off while it runs on', async () => {
    const id = await engine.createContainer(specOf('sleep 1000'), signal);
    await engine.startContainer(id, signal);
    const limits = { timeoutMs: 20_000, maxBytes: 10 };
    const cut = await behindProxy();
    const run = cut.runCommand(id, ['sleep', '1000'], limits, signal);
    const rejected = expect(run).rejects.toMatchObject({ problem: 'unreachable' });
    const runs = async () => (await engine.listProcesses(id, signal))?.length;
    await expect.poll(runs, { timeout: 5_000 }).toBe(3);
    proxy?.cut();
    await rejected;
  });

  it('makes a cut archive an error, never a short one', async () => {
    const cut = await behindProxy({ cutAfterBytes: 1024 ** 2 });
    const id = await runToEnd('dd if=/dev/zero of=/tmp/big bs=1M count=20');
    const tar = await cut.getArchive(id, '/tmp', signal);
    const reading = (async () => {
      for await (const chunk of tar) void chunk;
    })();
    await expect(reading).rejects.toMatchObject({ problem: 'unreachable' });
  });

  it('ends an archive that stands still half-way', async () => {
    const cut = await behindProxy();
    const id = await runToEnd('dd if=/dev/zero of=/tmp/big bs=1M count=20');
    const tar = await cut.getArchive(id, '/tmp', signal);
    let bytes = 0;
    const reading = (async () => {
      for await (const chunk of tar) {
        bytes += (chunk as Buffer).length;
        proxy?.freeze();
      }
    })();
    await expect(reading).rejects.toMatchObject({ problem: 'overdue' });
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThan(20 * 1024 ** 2);
  });

  it('refuses an address that it does not know', () => {
    expect(() => createDockerEngine({ dockerHost: 'ssh://somewhere' })).toThrow(/DOCKER_HOST/);
  });
});

describe('the end of a container and a restart of the engine', () => {
  it('is told once the engine is back, and marked as uncertain', async () => {
    const id = await engine.createContainer(specOf('sleep 100'), signal);
    await engine.startContainer(id, signal);
    const exit = engine.waitForExit(id, signal);
    await own.stop();
    await own.start();
    const { exitCode, interrupted } = await exit;
    expect(exitCode).not.toBe(0);
    expect(interrupted).toBe(true);
  }, 60_000);
});

describe('the end of a container after a second absence of the engine', () => {
  it('is marked as uncertain, however seldom the container is looked at', async () => {
    proxy = await startCuttingProxy(join(folder, 'proxy.sock'), own.socketPath);
    const cut = createDockerEngine({
      dockerHost: `unix://${proxy.socketPath}`,
      deadlines: { callMs: 500, slowCallMs: 500, idleMs: 500, pollMs: 60_000, awayMs: 20_000 },
    });
    const id = await engine.createContainer(specOf('sleep 100'), signal);
    const exit = cut.waitForExit(id, signal);
    await engine.startContainer(id, signal);
    const madeAtLeast = async (count: number) =>
      expect.poll(() => proxy?.connections(), { timeout: 5_000 }).toBeGreaterThanOrEqual(count);
    // To listen for its end, and to look at it.
    await madeAtLeast(2);
    const before = proxy.connections();
    proxy.cut();
    // To look, and to listen again.
    await madeAtLeast(before + 2);
    await own.stop();
    await own.start();
    expect(await exit).toMatchObject({ interrupted: true });
  }, 60_000);
});

describe('the wait for an end that broke before the engine answered it', () => {
  it('is asked for anew', async () => {
    proxy = await startCuttingProxy(join(folder, 'proxy.sock'), own.socketPath, {
      cutFirst: '/wait',
    });
    const cut = createDockerEngine({
      dockerHost: `unix://${proxy.socketPath}`,
      deadlines: { callMs: 500, slowCallMs: 500, idleMs: 500, pollMs: 60_000, awayMs: 20_000 },
    });
    const id = await engine.createContainer(specOf('sleep 2; exit 4'), signal);
    await engine.startContainer(id, signal);
    expect(await cut.waitForExit(id, signal)).toMatchObject({ exitCode: 4, interrupted: false });
  }, 20_000);
});

describe('a command', () => {
  it('leaves no connection behind, however it is left', async () => {
    const connections = () =>
      process.getActiveResourcesInfo().filter((kind) => kind === 'PipeWrap').length;
    const id = await engine.createContainer(specOf('sleep 1000'), signal);
    await engine.startContainer(id, signal);
    const before = connections();
    const command = ['sleep', '1000'];
    const late = engine.runCommand(id, command, { timeoutMs: 500, maxBytes: 9 }, signal);
    const stop = new AbortController();
    const limits = { timeoutMs: 60_000, maxBytes: 9 };
    const stopped = engine.runCommand(id, command, limits, stop.signal);
    await expect.poll(connections, { timeout: 5_000 }).toBeGreaterThan(before);
    await expect(late).rejects.toMatchObject({ problem: 'overdue' });
    stop.abort(new Error('enough'));
    await expect(stopped).rejects.toThrow('enough');
    await expect.poll(connections, { timeout: 5_000 }).toBe(before);
  });

  it('is refused by a paused container, whose processes are there', async () => {
    const id = await engine.createContainer(specOf('sleep 1000'), signal);
    await engine.startContainer(id, signal);
    await own.docker.getContainer(id).pause();
    expect((await engine.listProcesses(id, signal))?.length).toBeGreaterThan(0);
    const run = engine.runCommand(id, ['true'], { timeoutMs: 5_000, maxBytes: 9 }, signal);
    await expect(run).rejects.toMatchObject({ problem: 'in_use' });
    await own.docker.getContainer(id).unpause();
  });
});

describe('a start that fails', () => {
  it('is data: the image names a user that it does not have', async () => {
    const spec = { ...specOf('true'), image: 'busybox:stranger' };
    const id = await engine.createContainer(spec, signal);
    expect(await engine.startContainer(id, signal)).toEqual({
      started: false,
      startError: expect.stringContaining('nobody-knows'),
    });
  });

  it('shows as exit code 127 when the command is missing, as the init process starts', async () => {
    const id = await engine.createContainer({ ...specOf(''), command: ['/missing'] }, signal);
    expect(await engine.startContainer(id, signal)).toEqual({ started: true });
    expect(await engine.waitForExit(id, signal)).toMatchObject({ exitCode: 127 });
    const { text } = await engine.readLogs(id, { maxBytes: 1000, maxLines: 10 }, signal);
    expect(text).toContain('/missing');
  });
});

describe('a full disk of the engine', () => {
  it('is told as such', async () => {
    await own.docker.createVolume({
      Name: 'small',
      Driver: 'local',
      DriverOpts: { type: 'tmpfs', device: 'tmpfs', o: 'size=64k' },
    });
    const mounts = [{ volume: 'small', path: '/data', readOnly: false }];
    const id = await engine.createContainer({ ...specOf('true'), mounts }, signal);
    const tar = tarOf([{ name: './' }, { name: 'patient', content: Buffer.alloc(200 * 1024) }]);
    const failure = await engine
      .putArchive(id, '/data', tar, signal)
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({ problem: 'disk_full', code: 'STORAGE_FULL' });
    expect(inspect(failure, { depth: 9 })).toContain('no space left on device');
    expect(inspect(failure, { depth: 9 })).not.toContain('patient');
  });
});

describe('a large archive', () => {
  it('passes both ways without growing memory', async () => {
    const bytes = 512 * 1024 ** 2;
    const id = await engine.createContainer(specOf('true'), signal);
    const before = process.memoryUsage().rss;
    let peak = before;
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 20);
    await engine.putArchive(id, '/tmp', Readable.from(zeroTar(bytes)), signal);
    let received = 0;
    for await (const chunk of await engine.getArchive(id, '/tmp/zeros', signal)) {
      received += (chunk as Buffer).length;
    }
    clearInterval(watch);
    expect(received).toBeGreaterThanOrEqual(bytes);
    expect(peak - before).toBeLessThan(64 * 1024 ** 2);
  }, 60_000);
});

function* zeroTar(bytes: number): Generator<Buffer> {
  yield header('zeros', 0o644, 0, bytes, false);
  const chunk = Buffer.alloc(65536);
  for (let sent = 0; sent < bytes; sent += chunk.length) yield chunk;
  yield Buffer.alloc(1024);
}

async function runToEnd(command: string): Promise<string> {
  const id = await engine.createContainer(specOf(command), signal);
  await engine.startContainer(id, signal);
  await engine.waitForExit(id, signal);
  return id;
}

let count = 0;

function specOf(command: string): ContainerSpec {
  return {
    name: `trap-${(count += 1)}`,
    image: 'busybox:1',
    labels: {},
    mounts: [],
    command: ['sh', '-c', command],
    environment: {},
    limits: {
      memoryBytes: 64 * 1024 ** 2,
      cpus: 1,
      processes: 50,
      shmBytes: 1024 ** 2,
      logBytes: 1024 ** 2,
      fileBytes: 1024 ** 3,
    },
    gpus: [],
  };
}
