import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { stagingContainer, type ContainerEngine } from '@inference-server/container-engine';
import { AppError } from '@inference-server/errors';
import { createLogger, type Amount, type Logger, type Sweep } from '@inference-server/service-kit';
import { testEngine, type TestEngine } from '@inference-server/testing';
import { listOwn, removeLeftovers } from '../../src/leftovers.js';
import { sweepModelVolumes, type ModelVolumeLimits } from '../../src/model-volume-sweep.js';
import { labelNames } from '../../src/names.js';
import { createAttemptBench, type AttemptBench } from '../attempt-bench.js';
import { makeScriptImage } from '../images.js';
import { startTestPrivateApi, type TestPrivateApi, type TestTask } from '../test-private-api.js';
import { readZip, scriptZip, zipOf } from '../zips.js';

const signal = new AbortController().signal;
const logger = createLogger('test', 'silent');
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const modelBytes = 100_000;
const modelFiles = zipOf({ 'weights.bin': 'w'.repeat(modelBytes) });
const limits: ModelVolumeLimits = { maxAgeMs: 30 * dayMs, maxBytes: 0 };

let own: TestEngine;
let api: TestPrivateApi;
let benches: AttemptBench[];
let image: string;
/** What the consumers' clock is ahead of the real one. */
let aheadMs = 0;
let removed: { modelVersion: string; bytes?: number; why: string }[] = [];

beforeAll(async () => {
  own = await testEngine();
  api = await startTestPrivateApi(own.installationId);
  image = await makeScriptImage(own.api, own.image, 'model-sweep-test:1');
  const now = () => new Date(Date.now() + aheadMs);
  benches = await Promise.all(
    ['consumer-a', 'consumer-b'].map((consumerId) =>
      createAttemptBench({ ...own, api, consumerId, now }),
    ),
  );
});

afterEach(async () => {
  expect(await strayVolumes()).toEqual([]);
  for (const { name } of await volumesOf()) await engineOf().removeVolume(name, signal);
  api.modelFetches.length = 0;
  api.unusedVersions.clear();
  aheadMs = 0;
  removed = [];
});

afterAll(async () => {
  await Promise.all(benches.map((bench) => bench.close()));
});

describe('a model volume', () => {
  it('goes when it was not used for long, by whichever consumer of the engine', async () => {
    const [used, idle] = [randomUUID(), randomUUID()];
    await run(0, used);
    await run(0, idle);
    aheadMs = 29 * dayMs;
    await sweep(1);
    await run(0, used);
    expect(await versionsOf('model-data')).toEqual([used, idle].sort());
    aheadMs = 31 * dayMs;
    expect(await look(1)).toEqual({ count: 1, bytes: modelBytes });
    expect(await sweep(1)).toEqual({ count: 1, bytes: modelBytes });
    expect(removed).toEqual([
      expect.objectContaining({ modelVersion: idle, bytes: modelBytes, why: 'not used for long' }),
    ]);
    for (const kind of ['model', 'model-data', 'model-use']) {
      expect(await versionsOf(kind)).toEqual([used]);
    }
    expect(api.modelFetches).toHaveLength(2);
    aheadMs = 60 * dayMs;
    await sweep(0);
    expect(await volumesOf()).toEqual([]);
  });

  it('goes when private-api says that no task can need it', async () => {
    const [first, second] = [randomUUID(), randomUUID()];
    await run(0, first);
    await run(1, second);
    await sweep(0);
    expect(removed).toEqual([]);
    api.unusedVersions.add(first);
    await sweep(1);
    expect(removed).toMatchObject([{ modelVersion: first, why: 'no task can need it' }]);
    expect(await versionsOf('model-data')).toEqual([second]);
    // A task that comes all the same has its files brought anew.
    await run(0, first);
    expect(api.modelFetches).toHaveLength(3);
  });

  it('goes when the limit in bytes is passed, least recently used first', async () => {
    const versions = [randomUUID(), randomUUID(), randomUUID()] as const;
    for (const version of versions) {
      await run(0, version);
      aheadMs += 2 * hourMs;
    }
    await run(1, versions[0]);
    await sweep(1, { ...limits, maxBytes: 3 * modelBytes });
    expect(removed).toEqual([]);
    expect(await look(1, { ...limits, maxBytes: 2 * modelBytes })).toMatchObject({ count: 1 });
    await sweep(1, { ...limits, maxBytes: 2 * modelBytes });
    expect(removed).toMatchObject([{ modelVersion: versions[1], why: 'over the limit in bytes' }]);
    await using holder = await hold(versions[2]);
    // What is in use stays, and the next one goes in its place.
    expect(await look(0, { ...limits, maxBytes: 1 })).toEqual({ count: 1, bytes: modelBytes });
    expect(await sweep(0, { ...limits, maxBytes: 1 })).toEqual({ count: 1, bytes: modelBytes });
    expect(await versionsOf('model-data')).toEqual([versions[2]]);
    await holder.release();
    await sweep(0, { ...limits, maxBytes: 1 });
    expect(await volumesOf()).toEqual([]);
  });

  it('stays while a container has it, running or not, whatever is said', async () => {
    const version = randomUUID();
    await run(0, version);
    await using holder = await hold(version);
    api.unusedVersions.add(version);
    aheadMs = 31 * dayMs;
    await sweep(0, { maxAgeMs: 1, maxBytes: 1 });
    expect(removed).toEqual([]);
    expect(await kindsOf()).toEqual(['model', 'model-data', 'model-use']);
    await holder.release();
    api.unusedVersions.clear();
    // The look has found it in use: its time begins anew.
    aheadMs = 60 * dayMs;
    await sweep(1);
    expect(removed).toEqual([]);
    aheadMs = 62 * dayMs;
    await sweep(1);
    expect(removed).toHaveLength(1);
  });

  it('without a time of its last use counts as used now', async () => {
    const version = randomUUID();
    await run(0, version);
    const { use } = benches[0]!.names.model(version);
    await engineOf().removeVolume(use, signal);
    aheadMs = 31 * dayMs;
    expect(await look(0)).toEqual({ count: 0, bytes: 0 });
    await sweep(0);
    expect(await kindsOf()).toEqual(['model', 'model-data', 'model-use']);
    aheadMs = 62 * dayMs;
    await sweep(0);
    expect(removed).toHaveLength(1);
  });

  it('that is being filled is not looked at', async () => {
    const { engine, names } = benches[0]!;
    const version = randomUUID();
    const name = names.model(version).data('half');
    const labels = { ...names.attempt('filling', 1).labels('model-data') };
    const versionLabel = { [labelNames.modelVersion]: version };
    await engine.createVolume({ name, labels: { ...labels, ...versionLabel } }, signal);
    api.unusedVersions.add(version);
    await sweep(1, { maxAgeMs: 1, maxBytes: 1 });
    expect(await versionsOf('model-data')).toEqual([version]);
  });
});

