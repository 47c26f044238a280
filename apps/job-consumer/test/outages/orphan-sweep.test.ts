import { randomUUID } from 'node:crypto';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  createDockerEngine,
  discoveryContainer,
  EngineError,
  stagingContainer,
  type ContainerEngine,
  type ContainerSpec,
} from '@inference-server/container-engine';
import { createLogger, type Amount, type Logger, type Sweep } from '@inference-server/service-kit';
import { testEngine, whenFileEnds, type TestEngine } from '@inference-server/testing';
import { createNames, labelNames } from '../../src/names.js';
import { sweepOrphans } from '../../src/orphan-sweep.js';
import { createPrivateApiClient, type PrivateApiClient } from '../../src/private-api-client.js';
import { startTestPrivateApi, type TestPrivateApi } from '../test-private-api.js';

const signal = new AbortController().signal;
const nothing: Amount = { count: 0, bytes: 0 };
/** In the output volume of each attempt that `leave` leaves. */
const outputBytes = 5_000;

let own: TestEngine;
let api: TestPrivateApi;
let client: PrivateApiClient;
let engine: ContainerEngine;
let logged: Record<string, unknown>[] = [];

beforeAll(async () => {
  own = await testEngine();
  api = await startTestPrivateApi(own.installationId);
  client = createPrivateApiClient({ url: api.url, token: 'none', consumerId: 'own' });
  whenFileEnds('client of the test private-api', () => client.close());
  engine = createDockerEngine({ dockerHost: own.dockerHost, deadlines: { pollMs: 300 } });
});

afterEach(async () => {
  await clear(own.installationId);
  api.goneConsumers.clear();
  api.unknownConsumers.clear();
  api.installationId = own.installationId;
  api.away = false;
  logged = [];
});

