import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineError, type ContainerEngine } from '@inference-server/container-engine';
import { openAttemptScene, type AttemptScene } from './attempt-scene.js';
import { scriptZip } from './zips.js';

let scene: AttemptScene;
let engine: ContainerEngine;
beforeAll(async () => {
  scene = await openAttemptScene();
  ({ engine } = scene.bench);
});
afterEach(() => {
  scene.bench.deps.engine = engine;
});
afterAll(() => scene.close());

describe('a connection to the engine that breaks throws nothing away', () => {
  it('when the answer to a start is lost, the container may have come to its end', async () => {
    let name = '';
    const { bench } = scene;
    let starts = 0;
    bench.deps.engine = {
      ...engine,
      async startContainer(container, signal) {
        const found = await engine.inspectContainer(container, signal);
        const answer = await engine.startContainer(container, signal);
        if (found?.name !== name) return answer;
        starts += 1;
        if (starts > 1) return answer;
        await engine.waitForExit(container, signal);
        throw new EngineError('unreachable', 'The connection broke.');
      },
    };
    const task = scene.taskOf(scriptZip('echo done > /output/a'));
    name = scene.containerOf(task);
    const running = await bench.start(task);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
    await running.cleaned;
    expect(starts).toBe(1);
  });

  it('when the start has not come through, it is started', async () => {
    const { bench } = scene;
    let refused = 0;
    let name = '';
    bench.deps.engine = {
      ...engine,
      async startContainer(container, signal) {
        const found = await engine.inspectContainer(container, signal);
        if (found?.name === name && refused++ === 0) {
          throw new EngineError('unreachable', 'Nobody answers.');
        }
        return engine.startContainer(container, signal);
      },
    };
    const task = scene.taskOf(scriptZip('echo done > /output/a'));
    name = scene.containerOf(task);
    const running = await bench.start(task);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
    await running.cleaned;
  });

  it('in the middle of an output: it is read again', async () => {
    const { bench } = scene;
    let reads = 0;
    bench.deps.engine = {
      ...engine,
      async getArchive(container, path, signal) {
        const tar = await engine.getArchive(container, path, signal);
        if (path !== '/output' || reads++ > 0) return tar;
        return Readable.from(cutAfter(tar, 2_000));
      },
    };
    const task = scene.taskOf(scriptZip('head -c 100000 /dev/urandom > /output/a'));
    const running = await bench.start(task);
    expect(await task.settled).toMatchObject({ kind: 'finished' });
    await running.cleaned;
    expect(reads).toBe(2);
  });

  it('when the answer to a stop is lost, the end of the time is the end', async () => {
    const { bench } = scene;
    let stops = 0;
    bench.deps.engine = {
      ...engine,
      async stopContainer(container, graceMs, signal) {
        await engine.stopContainer(container, graceMs, signal);
        if (stops++ === 0) throw new EngineError('unreachable', 'The connection broke.');
      },
    };
    const task = scene.taskOf(scriptZip('sleep 100'), { timeoutS: 1 });
    const running = await bench.start(task);
    expect(await task.settled).toMatchObject({ kind: 'failed', reason: 'timed_out' });
    await running.cleaned;
    expect(stops).toBe(2);
  });
});

async function* cutAfter(source: Readable, bytes: number): AsyncGenerator<Buffer> {
  let passed = 0;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    yield chunk.subarray(0, bytes - passed);
    passed += chunk.length;
    if (passed >= bytes) throw new EngineError('unreachable', 'The connection broke.');
  }
}