describe('a sweep', () => {
  it('does nothing while private-api is away', async () => {
    await run(0, randomUUID());
    api.away = true;
    aheadMs = 31 * dayMs;
    await expect(sweep(0)).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
    api.away = false;
    expect(await kindsOf()).toEqual(['model', 'model-data', 'model-use']);
  });

  it('does nothing while private-api is of another installation, which knows none of these', async () => {
    const version = randomUUID();
    await run(0, version);
    api.unusedVersions.add(version);
    api.installationId = 'another';
    await expect(look(0)).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(sweep(0)).rejects.toMatchObject({ code: 'CONFLICT' });
    api.installationId = own.installationId;
    expect(await kindsOf()).toEqual(['model', 'model-data', 'model-use']);
  });

  it.each(['data', 'marker', 'use'] as const)(
    'that ends before the %s volume is finished by the next, and is in nobody’s way',
    async (kind) => {
      const version = randomUUID();
      await run(0, version);
      api.unusedVersions.add(version);
      const names = benches[0]!.names.model(version);
      const ends = { data: `${names.marker}-`, marker: names.marker, use: names.use }[kind];
      const removeVolume: ContainerEngine['removeVolume'] = (name, bounds) => {
        const isThat = kind === 'data' ? name.startsWith(ends) : name === ends;
        if (isThat) throw new AppError('INTERNAL', 'killed');
        return engineOf().removeVolume(name, bounds);
      };
      const dying = { ...engineOf(), removeVolume };
      await expect(sweep(0, limits, dying)).rejects.toThrow('killed');
      const left = { data: 3, marker: 2, use: 1 }[kind];
      expect(await volumesOf()).toHaveLength(left);
      expect(await look(1)).toMatchObject({ count: kind === 'data' ? 1 : 0 });
      await run(1, version);
      expect(await kindsOf()).toEqual(['model', 'model-data', 'model-use']);
      await expect(sweep(1, limits, dying)).rejects.toThrow('killed');
      await sweep(1);
      expect(await volumesOf()).toEqual([]);
    },
  );

  it('between the look for a volume and its mount leaves no task with an empty /model', async () => {
    const version = randomUUID();
    await run(0, version);
    api.unusedVersions.add(version);
    const bench = benches[1]!;
    let swept = 0;
    const createContainer: ContainerEngine['createContainer'] = async (spec, bounds) => {
      if (spec.labels[labelNames.kind] === 'run' && (swept += 1) === 1) await sweep(0);
      return engineOf().createContainer(spec, bounds);
    };
    const { engine } = bench.deps;
    bench.deps.engine = { ...engine, createContainer };
    await run(1, version);
    bench.deps.engine = engine;
    expect([swept, removed.length, api.modelFetches.length]).toEqual([2, 1, 2]);
  });

  it('beside another, and beside tasks that use and fill what it removes', async () => {
    const versions = [randomUUID(), randomUUID()];
    for (const version of versions) api.unusedVersions.add(version);
    let isOver = false;
    const sweepOn = async (at: number) => {
      while (removed.length < 8) await sweep(at);
    };
    const tasksOn = async (at: number) => {
      for (let round = 0; !isOver; round += 1) {
        const task = addTask(versions[round % 2]!);
        const running = await benches[at]!.start(task);
        const { kind, detail } = await task.settled;
        await running.cleaned;
        if (kind === 'finished') expect(seenBy(task)).toBe(`${modelBytes}\n`);
        // Swept away twice under one attempt, which is then given up for the next.
        else expect([kind, detail]).toEqual(['fault', expect.stringMatching(/before its use$/)]);
      }
    };
    const tasks = Promise.all([tasksOn(0), tasksOn(1)]);
    await Promise.all([sweepOn(0), sweepOn(1)]).finally(() => (isOver = true));
    await tasks;
    // Nothing that the sweeps have left is in the way.
    await Promise.all([0, 1].flatMap((at) => versions.map((version) => run(at, version))));
    await sweep(0);
    // A marker that was made while the one before was being removed may have gone with it.
    for (const { engine, names } of benches) {
      await removeLeftovers(await listOwn({ engine, names, logger }, signal), logger, signal);
    }
    expect(await volumesOf()).toEqual([]);
  });
});

