import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  createDockerEngine,
  modelContainer,
  probeContainer,
  runsAsRoot,
  stagingContainer,
  type ContainerEngine,
  type ContainerExit,
} from '../src/index.js';
import { importBusybox, startOwnEngine, type OwnEngine } from './own-engine.js';
import { tarOf } from './tiny-tar.js';

let own: OwnEngine;
let engine: ContainerEngine;
const signal = new AbortController().signal;
const volumes = { input: 'in', output: 'out', model: 'model' };

beforeAll(async () => {
  own = await startOwnEngine();
  engine = createDockerEngine({ dockerHost: own.dockerHost });
  await importBusybox(own.docker, 'busybox:root');
  await importBusybox(own.docker, 'busybox:user', ['USER 1000:1000']);
  await importBusybox(own.docker, 'busybox:greedy', ['ENV NVIDIA_VISIBLE_DEVICES=all']);
});

afterEach(async () => {
  for (const { id } of await engine.listContainers({}, signal)) {
    await engine.removeContainer(id, signal);
  }
  for (const { name } of await engine.listVolumes({}, signal)) {
    await engine.removeVolume(name, signal);
  }
});

describe('a model container, seen from inside', () => {
  it('has no network but the loopback', async () => {
    expect((await inside('ls /sys/class/net')).lines).toEqual(['lo']);
  });

  it('has no capabilities, gains none, and is filtered by seccomp', async () => {
    const { lines } = await inside(
      'grep -E "^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):" /proc/self/status',
    );
    expect(lines.map((line) => line.replace(/\s+/g, ' '))).toEqual([
      ...['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map(
        (set) => `${set}: ${'0'.repeat(16)}`,
      ),
      'NoNewPrivs: 1',
      'Seccomp: 2',
    ]);
  });

  it('reads /input and /model, and cannot write to them', async () => {
    const { lines, exit } = await inside(
      'exec 2>&1; cat /input/file /model/file; touch /input/new; touch /model/new; rm /input/file; true',
    );
    expect(lines.slice(0, 2)).toEqual(['input', 'model']);
    expect(lines.slice(2)).toHaveLength(3);
    for (const line of lines.slice(2)) expect(line).toMatch(/Read-only file system/);
    expect(exit.exitCode).toBe(0);
  });

  it.each(['busybox:root', 'busybox:user'])('can write to /output: %s', async (image) => {
    const { lines } = await inside(
      'id -u; mkdir /output/a && echo x > /output/a/b; cat /output/a/b',
      {
        image,
      },
    );
    expect(lines).toEqual([image === 'busybox:user' ? '1000' : '0', 'x']);
  });

  it('is bound in processes', async () => {
    const { lines } = await inside(
      'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo started',
    );
    expect(lines.join()).toMatch(/can't fork|Resource temporarily unavailable/);
  });

  it('is bound in memory, without swap', async () => {
    const { exit } = await inside('head -c 100m /dev/zero | tail -n 1; sleep 1; exit 1');
    expect(exit.outOfMemory).toBe(true);
    const [{ Id } = { Id: '' }] = await own.docker.listContainers({ all: true });
    const { HostConfig } = await own.docker.getContainer(Id).inspect();
    expect(HostConfig.Memory).toBe(32 * 1024 ** 2);
    expect(HostConfig.MemorySwap).toBe(HostConfig.Memory);
    expect(HostConfig.NanoCpus).toBe(5e8);
    expect(HostConfig.CpuShares).toBe(256);
  });

  it('has a /dev/shm of the given size, of its own', async () => {
    const { lines } = await inside('df -k /dev/shm | tail -n 1');
    expect(lines[0]).toMatch(/\s2048\s/);
  });

  it('has an init process, so that its main process hears signals', async () => {
    const { lines } = await inside("tr '\\0' ' ' < /proc/1/cmdline; echo $$");
    expect(lines[0]).toMatch(/init/);
    expect(lines[0]).not.toMatch(/ 1$/);
  });

  it('sees no device, whatever its image asks for', async () => {
    const { lines } = await inside('echo $NVIDIA_VISIBLE_DEVICES', { image: 'busybox:greedy' });
    expect(lines).toEqual(['void']);
  });

  it('leaves bounded logs', async () => {
    const { id } = await inside('yes | head -c 1000000');
    const { HostConfig } = await own.docker.getContainer(id).inspect();
    expect(HostConfig.LogConfig).toEqual({
      Type: 'json-file',
      Config: { 'max-size': '65536', 'max-file': '2' },
    });
    const { text } = await engine.readLogs(id, { maxBytes: 1e6, maxLines: 1e6 }, signal);
    expect(text.length).toBeGreaterThan(1000);
    expect(text.length).toBeLessThan(128 * 1024);
  });
});

it('starts a probe of an image that holds nothing, to no avail', async () => {
  const image = 'sandbox-test/empty:1';
  await engine.importImage(image, tarOf([]), signal);
  expect(await engine.inspectImage(image, signal)).toMatchObject({ user: '' });
  await engine.createVolume({ name: 'in', labels: {} }, signal);
  const limits = {
    memoryBytes: 32 * 1024 ** 2,
    cpus: 0.5,
    processes: 10,
    shmBytes: 2 * 1024 ** 2,
    logBytes: 128 * 1024,
    fileBytes: 64 * 1024 ** 2,
  };
  const spec = probeContainer({
    name: 'probe',
    image,
    labels: {},
    volumes: ['in'],
    limits,
    gpus: [],
  });
  const id = await engine.createContainer(spec, signal);
  expect(await engine.startContainer(id, signal)).toEqual({ started: true });
  expect(await engine.waitForExit(id, signal)).toMatchObject({ exitCode: 127 });
});

it('knows which users are root', () => {
  expect(['', '0', 'root', '0:0', 'root:root', '0:1000'].map(runsAsRoot)).not.toContain(false);
  expect(['1000', 'app', '1000:0', 'app:root'].map(runsAsRoot)).not.toContain(true);
});

/** Runs a shell line in a model's container whose volumes were filled as those of a task are. */
async function inside(
  command: string,
  { image = 'busybox:root' } = {},
): Promise<{ id: string; lines: string[]; exit: ContainerExit }> {
  const mounts = Object.entries(volumes).map(([kind, volume]) => ({
    volume,
    path: `/staging/${kind}`,
    readOnly: false,
  }));
  for (const { volume } of mounts) await engine.createVolume({ name: volume, labels: {} }, signal);
  const staging = stagingContainer({ name: 'staging', image, labels: {}, mounts });
  const helper = await engine.createContainer(staging, signal);
  for (const kind of ['input', 'model']) {
    const tar = tarOf([{ name: './' }, { name: 'file', content: `${kind}\n` }]);
    await engine.putArchive(helper, `/staging/${kind}`, tar, signal);
  }
  const open = tarOf([{ name: './' }, { name: 'output/', mode: 0o777 }]);
  await engine.putArchive(helper, '/staging', open, signal);
  await engine.removeContainer(helper, signal);
  const spec = modelContainer({
    name: 'model',
    image,
    labels: {},
    volumes,
    limits: {
      memoryBytes: 32 * 1024 ** 2,
      cpus: 0.5,
      cpusAtLeast: 0.25,
      processes: 10,
      shmBytes: 2 * 1024 ** 2,
      logBytes: 128 * 1024,
      fileBytes: 64 * 1024 ** 2,
    },
    gpus: [],
  });
  const id = await engine.createContainer({ ...spec, command: ['sh', '-c', command] }, signal);
  const waiting = engine.waitForExit(id, signal);
  expect(await engine.startContainer(id, signal)).toEqual({ started: true });
  const exit = await waiting;
  const { text } = await engine.readLogs(id, { maxBytes: 10_000, maxLines: 100 }, signal);
  return { id, exit, lines: text.trimEnd().split('\n') };
}
