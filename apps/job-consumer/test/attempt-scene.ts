import { expect } from 'vitest';
import type { AttemptResult } from '@inference-server/contracts';
import type { AppError } from '@inference-server/errors';
import { needs, testEngine } from '@inference-server/testing';
import { createAttemptBench } from './attempt-bench.js';
import { makeScriptImage } from './images.js';
import { startTestPrivateApi, type TestTask } from './test-private-api.js';
import { scriptZip, type Tree } from './zips.js';
import { usualRights, type Needs, type Rights } from '@inference-server/contracts';

export type AttemptScene = Awaited<ReturnType<typeof openAttemptScene>>;

export interface RunOptions {
  image?: string;
  tree?: Tree;
  modelFiles?: Buffer;
  timeoutS?: number;
  needs?: Needs;
  rights?: Partial<Rights>;
  pullPolicy?: 'missing' | 'never';
  refuseOutput?: AppError;
  storedSha256?: string;
}

/** A bench with an engine and a private-api of its own, and an image that runs the task's script. */
export async function openAttemptScene() {
  const own = await testEngine();
  const api = await startTestPrivateApi(own.installationId);
  // Each file its own: one that ends takes the name away.
  const tag = `attempt-test:${own.installationId}`;
  const image = await makeScriptImage(own.api, own.image, tag);
  const bench = await createAttemptBench({ ...own, api });
  const signal = new AbortController().signal;

  return {
    own,
    api,
    bench,
    run,
    runInput,
    taskOf,
    traces,
    removeAll,
    containersOf,
    containerOf,
    untilRunning,
    logOf,
    close: () => bench.close(),
  };

  function taskOf(input: Buffer, options: RunOptions = {}): TestTask {
    const task = api.addTask({
      input,
      ...(options.modelFiles !== undefined && { modelFiles: options.modelFiles }),
      work: {
        container_tag: options.image ?? image,
        timeout_s: options.timeoutS ?? 60,
        needs: options.needs ?? needs(),
        rights: { ...usualRights, ...options.rights },
        pull_policy: options.pullPolicy ?? 'missing',
      },
    });
    if (options.refuseOutput !== undefined) task.refuseOutput = options.refuseOutput;
    if (options.storedSha256 !== undefined) task.storedSha256 = options.storedSha256;
    return task;
  }

  function run(script: string, options: RunOptions = {}) {
    return runInput(scriptZip(script, options.tree), options);
  }

  async function runInput(input: Buffer, options: RunOptions = {}) {
    const task = taskOf(input, options);
    const running = await bench.start(task);
    const result: AttemptResult = await task.settled;
    await running.cleaned;
    return { task, running, result };
  }

  function containerOf(task: TestTask): string {
    return bench.names.attempt(task.uid, task.attempt).name('run');
  }

  async function containersOf(task: TestTask) {
    const { all } = bench.names.attempt(task.uid, task.attempt);
    const found = await bench.engine.listContainers(all, signal);
    return found.filter(({ name }) => name === containerOf(task));
  }

  /** What an attempt has left for another to go on with. */
  async function removeAll(task: TestTask): Promise<void> {
    const { all } = bench.names.attempt(task.uid, task.attempt);
    for (const { id } of await bench.engine.listContainers(all, signal)) {
      await bench.engine.removeContainer(id, signal);
    }
    for (const { name } of await bench.engine.listVolumes(all, signal)) {
      await bench.engine.removeVolume(name, signal);
    }
  }

  async function untilRunning(task: TestTask): Promise<void> {
    const state = async () =>
      (await bench.engine.inspectContainer(containerOf(task), signal))?.state;
    await expect.poll(state, { timeout: 10_000, interval: 50 }).toMatch(/running|exited/);
  }

  async function logOf(task: TestTask): Promise<string> {
    const limits = { maxBytes: 1000, maxLines: 100 };
    try {
      return (await bench.engine.readLogs(containerOf(task), limits, signal)).text;
    } catch {
      return '';
    }
  }

  async function traces(): Promise<string[]> {
    const objects = await own.api.listObjects();
    return objects
      .filter(({ labels }) => Object.values(labels).includes(own.installationId))
      .map(({ kind, name }) => `${kind} ${name}`);
  }
}
