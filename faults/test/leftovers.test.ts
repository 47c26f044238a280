import { randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  createDockerEngine,
  stagingContainer,
  type ContainerEngine,
  type Labels,
} from '@inference-server/container-engine';
import { createLogger } from '@inference-server/service-kit';
import { createTicketReceiver, createTicketSender } from '@inference-server/task-queue';
import {
  ownEngine,
  testFolder,
  testRedis,
  waitUntil,
  type OwnEngine,
} from '@inference-server/testing';
import { findLeftovers, type Places } from '../src/checks/leftovers.js';
import { askRedis } from '../src/world/redis-commands.js';
import { openRows, type Rows } from './rows.js';

const logger = createLogger('test', 'silent');
const signal = new AbortController().signal;
let rows: Rows;
let places: Places;
let redisUrl: string;

beforeAll(async () => {
  rows = await openRows();
});
beforeEach(async () => {
  await rows.clear();
  const storageFolder = await testFolder();
  for (const name of ['blobs', 'staging']) await mkdir(join(storageFolder, name));
  const { url, prefix } = await testRedis();
  redisUrl = url;
  const { port, password } = new URL(url);
  places = {
    ...{ query: rows.query, storageFolder, engines: [], consumers: [] },
    temporaryFolder: await testFolder(),
    redis: { ask: (...commands) => askRedis({ port: Number(port), password }, ...commands) },
    queuePrefix: prefix,
  };
});

const find = () => findLeftovers(places, signal);

describe('in the storage', () => {
  it('finds nothing among what is needed', async () => {
    await rows.version({ filesBlobId: await blob('model') });
    await rows.task({ state: 'PENDING', inputBlobId: await blob('input') });
    await rows.task({ state: 'FINISHED', outputBlobId: await blob('output') });
    expect(await find()).toEqual([]);
  });

  it('finds a blob that nothing refers to', async () => {
    const id = await blob('x');
    expect(await find()).toEqual([`blob ${id}: nothing needs it`]);
  });

  it.each(['FINISHED', 'FAILED', 'CANCELLED', 'EXPIRED'] as const)(
    'finds the input of a task that is %s',
    async (state) => {
      const id = await blob('input');
      await rows.task({ state, inputBlobId: id });
      expect(await find()).toEqual([`blob ${id}: nothing needs it`]);
    },
  );

  it('finds the output of a deleted task', async () => {
    const id = await blob('output');
    await rows.task({ state: 'FINISHED', deleted: true, outputBlobId: id });
    expect(await find()).toEqual([`blob ${id}: nothing needs it`]);
  });

  it('finds an output that was stored and never accepted', async () => {
    const id = await blob('output');
    const uid = await rows.task({ state: 'FAILED', attempts: [{ outcome: 'lost' }] });
    await rows.query('UPDATE attempts SET output_blob_id = $2 WHERE task_uid = $1', [uid, id]);
    expect(await find()).toEqual([`blob ${id}: nothing needs it`]);
  });

  it.each(['pending', 'deleting'])(
    'finds one that is %s, with a file and without',
    async (state) => {
      const there = await blob('x', { state });
      const gone = await rows.blob({ state });
      expect((await find()).sort()).toEqual(
        [
          `blob ${there}: nothing needs it`,
          `blob ${gone}: nothing needs it`,
          `blob ${there}: ${state}`,
          `blob ${gone}: a ${state} row without a file`,
        ].sort(),
      );
    },
  );

  it('finds one that is needed and not stored', async () => {
    const id = await blob('input', { state: 'deleting' });
    await rows.task({ state: 'PENDING', inputBlobId: id });
    expect(await find()).toEqual([`blob ${id}: deleting`]);
  });

  it('finds a row without a file', async () => {
    const id = await rows.blob({ bytes: 5 });
    await rows.task({ state: 'FINISHED', outputBlobId: id });
    expect(await find()).toEqual([`blob ${id}: a stored row without a file`]);
  });

  it('finds a file of another length', async () => {
    const [short, unknown] = [await blob('outpu', { bytes: 6 }), await blob('', { bytes: null })];
    for (const id of [short, unknown]) await rows.task({ state: 'FINISHED', outputBlobId: id });
    expect((await find()).sort()).toEqual(
      [`blob ${short}: 5 of 6 bytes`, `blob ${unknown}: 0 of ? bytes`].sort(),
    );
  });

  it('finds a file without a row', async () => {
    const id = randomUUID();
    await store(id.slice(0, 2), id, 'x');
    expect(await find()).toEqual([`blob ${id.slice(0, 2)}/${id}: a file without a row`]);
  });

  it('finds a file that lies in another folder than its own', async () => {
    const id = await rows.blob({ bytes: 1 });
    await rows.task({ state: 'FINISHED', outputBlobId: id });
    await store('elsewhere', id, 'x');
    expect(await find()).toEqual([
      `blob elsewhere/${id}: a file without a row`,
      `blob ${id}: a stored row without a file`,
    ]);
  });

  it('finds parts of uploads', async () => {
    await writeFile(join(places.storageFolder, 'staging', 'part'), '');
    expect(await find()).toEqual(['staging part']);
  });
});

