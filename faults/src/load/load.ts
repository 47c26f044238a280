import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../random.js';
import type { Callers } from './caller.js';
import { planTask } from './task-kinds.js';

/** Tasks of all kinds, posted all the time while the server is being harmed. */
export interface Load {
  /** Posts no more, and resolves when every caller has what it wanted. */
  finish(): Promise<void>;
}

export interface LoadOptions {
  random: Random;
  /** Between two posts, on average. */
  pauseMs: number;
  /** Callers at once: more are not started. */
  atOnce: number;
}

const owners = ['lab-one', 'lab-two', 'clinic'];

export function startLoad(
  callers: Callers,
  { random, pauseMs, atOnce }: LoadOptions,
  signal: AbortSignal,
): Load {
  const running = new Set<Promise<void>>();
  const ending = new AbortController();

  const one = async (number: number) => {
    // What a task is follows from the seed and its number alone.
    const own = random.fork(`task ${number}`);
    const manner = {
      owner: own.chance(0.5) ? own.pick(owners) : undefined,
      key: own.chance(0.8) ? `task-${number}` : undefined,
      twice: own.chance(0.15),
    };
    const twice = manner.twice && manner.key !== undefined;
    await callers.run(number, planTask(own), { ...manner, twice });
  };
  const posting = (async () => {
    for (let number = 1; !ending.signal.aborted && !signal.aborted; number += 1) {
      const run = one(number).finally(() => running.delete(run));
      running.add(run);
      if (running.size >= atOnce) await Promise.race(running);
      const pause = random.number() * 2 * pauseMs;
      await sleep(pause, undefined, { signal: ending.signal }).catch(() => undefined);
    }
  })();
  return {
    async finish() {
      ending.abort();
      await posting;
      await Promise.all(running);
    },
  };
}
