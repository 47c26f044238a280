import { afterAll, beforeAll, expect, it } from 'vitest';
import { probeStart } from '../src/probe.js';
import { openAttemptScene, type AttemptScene } from './attempt-scene.js';

const never = new AbortController().signal;
const emptyImage = 'inference-server/empty:1';

let scene: AttemptScene;
beforeAll(async () => {
  scene = await openAttemptScene();
});
afterAll(() => scene.close());

it('probes at once make one image', async () => {
  await scene.own.api.call('DELETE', `/images/${emptyImage}?force=1`).catch(() => undefined);
  const before = new Set(await imagesOf());
  await Promise.all([1, 2, 3, 4].map((at) => probe(`${at}`)));
  const made = (await imagesOf()).filter((id) => !before.has(id));
  for (const id of made.slice(1)) await scene.own.api.call('DELETE', `/images/${id}?force=1`);
  expect(made).toHaveLength(1);
});

it('a probe makes no volume anew that has gone', async () => {
  await expect(probe('5', { gone: 'input' })).rejects.toMatchObject({ problem: 'volume_absent' });
  expect(await scene.bench.engine.inspectVolume('gone', never)).toBeUndefined();
  expect(await scene.traces()).toEqual([]);
});

function probe(random: string, volumes: Record<string, 'input'> = {}): Promise<void> {
  const { engine, names, deps } = scene.bench;
  const { limits } = deps.settings;
  return probeStart(engine, { ...names.probe(random), gpu: null, limits, volumes }, never);
}

async function imagesOf(): Promise<string[]> {
  const images = (await scene.own.api.call('GET', '/images/json?all=1')) as { Id: string }[];
  return images.map(({ Id }) => Id);
}
