import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { leaderRenewMs, type Leadership } from '../database/leader.js';
import { nothing, type Amount, type Sweep } from './sweep.js';

/**
 * Sweeps, as long as this process is the leader of it: each sweep when its time has come, batch after
 * batch until there is no more. What was taken is counted in the log.
 */
export function startRetention(deps: {
  sweeps: readonly Sweep[];
  leadership: Leadership;
  logger: Logger;
}): { close(): Promise<void> } {
  const { sweeps, leadership, logger } = deps;
  const closing = new AbortController();
  const { signal } = closing;
  const dueAt = new Map<Sweep, number>();
  const tickMs = Math.min(leaderRenewMs, ...sweeps.map(({ everyMs }) => everyMs));

  const loop = async (): Promise<void> => {
    while (!signal.aborted) {
      for (const sweep of sweeps) {
        if (performance.now() < (dueAt.get(sweep) ?? 0)) continue;
        if ((await ledForMs()) < (sweep.afterLeadingMs ?? 0)) continue;
        dueAt.set(sweep, performance.now() + sweep.everyMs);
        await run(sweep);
      }
      await sleep(tickMs, undefined, { signal }).catch(() => undefined);
      // Between the passes too: otherwise another process would take over and sweep as often again.
      await ledForMs();
    }
    await leadership.resign();
  };

  /** Since when this process is the leader; below 0: it is not. */
  const ledForMs = async (): Promise<number> => {
    if (signal.aborted) return -1;
    try {
      return (await leadership.lead())?.steadyMs ?? -1;
    } catch (error) {
      leadership.doubt();
      logger.debug({ reason: messageOf(error) }, 'who sweeps could not be learned');
      return -1;
    }
  };

  const run = async (sweep: Sweep): Promise<void> => {
    let taken: Amount = nothing;
    try {
      for (let more = true; more && (await ledForMs()) >= 0;) {
        const batch = await sweep.take(signal);
        taken = { count: taken.count + batch.count, bytes: taken.bytes + batch.bytes };
        more = batch.more;
      }
    } catch (error) {
      leadership.doubt();
      if (!signal.aborted) {
        logger.warn({ sweep: sweep.name, reason: messageOf(error) }, 'a sweep failed');
      }
    }
    if (taken.count > 0) logger.info({ sweep: sweep.name, ...taken }, 'swept');
  };

  const running = loop();
  return {
    async close() {
      closing.abort();
      await running;
    },
  };
}