/** Runs a task of the version, which sees its files. */
async function run(at: number, versionId: string): Promise<void> {
  const task = addTask(versionId);
  const running = await benches[at]!.start(task);
  expect(await task.settled).toMatchObject({ kind: 'finished' });
  expect(seenBy(task)).toBe(`${modelBytes}\n`);
  expect(await running.cleaned).toBe(true);
}

function addTask(versionId: string): TestTask {
  return api.addTask({
    work: { container_tag: image, model_version_id: versionId },
    input: scriptZip('wc -c < /model/weights.bin > /output/seen'),
    modelFiles,
  });
}

function seenBy(task: TestTask): string | null | undefined {
  return readZip(task.outputs[0]!)['seen'];
}

async function sweep(at: number, within = limits, engine = engineOf()): Promise<Amount> {
  const { count, bytes } = await sweepOf(at, within, engine).take(signal);
  return { count, bytes };
}

/** What would go. */
async function look(at: number, within = limits): Promise<Amount> {
  const before = await volumesOf();
  const amount = await sweepOf(at, within, engineOf()).look(signal);
  expect(await volumesOf()).toEqual(before);
  return amount;
}

function sweepOf(at: number, within: ModelVolumeLimits, engine: ContainerEngine): Sweep {
  const { names, deps } = benches[at]!;
  const noting = { info: (entry: (typeof removed)[number]) => removed.push(entry) };
  const sweepDeps = { ...deps.modelVolumes, engine, names, api: deps.api };
  return sweepModelVolumes({ ...sweepDeps, logger: noting as unknown as Logger }, within);
}

/** A container that was created, and has the version's volume. */
async function hold(versionId: string) {
  const engine = engineOf();
  const marker = await engine.inspectVolume(benches[0]!.names.model(versionId).marker, signal);
  const volume = marker?.labels[labelNames.volume] ?? '';
  const container = await engine.createContainer(
    stagingContainer({
      name: `hold-${versionId}`,
      image,
      labels: { [labelNames.installation]: own.installationId },
      mounts: [{ volume, path: '/model', readOnly: true }],
    }),
    signal,
  );
  const release = () => engine.removeContainer(container, signal);
  return { release, [Symbol.asyncDispose]: release };
}

function engineOf(): ContainerEngine {
  return benches[0]!.engine;
}

async function volumesOf() {
  const labels = { [labelNames.installation]: own.installationId };
  const volumes = await engineOf().listVolumes(labels, signal);
  return volumes.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function kindsOf(): Promise<(string | undefined)[]> {
  return (await volumesOf()).map(({ labels }) => labels[labelNames.kind]).sort();
}

async function versionsOf(kind: string): Promise<(string | undefined)[]> {
  const found = (await volumesOf()).filter(({ labels }) => labels[labelNames.kind] === kind);
  return found.map(({ labels }) => labels[labelNames.modelVersion]).sort();
}

/** Volumes under our names, but without our labels: what the engine makes when it is asked for a mount. */
async function strayVolumes(): Promise<string[]> {
  const prefix = `is-${own.installationId.slice(0, 8)}-`;
  const objects = await own.api.listObjects();
  return objects
    .filter(({ name, labels }) => name.startsWith(prefix) && Object.keys(labels).length === 0)
    .map(({ name }) => name);
}
