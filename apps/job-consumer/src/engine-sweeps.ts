import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '@inference-server/errors';
import type { Logger, Sweep } from '@inference-server/service-kit';
import type { EngineWatch } from './engine-watch.js';
import {
  sweepModelVolumes,
  type ModelVolumeLimits,
  type ModelVolumeSweepDeps,
} from './model-volume-sweep.js';
import { sweepOrphans, type OrphanSweepDeps } from './orphan-sweep.js';
import { sweepUnlabelled } from './unlabelled-sweep.js';

/**
 * Every sweep of an engine, in the order of a pass: an orphan may hold a model volume. Leave one out
 * to do without. `own`: the consumer that removes its own things by itself; undefined: nobody does.
 */
export function createEngineSweeps(
  deps: OrphanSweepDeps & ModelVolumeSweepDeps,
  { own, modelVolumes }: { own: string | undefined; modelVolumes: ModelVolumeLimits },
): Sweep[] {
  return [sweepOrphans(deps, own), sweepModelVolumes(deps, modelVolumes), sweepUnlabelled(deps)];
}

/** Sweeps from time to time, whenever the engine answers. What was taken is counted in the log. */
export function startEngineSweeps(
  sweeps: readonly Sweep[],
  options: {
    engineWatch: Pick<EngineWatch, 'isReady' | 'suspect'>;
    intervalMs: number;
    logger: Logger;
  },
): { close(): Promise<void> } {
  const { engineWatch, intervalMs, logger } = options;
  const closing = new AbortController();
  const { signal } = closing;
  const failing = new Set<Sweep>();

  const run = async (sweep: Sweep) => {
    try {
      const { count, bytes } = await sweep.take(signal);
      if (count > 0) logger.info({ sweep: sweep.name, count, bytes }, 'swept');
      failing.delete(sweep);
    } catch (error) {
      if (signal.aborted) return;
      if (!failing.has(sweep)) {
        logger.warn({ sweep: sweep.name, reason: messageOf(error) }, 'a sweep failed');
      }
      failing.add(sweep);
      engineWatch.suspect(error);
    }
  };

  const loop = async () => {
    while (!signal.aborted) {
      for (const sweep of sweeps) if (engineWatch.isReady) await run(sweep);
      await sleep(intervalMs, undefined, { signal }).catch(() => undefined);
    }
  };

  const running = loop();
  return {
    async close() {
      closing.abort();
      await running;
    },
  };
}