describe('what a consumer has left in the engine', () => {
  it('goes when it is gone for good: containers that run, and volumes, and is logged', async () => {
    const { names, container } = await leave('gone', 'task');
    const half = await modelVolume('gone', randomUUID());
    api.goneConsumers.add('gone');
    const amount = { count: 4, bytes: outputBytes };
    expect(await dryRun()).toEqual(amount);
    expect(await sweep().take(signal)).toEqual({ ...amount, more: false });
    expect(await left()).toEqual([]);
    const attempt = names.attempt('task', 1);
    const [first, ...volumes] = removals();
    expect(first).toEqual({ container, of: 'gone' });
    expect(volumes).toHaveLength(3);
    for (const volume of [attempt.name('input'), attempt.name('output'), half]) {
      expect(volumes).toContainEqual({ volume, of: 'gone' });
    }
    expect(logged).toContainEqual(
      expect.objectContaining({ volume: attempt.name('output'), bytes: outputBytes }),
    );
    expect(await sweep().take(signal)).toMatchObject(nothing);
  });

  it('goes of a replica too: its container, then its network, with who else is in that', async () => {
    const names = createNames(own.installationId, 'gone').replica(randomUUID());
    const other = createNames(own.installationId, 'here').replica(randomUUID());
    for (const [replica, subnet] of [
      [names, '10.215.0.0/28'],
      [other, '10.215.0.16/28'],
    ] as const) {
      const name = replica.name('replica-network');
      const labels = replica.labels('replica-network');
      expect(await engine.createNetwork({ name, labels, subnet }, signal)).toHaveProperty('id');
    }
    const run = async (name: string, labels: Record<string, string>, network: string) => {
      const spec = {
        ...stagingContainer({ name, image: own.image, labels, mounts: [] }),
        ...{ command: ['sleep', '100'], sandbox: { network } },
      };
      await engine.createContainer(spec, signal);
      await engine.startContainer(name, signal);
    };
    const network = names.name('replica-network');
    await run(names.name('replica'), names.labels('replica'), network);
    const gateway = `gateway-${own.installationId}`;
    await run(gateway, other.labels('replica'), other.name('replica-network'));
    await engine.connectContainer(network, gateway, signal);
    api.goneConsumers.add('gone');
    expect(await dryRun()).toMatchObject({ count: 2 });
    expect(await sweep().take(signal)).toMatchObject({ count: 2, more: false });
    expect(removals()).toEqual([
      { container: names.name('replica'), of: 'gone' },
      { network, of: 'gone' },
    ]);
    expect(await engine.inspectNetwork(network, signal)).toBeUndefined();
    expect((await engine.inspectContainer(gateway, signal))?.state).toBe('running');
  });

  it('goes when it told of GPUs and has ended, and stays while it may be asked, without a word', async () => {
    const names = createNames(own.installationId, 'somebody-discovery');
    const spec = { image: own.image, gpus: 'all', ...names.discovery('1') };
    const sleeping = { ...discoveryContainer(spec), gpus: [] };
    const container = await engine.createContainer(sleeping, signal);
    await engine.startContainer(container, signal);
    api.unknownConsumers.add('somebody-discovery');
    expect(await sweep().take(signal)).toMatchObject(nothing);
    await engine.stopContainer(container, 0, signal);
    expect(await sweep().take(signal)).toMatchObject({ count: 1 });
    expect(await left()).toEqual([]);
    expect(logged.map(({ msg }) => msg)).toEqual(['removed an orphan']);
  });

  it.each([
    ['is there, or may come back to an attempt', 'another', () => undefined],
    ['sweeps, whatever is said of it', 'own', () => api.goneConsumers.add('own')],
    ['nobody knows', 'stray', () => api.unknownConsumers.add('stray')],
    ['has no name that a consumer can have', '-odd-', () => api.goneConsumers.add('-odd-')],
  ])('stays when that %s', async (_what, id, say) => {
    await leave(id, 'task');
    await leave('gone', 'other-task');
    api.goneConsumers.add('gone');
    say();
    expect(await dryRun()).toMatchObject({ count: 3 });
    const sweeping = sweep();
    expect(await sweeping.take(signal)).toMatchObject({ count: 3 });
    expect(await sweeping.take(signal)).toMatchObject({ count: 0 });
    expect(await left()).toHaveLength(3);
    expect((await left()).every(({ labels }) => labels[labelNames.consumer] === id)).toBe(true);
    // Told once by each who sweeps: by the look before, and by these two.
    const told = logged.filter(({ msg }) => /does not know/.test(String(msg)));
    const isUnknown = id === 'stray' || id === '-odd-';
    expect(told.map(({ of }) => of)).toEqual(isUnknown ? [id, id] : []);
  });

  it('goes also when it is that of the sweeping consumer, for who is none itself', async () => {
    await leave('own', 'task');
    api.goneConsumers.add('own');
    const command = sweepOrphans(depsOf(), undefined);
    expect(await command.take(signal)).toMatchObject({ count: 3 });
    expect(await left()).toEqual([]);
  });

  it('stays when it is another installation’s, though the names are the same', async () => {
    const other = `other${randomUUID()}`;
    await leave('gone', 'task', other);
    try {
      api.goneConsumers.add('gone');
      expect(await sweep().take(signal)).toMatchObject({ count: 0 });
      expect(await left(other)).toHaveLength(3);
    } finally {
      await clear(other);
    }
  });

  it('stays when it is a complete model volume', async () => {
    const version = randomUUID();
    const names = createNames(own.installationId, 'gone');
    const complete = await modelVolume('gone', version);
    const { marker, markerLabels } = names.model(version);
    await engine.createVolume({ name: marker, labels: markerLabels(complete) }, signal);
    const other = await modelVolume('gone', version);
    api.goneConsumers.add('gone');
    expect(await dryRun()).toMatchObject({ count: 1 });
    expect(await sweep().take(signal)).toMatchObject({ count: 1 });
    expect((await left()).map(({ name }) => name)).toEqual([marker, complete].sort());
    expect(removals()).toEqual([{ volume: other, of: 'gone' }]);
  });

  it.each(['the question', 'the removal'])(
    'stays when it came after the list: before %s',
    async (when) => {
      await leave('gone', 'before');
      api.goneConsumers.add('gone');
      let returned: string[] | undefined;
      const comeBack = async () => {
        if (returned !== undefined) return;
        const { names, container } = await leave('gone', 'after');
        const { name } = names.attempt('after', 1);
        returned = [container, name('input'), name('output')].sort();
      };
      const deps = depsOf({
        goneConsumers: async (ids, bounds) => {
          if (when === 'the question') await comeBack();
          return client.goneConsumers(ids, bounds);
        },
      });
      const removeContainer: ContainerEngine['removeContainer'] = async (container, bounds) => {
        await comeBack();
        return engine.removeContainer(container, bounds);
      };
      const sweeping = sweepOrphans({ ...deps, engine: { ...engine, removeContainer } }, 'own');
      expect(await sweeping.take(signal)).toMatchObject({ count: 3 });
      expect((await left()).map(({ name }) => name)).toEqual(returned);
    },
  );
});

