import { setTimeout as sleep } from 'node:timers/promises';
import type { ConsumerRegistered, ConsumerRegistration } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import { joinSignals, type Logger } from '@inference-server/service-kit';
import type { PrivateApiClient } from './private-api-client.js';
import { retryPassing } from './retry.js';

export interface Heartbeat {
  registered: ConsumerRegistered;
  /** Registers again now: what is said has changed. */
  beat(): void;
  close(): Promise<void>;
}

/**
 * Registers, however long private-api is away, and keeps registered from then on. `registration` is
 * asked every time. Throws when private-api refuses, since asking again would not help.
 */
export async function startHeartbeat(
  { api, logger }: { api: PrivateApiClient; logger: Logger },
  registration: () => ConsumerRegistration,
  starting: AbortSignal,
): Promise<Heartbeat> {
  const registered = await retryPassing(() => api.register(registration(), starting), {
    signal: starting,
    forMs: Infinity,
    onRetry: (error) => logger.warn({ reason: messageOf(error) }, 'not registered yet'),
  });
  const closing = new AbortController();
  const isClosing = () => closing.signal.aborted;
  let hurry = new AbortController();
  let intervalMs = registered.heartbeat_interval_ms;
  let failing = false;

  const run = async () => {
    for (;;) {
      const interrupt = joinSignals(closing.signal, hurry.signal);
      await sleep(intervalMs, undefined, { signal: interrupt.signal }).catch(() => undefined);
      interrupt.release();
      if (isClosing()) return;
      hurry = new AbortController();
      try {
        const answer = await api.register(registration(), closing.signal);
        intervalMs = answer.heartbeat_interval_ms;
        if (failing) logger.info('registered again');
        failing = false;
      } catch (error) {
        if (isClosing()) return;
        if (!failing) logger.warn({ reason: messageOf(error) }, 'a heartbeat was not taken');
        failing = true;
      }
    }
  };

  const running = run();
  return {
    registered,
    beat: () => hurry.abort(),
    async close() {
      closing.abort();
      await running;
    },
  };
}