describe('in the rows', () => {
  it('finds an attempt that has no end', async () => {
    const uid = await rows.task({ state: 'FINISHED', attempts: [{ outcome: 'finished' }, {}] });
    expect(await find()).toEqual([`attempt 2 of ${uid}: it has no end`]);
  });
});

describe('in the folders of the consumers', () => {
  it('finds files, however deep, and folders, but for the one that stays', async () => {
    const workFolder = await testFolder();
    places = { ...places, consumers: [{ name: 'consumer-a', workFolder }] };
    const own = join(workFolder, 'inference-server-a');
    await mkdir(own);
    expect(await find()).toEqual([]);
    await writeFile(join(own, 'input.part'), '');
    expect(await find()).toEqual(['consumer-a: input.part']);
    await mkdir(join(own, 'extracted'));
    await writeFile(join(own, 'extracted', 'file'), '');
    expect((await find()).sort()).toEqual(
      ['consumer-a: extracted', 'consumer-a: file', 'consumer-a: input.part'].sort(),
    );
  });

  it('finds what lies in the folder for temporary files', async () => {
    await mkdir(join(places.temporaryFolder, 'folder'));
    expect(await find()).toEqual(['temporary folder']);
  });
});

describe('in Redis', () => {
  it('finds a ticket until it is taken, and nothing of what BullMQ keeps', async () => {
    const given = { redisUrl, prefix: places.queuePrefix, logger };
    const sender = createTicketSender(given);
    const isUp = () =>
      sender.check().then(
        () => true,
        () => false,
      );
    try {
      expect(await waitUntil(isUp, { timeoutMs: 10_000 })).toBe(true);
      await sender.send('a', [{ taskUid: 'one', attempt: 1 }]);
      expect((await find()).sort()).toEqual(
        ['one.1', 'wait'].map((key) => `ticket ${places.queuePrefix}:tickets-a:${key}`),
      );
      let taken = 0;
      const receiver = createTicketReceiver({
        ...given,
        consumerId: 'a',
        waitForRoom: () => Promise.resolve(),
        onTicket: () => Promise.resolve(void (taken += 1)),
      });
      try {
        expect(await waitUntil(() => taken === 1, { timeoutMs: 10_000 })).toBe(true);
        const isGone = async () => (await find()).length === 0;
        await waitUntil(isGone, { timeoutMs: 5_000 });
        expect(await find()).toEqual([]);
      } finally {
        await receiver.close();
      }
    } finally {
      await sender.close();
    }
    expect(await find()).toEqual([]);
  });
});

