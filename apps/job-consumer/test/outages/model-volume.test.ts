import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { stagingContainer } from '@inference-server/container-engine';
import { createLogger } from '@inference-server/service-kit';
import { testEngine, type TestEngine } from '@inference-server/testing';
import { listOwn, removeLeftovers } from '../../src/leftovers.js';
import { requireModelVolume } from '../../src/model-volume.js';
import { createNames, labelNames } from '../../src/names.js';
import { folderTar } from '../../src/run/folder-tar.js';
import { createAttemptBench, type AttemptBench } from '../attempt-bench.js';
import { makeScriptImage } from '../images.js';
import { startTestPrivateApi, type TestPrivateApi, type TestTask } from '../test-private-api.js';
import { readZip, scriptZip, zipOf } from '../zips.js';

const signal = new AbortController().signal;
const logger = createLogger('test', 'silent');
const modelFiles = zipOf({ 'weights/layer.bin': 'w'.repeat(100_000), 'labels.txt': 'liver' });

let own: TestEngine;
let api: TestPrivateApi;
let benches: AttemptBench[];
let image: string;
let versionId: string;

beforeAll(async () => {
  own = await testEngine();
  api = await startTestPrivateApi(own.installationId);
  image = await makeScriptImage(own.api, own.image, 'model-test:1');
  benches = await Promise.all(
    ['consumer-a', 'consumer-b'].map((consumerId) =>
      createAttemptBench({ ...own, api, consumerId, staleAfterMs: 1_000 }),
    ),
  );
});

afterEach(async () => {
  for (const { name } of await volumesOf()) await benches[0]!.engine.removeVolume(name, signal);
  api.modelFetches.length = 0;
});

afterAll(async () => {
  await Promise.all(benches.map((bench) => bench.close()));
});

describe("a model's files", () => {
  it('are brought once for two consumers at the same time, and for all tasks after that', async () => {
    versionId = randomUUID();
    const first = await Promise.all([0, 1, 0, 1].map((at) => runWithModel(benches[at]!)));
    const later = await runWithModel(benches[1]!);
    for (const task of [...first, later]) expect(seenBy(task)).toBe('liver 100000 read-only');
    expect(api.modelFetches).toHaveLength(1);
    expect(await kindsOf()).toEqual(['model', 'model-data', 'model-use']);
  });

  it('are brought for each version', async () => {
    versionId = randomUUID();
    await runWithModel(benches[0]!);
    versionId = randomUUID();
    await runWithModel(benches[0]!);
    expect(api.modelFetches).toHaveLength(2);
  });

  it('are brought anew when somebody has removed the volume', async () => {
    versionId = randomUUID();
    await runWithModel(benches[0]!);
    const [data] = (await volumesOf()).filter(
      ({ labels }) => labels[labelNames.kind] === 'model-data',
    );
    await benches[0]!.engine.removeVolume(data!.name, signal);
    expect(seenBy(await runWithModel(benches[1]!))).toBe('liver 100000 read-only');
    expect(api.modelFetches).toHaveLength(2);
  });

  it('are never taken from a fill that was cut short, whose remains are leftovers', async () => {
    versionId = randomUUID();
    const { half, lock } = await leaveHalfFill('consumer-dead');
    expect(seenBy(await runWithModel(benches[0]!))).toBe('liver 100000 read-only');
    const { engine } = benches[0]!;
    expect(await engine.inspectContainer(lock, signal)).toBeUndefined();
    expect(await engine.inspectVolume(half, signal)).toBeDefined();
    const dead = createNames(own.installationId, 'consumer-dead');
    await removeLeftovers(await listOwn({ engine, names: dead, logger }, signal), logger, signal);
    expect(await engine.inspectVolume(half, signal)).toBeUndefined();
    await removeLeftovers(await listOwn(benches[0]!.deps, signal), logger, signal);
    expect(await kindsOf()).toEqual(['model', 'model-data', 'model-use']);
  });

  it('are kept of a fill that was taken for dead, and then finishes', async () => {
    versionId = randomUUID();
    const [a, b] = benches as [AttemptBench, AttemptBench];
    const [slow, slower] = [requestVolume(a, 'a'), requestVolume(b, 'b')];
    // B's fill begins when it has waited long enough to remove the lock of A's.
    await Promise.all([slow.begun, slower.begun]);
    // And the other way round: no lock is left when A finishes.
    await a.engine.removeContainer(a.names.model(versionId).lock, signal);
    slow.finish();
    const volume = await slow.volume;
    slower.finish();
    expect(await slower.volume).toBe(volume);
    expect((await volumesOf()).map(({ name }) => name).sort()).toEqual(
      [a.names.model(versionId).marker, a.names.model(versionId).use, volume].sort(),
    );
    expect(await containersOf()).toEqual([]);
  });

  it('leave nothing when they cannot be brought', async () => {
    versionId = randomUUID();
    const task = addTask();
    task.modelFiles = zipOf({ 'labels.txt': 'something else, and longer'.repeat(10_000) });
    const running = await benches[0]!.start(task);
    expect(await task.settled).toMatchObject({ kind: 'fault' });
    await running.cleaned;
    expect(await kindsOf()).toEqual([]);
  });
});

