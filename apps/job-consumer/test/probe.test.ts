import { beforeAll, expect, it } from 'vitest';
import { createDockerEngine, type ContainerEngine } from '@inference-server/container-engine';
import { ownEngine, type OwnEngine } from '@inference-server/testing';
import { createNames } from '../src/names.js';
import { probeStart } from '../src/probe.js';
import { smallLimits } from './small-limits.js';

const never = new AbortController().signal;
const names = createNames('probe-test', 'consumer-a');

// Images that come and go would be others' on an engine that is shared.
let own: OwnEngine;
let engine: ContainerEngine;
beforeAll(async () => {
  own = await ownEngine();
  engine = createDockerEngine({ dockerHost: own.dockerHost });
}, 60_000);

it('probes at once make one image', async () => {
  const before = new Set(await imagesOf());
  await Promise.all([1, 2, 3, 4].map((at) => probe(`${at}`)));
  const made = (await imagesOf()).filter((id) => !before.has(id));
  expect(made).toHaveLength(1);
});

it('a probe makes no volume anew that has gone', async () => {
  await expect(probe('5', { gone: 'input' })).rejects.toMatchObject({ problem: 'volume_absent' });
  expect(await engine.inspectVolume('gone', never)).toBeUndefined();
  expect(await own.api.listObjects()).toEqual([]);
});

function probe(random: string, volumes: Record<string, 'input'> = {}): Promise<void> {
  return probeStart(
    engine,
    { ...names.probe(random), gpus: [], limits: smallLimits, volumes },
    never,
  );
}

async function imagesOf(): Promise<string[]> {
  const images = (await own.api.call('GET', '/images/json?all=1')) as { Id: string }[];
  return images.map(({ Id }) => Id);
}