describe('in an engine', () => {
  let engine: ContainerEngine;
  let image: string;
  let engines: Places['engines'];

  let own: OwnEngine;

  beforeAll(async () => {
    own = await ownEngine();
    engine = createDockerEngine({ dockerHost: own.dockerHost });
    image = own.image;
    const socketPath = own.dockerHost.replace(/^unix:\/\//, '');
    engines = [{ name: 'engine-a', socketPath, folder: join(dirname(socketPath), '..') }];
  });
  beforeEach(async () => {
    places = { ...places, engines };
    for (const { id } of await engine.listContainers({}, signal)) {
      await engine.removeContainer(id, signal);
    }
    for (const { name } of await engine.listVolumes({}, signal)) {
      await engine.removeVolume(name, signal);
    }
  });

  it('lets the complete files of a model be, with what tells of them', async () => {
    await modelFiles('one');
    await modelFiles('two');
    expect(await find()).toEqual([]);
  });

  it.each(['run', 'stage', 'probe', 'model-fill', 'model-data', 'model'])(
    'finds a container of the kind %s',
    async (kind) => {
      await modelFiles('one');
      await container('left', labelled(kind));
      expect(await find()).toEqual([`engine-a: left (${kind})`]);
    },
  );

  it.each(['input', 'output', 'model-data'])('finds a volume of the kind %s', async (kind) => {
    await modelFiles('one');
    await engine.createVolume({ name: 'left', labels: labelled(kind) }, signal);
    expect(await find()).toEqual([`engine-a: left (${kind})`]);
  });

  it('finds what tells of files that are gone', async () => {
    await modelFiles('one');
    await modelFiles('two');
    await engine.removeVolume('one', signal);
    expect(await find()).toEqual(['engine-a: one-marker (model)']);
    await engine.removeVolume('one-marker', signal);
    expect(await find()).toEqual(['engine-a: one-use (model-use)']);
  });

  it('finds what carries no label of ours', async () => {
    await engine.createVolume({ name: 'left', labels: {} }, signal);
    await container('other', { 'test.other': 'x' });
    expect(await find()).toEqual([
      'engine-a: other (without a label)',
      'engine-a: left (without a label)',
    ]);
  });

  it('finds a network', async () => {
    await own.api.call('POST', '/networks/create', { Name: 'left' });
    expect(await find()).toEqual(['engine-a: left (network)']);
    await own.api.call('DELETE', '/networks/left');
    expect(await find()).toEqual([]);
  });

  it('finds the process of a container that is none any more', async () => {
    await own.api.call('POST', '/containers/create?name=left', {
      Image: image,
      Cmd: ['sleep', '600'],
    });
    await own.api.call('POST', '/containers/left/start');
    expect((await find()).map((what) => what.replace(/ \d+/, ' PID'))).toEqual([
      'engine-a: left (without a label)',
      'engine-a: containerd-shim-runc-v2 PID (process), with sleep 600',
    ]);
    await own.api.call('DELETE', '/containers/left?force=1');
    await waitUntil(async () => (await find()).length === 0, { timeoutMs: 5_000 });
    expect(await find()).toEqual([]);
  });

  it('looks at every engine', async () => {
    places = { ...places, engines: [...engines, { ...engines[0]!, name: 'engine-b' }] };
    await container('left', labelled('run'));
    expect(await find()).toEqual(['engine-a: left (run)', 'engine-b: left (run)']);
  });

  async function modelFiles(name: string): Promise<void> {
    const version = { 'inference-server.model-version': name };
    const volumes = {
      [name]: { ...labelled('model-data'), ...version },
      [`${name}-marker`]: { ...labelled('model'), ...version, 'inference-server.volume': name },
      [`${name}-use`]: { ...labelled('model-use'), ...version },
    };
    for (const [volume, labels] of Object.entries(volumes)) {
      await engine.createVolume({ name: volume, labels }, signal);
    }
  }

  async function container(name: string, labels: Labels): Promise<void> {
    await engine.createContainer(stagingContainer({ name, image, labels, mounts: [] }), signal);
  }
});

function labelled(kind: string): Labels {
  return { 'inference-server.installation': 'test', 'inference-server.kind': kind };
}

/** A row and its file, of the same length unless another is told; null: none. */
async function blob(
  text: string,
  { state = 'stored', bytes = text.length }: { state?: string; bytes?: number | null } = {},
): Promise<string> {
  const id = await rows.blob({ state, ...(bytes !== null && { bytes }) });
  await store(id.slice(0, 2), id, text);
  return id;
}

async function store(folder: string, name: string, text: string): Promise<void> {
  const path = join(places.storageFolder, 'blobs', folder);
  await mkdir(path, { recursive: true });
  await writeFile(join(path, name), text);
}
