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

/**
 * The private-api that hands out tickets, by the statement that its leader alone runs, every second:
 * the row of the leader has a name of which nobody else knows. When nobody runs it, the leader is the
 * one that stands still.
 */
export async function leaderOf({ world, at }: Scene): Promise<AppProcess> {
  let leader: AppProcess | undefined;
  const isSeen = async () => {
    const [row] = await world.query<{ name: string }>(
      `SELECT application_name AS name FROM pg_stat_activity
        WHERE query LIKE 'UPDATE tasks SET ticket_sent_at%' AND query_start > now() - interval '2 s'
        ORDER BY query_start DESC LIMIT 1`,
    );
    leader = world.privateApis.find(({ name }) => name === row?.name);
    return leader !== undefined;
  };
  await waitUntil(isSeen, { timeoutMs: 4_000, everyMs: 20 });
  leader ??= world.privateApis.find((one) => one === at);
  if (leader === undefined) throw new Error('There is no leader.');
  return leader;
}
