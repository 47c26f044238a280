import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { DispatcherRepository } from '../dispatcher/repository.js';

/**
 * Does what is done from time to time. Every private-api runs this loop; the one that holds the
 * leader row works. Each sweep is made of conditional writes, so that two leaders for a moment do no
 * harm, and stands alone: a failed one keeps no other from its turn.
 */
export function startRetention(deps: {
  rows: Pick<DispatcherRepository, 'lead' | 'resign'>;
  holder: string;
  intervalMs: number;
  sweeps: Record<string, () => Promise<unknown>>;
  logger: Logger;
}): { close(): Promise<void> } {
  const { rows, holder, intervalMs, sweeps, logger } = deps;
  const closing = new AbortController();

  const pass = async (): Promise<void> => {
    const leading = await rows.lead(leaderName, holder, intervalMs + workMs);
    if (leading === undefined) return;
    for (const [name, sweep] of Object.entries(sweeps)) {
      if (closing.signal.aborted) return;
      await sweep().catch((error: unknown) => {
        logger.warn({ sweep: name, reason: messageOf(error) }, 'a sweep failed');
      });
    }
  };

  const loop = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      await pass().catch((error: unknown) => {
        logger.warn({ reason: messageOf(error) }, 'nothing was swept');
      });
      await sleep(intervalMs, undefined, { signal: closing.signal }).catch(() => undefined);
    }
    await rows.resign(leaderName, holder).catch(() => undefined);
  };

  const running = loop();
  return {
    async close() {
      closing.abort();
      await running;
    },
  };
}

const leaderName = 'retention';

/** What the work of a pass may take before another takes over. */
const workMs = 10_000;