function addTask(): TestTask {
  const script =
    'touch /model/x 2>/dev/null && rw=writable || rw=read-only; ' +
    'echo $(cat /model/labels.txt) $(wc -c < /model/weights/layer.bin) $rw > /output/seen';
  return api.addTask({
    work: { container_tag: image, model_version_id: versionId },
    input: scriptZip(script),
    modelFiles,
  });
}

async function runWithModel(bench: AttemptBench): Promise<TestTask> {
  const task = addTask();
  const running = await bench.start(task);
  expect(await task.settled).toMatchObject({ kind: 'finished' });
  expect(await running.cleaned).toBe(true);
  return task;
}

function seenBy(task: TestTask): string | null | undefined {
  return readZip(task.outputs[0]!)['seen']?.trim();
}

/** Asks for the volume with files that do not end before `finish`. */
function requestVolume({ deps, names }: AttemptBench, taskUid: string) {
  const tar = folderTar('weights', 0o755);
  let finish: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const volume = requireModelVolume(
    deps.modelVolumes,
    {
      versionId,
      labels: (kind) => ({
        ...names.attempt(taskUid, 1).labels(kind),
        [labelNames.modelVersion]: versionId,
      }),
      openTar: async () => {
        begin();
        return Promise.resolve(Readable.from(delayEnd(tar, finished), { objectMode: false }));
      },
    },
    signal,
  );
  return { volume, begun, finish };
}

async function* delayEnd(chunks: AsyncIterable<Buffer>, until: Promise<void>) {
  yield* chunks;
  await until;
}

/** What a consumer leaves that was killed while it filled the model's volume. */
async function leaveHalfFill(consumerId: string): Promise<{ half: string; lock: string }> {
  const { engine } = benches[0]!;
  const names = createNames(own.installationId, consumerId);
  const model = names.model(versionId);
  const labels = (kind: 'model-fill' | 'model-data') => ({
    ...names.attempt('dead', 1).labels(kind),
    [labelNames.modelVersion]: versionId,
  });
  const half = model.data('half');
  await engine.createVolume({ name: half, labels: labels('model-data') }, signal);
  const mounts = [{ volume: half, path: '/fill', readOnly: false }];
  const spec = stagingContainer({ name: model.lock, image, labels: labels('model-fill'), mounts });
  const lock = await engine.createContainer(spec, signal);
  await engine.putArchive(lock, '/fill', folderTar('weights', 0o755), signal);
  return { half, lock };
}

async function volumesOf() {
  return benches[0]!.engine.listVolumes({ [labelNames.installation]: own.installationId }, signal);
}

async function containersOf() {
  const labels = { [labelNames.installation]: own.installationId };
  return benches[0]!.engine.listContainers(labels, signal);
}

async function kindsOf() {
  return (await volumesOf()).map(({ labels }) => labels[labelNames.kind]).sort();
}
