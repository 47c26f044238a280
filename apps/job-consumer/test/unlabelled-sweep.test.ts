import { afterEach, beforeAll, expect, it } from 'vitest';
import {
  createDockerEngine,
  EngineError,
  modelContainer,
  type ContainerEngine,
} from '@inference-server/container-engine';
import { createLogger } from '@inference-server/service-kit';
import { testEngine, type TestEngine } from '@inference-server/testing';
import { createNames, type Names } from '../src/names.js';
import { sweepUnlabelled } from '../src/unlabelled-sweep.js';
import { smallLimits } from './small-limits.js';

const signal = new AbortController().signal;

let own: TestEngine;
let engine: ContainerEngine;
let names: Names;
const made: string[] = [];

beforeAll(async () => {
  own = await testEngine();
  engine = createDockerEngine({ dockerHost: own.dockerHost });
  names = createNames(own.installationId, 'consumer-a');
});

afterEach(async () => {
  for (const name of made.splice(0)) await engine.removeVolume(name, signal);
});

it('takes what has lost its labels and is not in use, and nothing else', async () => {
  const attempt = names.attempt('uid', 1);
  await volume(attempt.name('input'));
  const labelled = await volume(attempt.name('output'), attempt.labels('output'));
  const ofAnother = await volume(`${createNames('another', 'a').prefix}uid-1-input`);
  const used = await volume(names.attempt('uid', 2).name('input'));
  const container = await engine.createContainer(
    modelContainer({
      ...{ name: `${names.prefix}holder`, image: own.image, labels: attempt.labels('run') },
      ...{ gpus: [], limits: smallLimits },
      volumes: { input: used, output: labelled, model: null },
    }),
    signal,
  );
  try {
    expect(await sweep().look(signal)).toEqual({ count: 2, bytes: 0 });
    expect(await sweep().take(signal)).toEqual({ count: 1, bytes: 0, more: false });
    expect(await present()).toEqual([labelled, ofAnother, used].sort());
    expect(await sweep().take(signal)).toMatchObject({ count: 0 });
  } finally {
    await engine.removeContainer(container, signal);
  }
  expect(await sweep().take(signal)).toMatchObject({ count: 1 });
  expect(await present()).toEqual([labelled, ofAnother].sort());
});

it('leaves one that got its labels since it was listed', async () => {
  const { name, labels } = { name: names.prefix + 'late', labels: names.own };
  await volume(name);
  const listVolumes: ContainerEngine['listVolumes'] = async (wanted, bounds) => {
    const found = await engine.listVolumes(wanted, bounds);
    await engine.createVolume({ name, labels }, bounds);
    return found;
  };
  expect(await sweep({ listVolumes }).take(signal)).toMatchObject({ count: 0 });
  expect(await engine.inspectVolume(name, signal)).toEqual({ name, labels });
});

it('goes on with the others when one cannot be removed, and ends when the engine is away', async () => {
  const [stuck, other] = [await volume(`${names.prefix}1`), await volume(`${names.prefix}2`)];
  const failing = (problem: 'failed' | 'unreachable') =>
    sweep({
      removeVolume: (name, bounds) =>
        name === stuck
          ? Promise.reject(new EngineError(problem, 'no'))
          : engine.removeVolume(name, bounds),
    }).take(signal);
  await expect(failing('unreachable')).rejects.toMatchObject({ problem: 'unreachable' });
  await volume(other);
  expect(await failing('failed')).toMatchObject({ count: 1 });
  expect(await present()).toEqual([stuck]);
});

function sweep(calls: Partial<ContainerEngine> = {}) {
  const logger = createLogger('test', 'silent');
  return sweepUnlabelled({ engine: { ...engine, ...calls }, names, logger });
}

async function volume(name: string, labels = {}): Promise<string> {
  made.push(name);
  await engine.createVolume({ name, labels }, signal);
  return name;
}

/** Of those that were made here. */
async function present(): Promise<string[]> {
  const found = await engine.listVolumes({}, signal);
  return found.flatMap(({ name }) => (made.includes(name) ? [name] : [])).sort();
}
