import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineError, type ContainerEngine } from '@inference-server/container-engine';
import type { AttemptResult } from '@inference-server/contracts';
import { openAttemptScene, type AttemptScene } from './attempt-scene.js';
import type { TestTask } from './test-private-api.js';
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
    const task = scene.taskOf(scriptZip('echo done > /output/a'));
    const name = scene.containerOf(task);
    let starts = 0;
    const result = await runOn(task, {
      async startContainer(container, signal) {
        const found = await engine.inspectContainer(container, signal);
        const answer = await engine.startContainer(container, signal);
        if (found?.name !== name) return answer;
        starts += 1;
        if (starts > 1) return answer;
        await engine.waitForExit(container, signal);
        throw broken();
      },
    });
    expect(result).toMatchObject({ kind: 'finished' });
    expect(starts).toBe(1);
  });

  it('when the start has not come through, it is started', async () => {
    const task = scene.taskOf(scriptZip('echo done > /output/a'));
    const name = scene.containerOf(task);
    let refused = 0;
    const result = await runOn(task, {
      async startContainer(container, signal) {
        const found = await engine.inspectContainer(container, signal);
        if (found?.name === name && refused++ === 0) throw broken();
        return engine.startContainer(container, signal);
      },
    });
    expect(result).toMatchObject({ kind: 'finished' });
  });

  it('in the middle of an output: it is read again', async () => {
    const task = scene.taskOf(scriptZip('head -c 100000 /dev/urandom > /output/a'));
    let reads = 0;
    const result = await runOn(task, {
      async getArchive(container, path, signal) {
        const tar = await engine.getArchive(container, path, signal);
        if (path !== '/output' || reads++ > 0) return tar;
        return Readable.from(cutAfter(tar, 2_000));
      },
    });
    expect(result).toMatchObject({ kind: 'finished' });
    expect(reads).toBe(2);
  });

  it('when the answer to a stop is lost, the end of the time is the end', async () => {
    const task = scene.taskOf(scriptZip('sleep 100'), { timeoutS: 1 });
    let stops = 0;
    const result = await runOn(task, {
      async stopContainer(container, graceMs, signal) {
        await engine.stopContainer(container, graceMs, signal);
        if (stops++ === 0) throw broken();
      },
    });
    expect(result).toMatchObject({ kind: 'failed', reason: 'timed_out' });
    expect(stops).toBe(2);
  });
});

/** Runs `task` to its end on an engine of which `calls` are other ones. */
async function runOn(task: TestTask, calls: Partial<ContainerEngine>): Promise<AttemptResult> {
  scene.bench.deps.engine = { ...engine, ...calls };
  const running = await scene.bench.start(task);
  const result = await task.settled;
  await running.cleaned;
  return result;
}

async function* cutAfter(source: Readable, bytes: number): AsyncGenerator<Buffer> {
  let passed = 0;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    yield chunk.subarray(0, bytes - passed);
    passed += chunk.length;
    if (passed >= bytes) throw broken();
  }
}

const broken = () => new EngineError('unreachable', 'The connection broke.');