describe('a sweep of orphans', () => {
  it('asks nothing where there is nobody else', async () => {
    await leave('own', 'task');
    api.away = true;
    expect(await sweep().take(signal)).toMatchObject(nothing);
  });

  it.each([
    ['is away', () => (api.away = true), 'SERVICE_UNAVAILABLE'],
    ['is of another installation by now', () => (api.installationId = 'another'), 'CONFLICT'],
  ])('does nothing while private-api %s', async (_what, happens, code) => {
    await leave('gone', 'task');
    api.goneConsumers.add('gone');
    happens();
    await expect(sweep().take(signal)).rejects.toMatchObject({ code });
    await expect(sweep().look(signal)).rejects.toMatchObject({ code });
    expect(await left()).toHaveLength(3);
  });

  it('leaves what cannot be removed now, and goes on with the others', async () => {
    const stuck = await leave('gone', 'stuck');
    await leave('gone', 'task');
    api.goneConsumers.add('gone');
    // A container whose process the kernel does not end.
    const removeContainer: ContainerEngine['removeContainer'] = async (container, bounds) => {
      const found = await engine.inspectContainer(container, bounds);
      if (found?.name === stuck.container) throw new EngineError('failed', 'could not kill');
      return engine.removeContainer(container, bounds);
    };
    const sweeping = sweepOrphans({ ...depsOf(), engine: { ...engine, removeContainer } }, 'own');
    expect(await sweeping.take(signal)).toMatchObject({ count: 3 });
    expect(await left()).toHaveLength(3);
    expect(logged.filter(({ msg }) => msg === 'an orphan stays')).toHaveLength(3);
    expect(await sweep().take(signal)).toMatchObject({ count: 3 });
    expect(await left()).toEqual([]);
  });

  it('ends when the engine is away', async () => {
    await leave('gone', 'task');
    api.goneConsumers.add('gone');
    const removeContainer: ContainerEngine['removeContainer'] = async () => {
      throw new EngineError('unreachable', 'away');
    };
    const sweeping = sweepOrphans({ ...depsOf(), engine: { ...engine, removeContainer } }, 'own');
    await expect(sweeping.take(signal)).rejects.toMatchObject({ problem: 'unreachable' });
    expect(await left()).toHaveLength(3);
  });

  it('may go on beside another', async () => {
    for (const task of ['a', 'b', 'c']) await leave('gone', task);
    api.goneConsumers.add('gone');
    await Promise.all([sweep().take(signal), sweep().take(signal), dryRunAmount()]);
    expect(await left()).toEqual([]);
  });
});

function depsOf(calls: Pick<PrivateApiClient, 'goneConsumers'> = client) {
  const note = (entry: Record<string, unknown>, msg: string) => logged.push({ ...entry, msg });
  const logger = { info: note, warn: note } as unknown as Logger;
  return { engine, names: createNames(own.installationId, 'own'), api: calls, logger };
}

function sweep(): Sweep {
  return sweepOrphans(depsOf(), 'own');
}

function dryRunAmount(): Promise<Amount> {
  const logger = createLogger('test', 'silent');
  return sweepOrphans({ ...depsOf(), logger }, 'own').look(signal);
}

/** A look that has changed nothing. */
async function dryRun(): Promise<Amount> {
  const before = await left();
  const amount = await sweep().look(signal);
  expect(await left()).toEqual(before);
  return amount;
}

function removals(): Record<string, unknown>[] {
  return logged
    .filter(({ msg }) => msg === 'removed an orphan')
    .map(({ container, volume, network, of }) => {
      if (network !== undefined) return { network, of };
      return container === undefined ? { volume, of } : { container, of };
    });
}

/** What a consumer that is killed leaves: a container that runs, its input, and part of its output. */
async function leave(consumerId: string, taskUid: string, installationId = own.installationId) {
  const names = createNames(installationId, consumerId);
  const attempt = names.attempt(taskUid, 1);
  for (const kind of ['input', 'output'] as const) {
    await engine.createVolume({ name: attempt.name(kind), labels: attempt.labels(kind) }, signal);
  }
  const container = attempt.name('run');
  const spec: ContainerSpec = {
    ...stagingContainer({
      name: container,
      image: own.image,
      labels: attempt.labels('run'),
      mounts: [
        { volume: attempt.name('input'), path: '/input', readOnly: true },
        { volume: attempt.name('output'), path: '/output', readOnly: false },
      ],
    }),
    command: ['sh', '-c', `head -c ${outputBytes} /dev/zero > /output/a; echo; sleep 1000`],
  };
  const id = await engine.createContainer(spec, signal);
  await engine.startContainer(id, signal);
  const hasWritten = async () => {
    const sizes = await engine.measureVolumes(signal);
    return sizes.get(attempt.name('output'));
  };
  await expect.poll(hasWritten, { timeout: 10_000 }).toBe(outputBytes);
  return { names, container };
}

/** One that is being filled: its name. */
async function modelVolume(consumerId: string, version: string): Promise<string> {
  const names = createNames(own.installationId, consumerId);
  const name = names.model(version).data(randomUUID());
  const labels = {
    ...names.attempt('filling', 1).labels('model-data'),
    [labelNames.modelVersion]: version,
  };
  await engine.createVolume({ name, labels }, signal);
  return name;
}

async function left(installationId = own.installationId) {
  const labels = { [labelNames.installation]: installationId };
  const containers = await engine.listContainers(labels, signal);
  const volumes = await engine.listVolumes(labels, signal);
  return [...containers, ...volumes].sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function clear(installationId: string): Promise<void> {
  const labels = { [labelNames.installation]: installationId };
  for (const { id } of await engine.listContainers(labels, signal)) {
    await engine.removeContainer(id, signal);
  }
  for (const { name } of await engine.listVolumes(labels, signal)) {
    await engine.removeVolume(name, signal);
  }
  for (const { id } of await engine.listNetworks(labels, signal)) {
    await engine.removeNetwork(id, signal);
  }
}
