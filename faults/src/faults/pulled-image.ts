import { waitUntil } from '@inference-server/local-services';
import { pulledImage } from '../load/models.js';
import { callEngine } from '../world/engine-call.js';
import type { Engine } from '../world/world.js';
import type { Scene } from './fault.js';

/** Of a process that stands still meanwhile: well below a lease. */
const standsStillMs = 3_000;

/**
 * Takes the image that can be had again from every engine, and posts a task that wants it. Where a container of it runs the image stays
 * until that has ended: then whoever stands still goes on before.
 */
export async function removeFromAll(scene: Scene): Promise<void> {
  await removeEverywhere(scene);
  // The one that is met may have looked for it before.
  scene.postOneMore();
}

async function removeEverywhere(scene: Scene): Promise<void> {
  const { world, goOn } = scene;
  let left: readonly Engine[] = world.engines;
  const areGone = async () => {
    const gone = await Promise.all(left.map((engine) => removeFrom(scene, engine)));
    left = left.filter((_engine, at) => gone[at] === false);
    return left.length === 0;
  };
  if (await waitUntil(areGone, { timeoutMs: standsStillMs, everyMs: 200 })) return;
  goOn();
  if (await waitUntil(areGone, { timeoutMs: 20_000, everyMs: 200 })) return;
  throw new Error(`The image stays in ${left.map(({ name }) => name).join(', ')}.`);
}

/** Whether the engine has it no more. */
export async function removeFrom(
  { world, evidence }: Scene,
  { name, socketPath }: Engine,
): Promise<boolean> {
  const image = pulledImage(world);
  try {
    const removed = await callEngine(socketPath, 'DELETE', `/images/${image}?force=1`);
    evidence('image removed', { engine: name, image, layers: (removed as object[]).length });
    return true;
  } catch (error) {
    if (String(error).includes(' 404 ')) return true;
    if (String(error).includes(' 409 ')) return false;
    throw error;
  }
}
