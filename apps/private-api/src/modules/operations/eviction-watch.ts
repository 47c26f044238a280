import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { TicketSender } from '@inference-server/task-queue';

export interface EvictionWatch {
  /** Throws when Redis is known to throw keys away; what cannot be looked at counts as right. */
  check(): Promise<void>;
  close(): Promise<void>;
}

const times = { repeatMs: 3_600_000, retryMs: 1_000 };

/**
 * Says in the log, at the start and once an hour, that Redis throws keys away when its memory is full:
 * tickets vanish then, and tasks wait until they are sent again.
 */
export function watchEviction(deps: {
  tickets: Pick<TicketSender, 'evictionPolicy'>;
  logger: Logger;
  /** How often a wrong policy is complained of, and how soon a Redis that was away is asked again. */
  repeatMs?: number;
  retryMs?: number;
}): EvictionWatch {
  const { tickets, logger, repeatMs, retryMs } = { ...times, ...deps };
  const closing = new AbortController();
  const { signal } = closing;

  const look = async (): Promise<void> => {
    const policy = await tickets.evictionPolicy();
    if (policy === undefined) {
      logger.warn(
        'the eviction policy of Redis could not be looked at: it has to be maxmemory-policy noeviction',
      );
    } else if (policy !== safePolicy) {
      logger.error(
        { policy },
        'Redis throws tickets away when its memory is full: set maxmemory-policy noeviction',
      );
    }
  };

  const watching = (async () => {
    while (!signal.aborted) {
      const looked = await look().then(
        () => true,
        () => false,
      );
      const pauseMs = looked ? repeatMs : retryMs;
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  })();

  return {
    async check() {
      const policy = await tickets.evictionPolicy().catch(() => undefined);
      if (policy === undefined || policy === safePolicy) return;
      throw new AppError('SERVICE_UNAVAILABLE', `Redis evicts keys: ${policy}.`);
    },
    async close() {
      closing.abort();
      await watching;
    },
  };
}

const safePolicy = 'noeviction';
