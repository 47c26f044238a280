import { waitUntil } from '@inference-server/local-services';
import { findLeftovers } from '../checks/leftovers.js';
import type { Load } from '../load/load.js';
import type { World } from '../world/world.js';

/** Posts no more, and waits until every caller has its end. False: some still wait for it. */
export async function endLoad(load: Load, withinS: number, signal: AbortSignal): Promise<boolean> {
  let isOver = false;
  const ending = load.finish().then(() => (isOver = true));
  await waitUntil(() => Promise.resolve(isOver), { timeoutMs: withinS * 1000, signal });
  // Who still waits ends with the signal of the callers.
  ending.catch(() => undefined);
  return isOver;
}

/**
 * What is still left over when the sweeps have had their time: for 10 s, for there is always something just on
 * its way as long as outputs come to the end of their time.
 */
export async function leftoversAtRest(
  world: World,
  withinS: number,
  signal: AbortSignal,
): Promise<string[]> {
  let left: string[] = [];
  let since = new Map<string, number>();
  const isTidy = async () => {
    try {
      const found = await findLeftovers(world, signal);
      const now = performance.now();
      since = new Map(found.map((one) => [one, since.get(one) ?? now]));
      left = found.filter((one) => now - (since.get(one) ?? now) >= stuckMs);
      const open = await world.query('SELECT 1 FROM tasks WHERE ended_at IS NULL LIMIT 1');
      return found.length === 0 && open.length === 0;
    } catch (error) {
      // What was looked at may go at that moment: it is looked for again.
      signal.throwIfAborted();
      left = [`it could not be looked for: ${String(error)}`];
      return false;
    }
  };
  await waitUntil(isTidy, { timeoutMs: withinS * 1000, everyMs: 1_000, signal });
  return left;
}

const stuckMs = 10_000;
