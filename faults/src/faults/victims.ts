import { waitUntil } from '@inference-server/local-services';
import type { AppProcess } from '../world/app-process.js';
import type { Engine } from '../world/world.js';
import type { Scene } from './fault.js';

/** Any process of the app. */
export function anyOf({ world, random }: Scene, app: string): AppProcess {
  const all = [...world.publicApis, ...world.privateApis, ...world.consumers];
  return random.pick(all.filter(({ name }) => name.startsWith(app)));
}

/** The process of the app that stands still, or else any of that app. */
export function atOrAny(scene: Scene, app: string): AppProcess {
  return scene.at.name.startsWith(app) ? scene.at : anyOf(scene, app);
}

/** That of the consumer that stands still, or any. */
export function engineOf({ world, at, random }: Scene): Engine {
  return world.engines.find(({ serves }) => serves.includes(at.name)) ?? random.pick(world.engines);
}

/** The private-api that hands out tickets. One that has ended since it said so is none. */
export async function leaderOf({ world }: Scene): Promise<AppProcess> {
  let leader: AppProcess | undefined;
  const isKnown = () => {
    const { pid } = world.leader() ?? {};
    leader = world.privateApis.find((one) => one.pid !== undefined && one.pid === pid);
    return Promise.resolve(leader !== undefined);
  };
  await waitUntil(isKnown, { timeoutMs: 15_000, everyMs: 20 });
  if (leader === undefined) throw new Error('There is no leader.');
  return leader;
}
