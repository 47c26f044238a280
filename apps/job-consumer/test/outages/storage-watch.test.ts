import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDockerEngine, type ContainerEngine } from '@inference-server/container-engine';
import type { AttemptResult } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { createLogger } from '@inference-server/service-kit';
import { testEngine, type TestEngine } from '@inference-server/testing';
import { createStorageWatch } from '../../src/storage-watch.js';
import { createAttemptBench, type AttemptBench } from '../attempt-bench.js';
import { makeScriptImage } from '../images.js';
import { startTestPrivateApi, type TestPrivateApi } from '../test-private-api.js';
import { scriptZip } from '../zips.js';
import { smallLimits } from '../small-limits.js';

let own: TestEngine;
let api: TestPrivateApi;
let bench: AttemptBench;
let image: string;
let volumeImage: string;
const logger = createLogger('test', 'silent');
const never = new AbortController().signal;

beforeAll(async () => {
  own = await testEngine();
  api = await startTestPrivateApi(own.installationId);
  image = await makeScriptImage(own.api, own.image, 'storage-test:plain');
  volumeImage = await makeScriptImage(own.api, own.image, 'storage-test:volume', ['VOLUME /cache']);
  bench = await createAttemptBench({ ...own, api });
});

afterAll(() => bench.close());

describe('a run that writes without end', () => {
  const fill = (folder: string, file: string) =>
    `echo begun; cd ${folder}; i=0;
     while :; do i=$((i+1)); head -c 500000 /dev/zero >> ${file}; sleep 0.05; done`;

  it.each([
    ['many files to /output', fill('/output', '$i'), 'bad_output', '/output held too many bytes'],
    ['one file to /output', fill('/output', 'one'), 'bad_output', '/output held too many bytes'],
    ['to its own layer', fill('/tmp', '$i'), 'out_of_disk', 'too many bytes outside /output'],
    ['to a volume of its image', fill('/cache', '$i'), 'out_of_disk', 'outside /output'],
  ])('%s is stopped', async (_where, script, reason, detail) => {
    const result = await run(script, volumeImage);
    expect(result).toMatchObject({ kind: 'failed', reason, log: 'begun\n' });
    expect(result.detail).toContain(detail);
    expect(result.detail).toContain('(allowed: 10485760)');
    const left = (await own.api.listObjects()).filter(({ labels }) =>
      Object.values(labels).includes(own.installationId),
    );
    expect(left).toEqual([]);
  });

  it.each([
    ['/output', 'bad_output', '/output held paths too long'],
    ['/tmp', 'out_of_disk', 'paths too long to be measured outside /output'],
  ])(
    'does not hide behind a path that is too long for the engine: %s',
    async (folder, reason, detail) => {
      const deep = `cd ${folder}; name=$(printf %0200d 0); i=0
      while [ $i -lt 19 ]; do mkdir $name; cd $name; i=$((i+1)); done; mkdir $name; sleep 60`;
      const result = await run(deep);
      expect(result).toMatchObject({ kind: 'failed', reason });
      expect(result.detail).toContain(detail);
    },
  );

  it('is ended by the one file that gets longer than a file may be', async () => {
    const result = await run('truncate -s 2G /tmp/sparse');
    expect(result).toMatchObject({ kind: 'failed', reason: 'out_of_disk', exit_code: 153 });
    expect(result.detail).toContain('(allowed: 1073741824)');
  });
});

describe('the watch', () => {
  it('tells of each container by itself, with one look at them all', async () => {
    await using scene = await openScene();
    const [a, b] = scene.containers;
    const watch = createStorageWatch({ engine: scene.engine, logger, pauseMs: 20 });
    const stop = new AbortController();
    let isTooMuch = false;
    const first = watch.untilFound(a, (storage) => (isTooMuch ? storage : undefined), never);
    const second = watch.untilFound(b, () => undefined, stop.signal);
    const stopped = expect(second).rejects.toThrow('enough');
    await expect.poll(() => scene.looks.length, { timeout: 10_000 }).toBeGreaterThan(1);
    expect(scene.looks[0]?.containers).toEqual([a, b]);
    isTooMuch = true;
    expect(await first).toEqual({ id: a, layerBytes: 0, volumes: [] });
    const seen = scene.looks.length;
    await expect.poll(() => scene.looks.length, { timeout: 10_000 }).toBeGreaterThan(seen + 1);
    expect(scene.looks.at(-1)?.containers).toEqual([b]);
    stop.abort(new AppError('CONFLICT', 'enough'));
    await stopped;
  });

  it('looks at nothing when there is nothing to watch', async () => {
    await using scene = await openScene();
    const [a] = scene.containers;
    const watch = createStorageWatch({ engine: scene.engine, logger, pauseMs: 20 });
    const stop = new AbortController();
    const waiting = watch.untilFound(a, ({ id }) => id, stop.signal);
    stop.abort(new AppError('CONFLICT', 'enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(watch.untilFound(a, ({ id }) => id, stop.signal)).rejects.toThrow('enough');
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(scene.looks).toEqual([]);
  });

  it('leaves the engine five times as long in peace as a look took', async () => {
    await using scene = await openScene({ lookMs: 60 });
    const [a] = scene.containers;
    const watch = createStorageWatch({ engine: scene.engine, logger, pauseMs: 1 });
    await watch.untilFound(a, () => scene.looks.length === 3 || undefined, never);
    const [, second, third] = scene.looks.map(({ at }) => at);
    expect((third ?? 0) - (second ?? 0)).toBeGreaterThan(6 * 60 - 20);
  });

  it('goes on looking when the engine was away', async () => {
    await using scene = await openScene();
    const [a] = scene.containers;
    const watch = createStorageWatch({ engine: scene.engine, logger, pauseMs: 10 });
    scene.isAway = true;
    const found = watch.untilFound(a, ({ id }) => id, never);
    await expect.poll(() => scene.looks.length, { timeout: 10_000 }).toBeGreaterThan(2);
    scene.isAway = false;
    expect(await found).toBe(a);
  });
});

async function run(script: string, container_tag = image): Promise<AttemptResult> {
  const task = api.addTask({ work: { container_tag }, input: scriptZip(script) });
  const running = await bench.start(task);
  const result = await task.settled;
  expect(await running.cleaned).toBe(true);
  return result;
}

/** Two containers of the engine, and the engine itself with a note of each look at them. */
async function openScene({ lookMs = 0 } = {}) {
  const real = createDockerEngine({ dockerHost: own.dockerHost });
  const absent = createDockerEngine({ dockerHost: 'unix:///nobody/listens/here.sock' });
  const limits = smallLimits;
  const create = () =>
    real.createContainer(
      {
        name: `storage-test-${randomUUID()}`,
        image: own.image,
        labels: { test: own.installationId },
        mounts: [],
        environment: {},
        limits,
        gpus: [],
      },
      never,
    );
  const containers = [await create(), await create()] as const;
  const looks: { containers: readonly string[]; at: number }[] = [];
  const measureStorage: ContainerEngine['measureStorage'] = async (asked, signal) => {
    looks.push({ containers: asked, at: performance.now() });
    const found = await (scene.isAway ? absent : real).measureStorage(asked, signal);
    await new Promise((resolve) => setTimeout(resolve, lookMs));
    return found;
  };
  const scene = {
    containers,
    looks,
    isAway: false,
    engine: { measureStorage },
    [Symbol.asyncDispose]: async () => {
      for (const id of containers) await real.removeContainer(id, never);
    },
  };
  return scene;
}
