import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import AdmZip from 'adm-zip';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tarToZip, zipToTar } from '@inference-server/archive';
import {
  createDockerEngine,
  modelContainer,
  stagingContainer,
  type ContainerEngine,
  type ContainerExit,
} from '@inference-server/container-engine';
import { testEngine, testFolder } from '@inference-server/testing';
import { modelNames, modelSettings } from '../../src/load/models.js';
import { sha256 } from '../../src/digests.js';
import {
  modelWeights,
  planTask,
  taskKinds,
  type PlannedEnd,
  type TaskPlan,
} from '../../src/load/task-kinds.js';
import { createRandom } from '../../src/random.js';

const signal = new AbortController().signal;
const mib = 1024 ** 2;
/** As the consumers of a run give them. */
const limits = {
  memoryBytes: 64 * mib,
  cpus: 1,
  processes: 4096,
  shmBytes: 16 * mib,
  logBytes: 16 * mib,
  fileBytes: 1024 * mib,
};

describe('a plan', () => {
  it('is the same of the same seed, and other ones are of all kinds', () => {
    const plans = Array.from({ length: 300 }, (_item, at) => planOf(`${at}`));
    expect(planOf('7')).toEqual(plans[7]);
    const kinds = new Set(plans.map(({ kind }) => kind));
    expect([...kinds].sort()).toEqual(taskKinds.map(({ name }) => name).sort());
    const models = new Set(plans.map(({ model }) => model));
    expect([...models].sort()).toEqual([...modelNames].sort());
    for (const { files } of plans) expect(Object.keys(files)).toContain('run.sh');
  });

  it('of one that is meddled with may end so, and is meddled with', () => {
    for (const [name, what] of [
      ['cancelled', 'cancel'],
      ['deleted', 'delete'],
    ]) {
      const plan = kindOf(name!);
      expect(plan.then?.what).toBe(what);
      expect(plan.ends.map(({ state }) => state)).toEqual(['FINISHED', 'CANCELLED']);
    }
    const others = taskKinds.filter(({ name }) => !['cancelled', 'deleted'].includes(name));
    for (const { name } of others) {
      expect(kindOf(name).then, name).toBeUndefined();
      expect(kindOf(name).ends, name).toHaveLength(1);
    }
  });

  function planOf(seed: string): TaskPlan {
    return planTask(createRandom(seed));
  }
});

describe('a task that is let be comes to the end of its plan, with its output', () => {
  let engine: ContainerEngine;
  let image: string;
  let labels: Record<string, string>;
  let folder: string;
  let prefix: string;
  let runs = 0;

  beforeAll(async () => {
    const own = await testEngine();
    engine = createDockerEngine({ dockerHost: own.dockerHost });
    ({ image, installationId: prefix } = own);
    labels = { 'inference-server.installation': prefix };
    folder = await testFolder();
    await fill('model', { weights: modelWeights });
  });
  afterAll(async () => {
    for (const { id } of await engine.listContainers(labels, signal)) {
      await engine.removeContainer(id, signal);
    }
    for (const { name } of await engine.listVolumes(labels, signal)) {
      await engine.removeVolume(name, signal);
    }
  });

  it.each(taskKinds.map(({ name }) => name))('%s', async (name) => {
    const plan = kindOf(name);
    const { end, output } = await run(plan);
    expect(end).toEqual(plan.ends[0]);
    expect(output).toEqual(plan.output);
  });

  it('also one whose child ran out of memory: the kernel has killed that', async () => {
    const { exit } = await run(kindOf('child out of memory, exit 0'));
    expect(exit).toMatchObject({ exitCode: 0, outOfMemory: true });
  });

  it('and a failing one has no output', () => {
    for (const { name } of taskKinds) {
      const { output, ends } = kindOf(name);
      expect(output === undefined, name).toBe(ends[0].state === 'FAILED');
    }
  });

  async function run(plan: TaskPlan) {
    const own = `run-${(runs += 1)}`;
    const volumes = {
      input: await fill(`${own}-input`, plan.files),
      output: await fill(`${own}-output`, {}),
      model: plan.model === 'with-files' ? `${prefix}-model` : null,
    };
    const spec = modelContainer({
      name: `${prefix}-${own}`,
      image,
      labels,
      volumes,
      limits,
      gpus: [],
    });
    const command = ['sh', '/input/run.sh'];
    const container = await engine.createContainer({ ...spec, command }, signal);
    const exited = engine.waitForExit(container, signal);
    expect(await engine.startContainer(container, signal)).toEqual({ started: true });
    const { timeout_s: timeoutS } = modelSettings[plan.model];
    const late = new AbortController();
    const isOverdue = await Promise.race([
      exited.then(() => false),
      sleep((timeoutS ?? 25) * 1000, true, { signal: late.signal }),
    ]);
    late.abort();
    if (isOverdue) await engine.stopContainer(container, 500, signal);
    const exit = await exited;
    const end = endOf(exit, isOverdue);
    const output = end.state === 'FINISHED' ? await outputOf(container) : undefined;
    return { exit, end, output };
  }

  /** A volume with these files; answers with its name. */
  async function fill(own: string, files: Record<string, Buffer>): Promise<string> {
    const name = `${prefix}-${own}`;
    await engine.createVolume({ name, labels }, signal);
    const mounts = [{ volume: name, path: '/fill', readOnly: false }];
    const helper = stagingContainer({ name: `${name}-fill`, image, labels, mounts });
    const container = await engine.createContainer(helper, signal);
    const zip = new AdmZip();
    for (const [file, bytes] of Object.entries(files)) zip.addFile(file, bytes);
    const path = join(folder, `${own}.zip`);
    await writeFile(path, zip.toBuffer());
    await engine.putArchive(container, '/fill', zipToTar(path, { signal }), signal);
    await engine.removeContainer(container, signal);
    return name;
  }

  /** As its caller fetches it. */
  async function outputOf(container: string): Promise<Record<string, string>> {
    const tar = await engine.getArchive(container, '/output', signal);
    const zip = tarToZip(tar, {
      signal,
      maxBytes: 64 * mib,
      maxEntries: 2_000,
      onLeftOut: (line) => expect.fail(line),
    });
    const entries = new AdmZip(await buffer(zip)).getEntries();
    const files = entries.filter(({ isDirectory }) => !isDirectory);
    return Object.fromEntries(files.map((file) => [file.entryName, sha256(file.getData())]));
  }
});

function kindOf(wanted: string): TaskPlan {
  const kind = taskKinds.find(({ name }) => name === wanted);
  if (kind === undefined) throw new Error(`there is no kind ${wanted}`);
  return { kind: kind.name, ...kind.make(createRandom('kinds').fork(wanted)) };
}

/** As a consumer judges it. */
function endOf({ exitCode, outOfMemory }: ContainerExit, isOverdue: boolean): PlannedEnd {
  if (isOverdue) return { state: 'FAILED', reason: 'timed_out' };
  if (exitCode === 0) return { state: 'FINISHED' };
  return { state: 'FAILED', reason: outOfMemory ? 'out_of_memory' : 'exit_code' };
}
