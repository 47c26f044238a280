import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { HeldAttempt, PrivateApiClient } from '../private-api-client.js';

/**
 * Renews the lease until it is stopped. Each call is held open by the server, which answers at once
 * when the attempt is over or somebody else's: then `onSuperseded` is called and nothing is renewed
 * any more. While private-api is away the attempt goes on: a lapsed lease may still be renewed.
 */
export function keepLease(
  { api, logger }: { api: PrivateApiClient; logger: Logger },
  held: HeldAttempt,
  onSuperseded: () => void,
): { stop: () => Promise<void> } {
  const stopping = new AbortController();
  const { signal } = stopping;
  const isStopping = () => signal.aborted;
  const pause = (ms: number) => sleep(ms, undefined, { signal }).catch(() => undefined);

  const run = async () => {
    while (!isStopping()) {
      const asked = performance.now();
      try {
        const answer = await api.renew(held, signal);
        if (answer.outcome === 'superseded') {
          onSuperseded();
          return;
        }
      } catch (error) {
        if (isStopping()) return;
        const { taskUid, attempt } = held;
        logger.warn({ taskUid, attempt, reason: messageOf(error) }, 'a lease was not renewed');
      }
      // A server that does not hold the call open must not be asked without pause.
      const elapsed = performance.now() - asked;
      if (elapsed < leastIntervalMs) await pause(leastIntervalMs - elapsed);
    }
  };

  const running = run();
  return {
    async stop() {
      stopping.abort();
      await running;
    },
  };
}

const leastIntervalMs = 1_000;
