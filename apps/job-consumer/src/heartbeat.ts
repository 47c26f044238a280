import { setTimeout as sleep } from 'node:timers/promises';
import type { ConsumerRegistered, ConsumerRegistration } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
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
 * Registers, however long private-api is away, or another has its device, and keeps registered from then on.
 * `registration` is asked every time. While another process is the consumer it is waited for, `predecessorMs` at most:
 * one that was killed is heard of no more by then. Throws when private-api refuses.
 */
export async function startHeartbeat(
  { api, logger }: { api: PrivateApiClient; logger: Logger },
  registration: () => ConsumerRegistration,
  {
    starting,
    predecessorMs,
    onReplaced,
    onTaken,
    onBack,
  }: {
    starting: AbortSignal;
    predecessorMs: number;
    /** Called when it takes none because another consumer has the device. */
    onTaken: () => void;
    /** Called when private-api takes a heartbeat after it has not taken one. */
    onBack: () => void;
    /** Called once when another process has become the consumer. */
    onReplaced: (error: AppError) => void;
  },
): Promise<Heartbeat> {
  let told: string | undefined;
  /** Not for a reason that it was told for last: it may be long. */
  const isNews = (reason: string) => {
    if (reason === told) return false;
    told = reason;
    return true;
  };
  const tell = (error: unknown) => {
    const reason = messageOf(error);
    if (isNews(reason)) logger.warn({ reason }, 'not registered yet');
  };
  const register = () =>
    retryPassing(() => api.register(registration(), starting), {
      signal: starting,
      forMs: Infinity,
      onRetry: tell,
    });
  const registered = await retryPassing(register, {
    signal: starting,
    forMs: predecessorMs,
    passes: isReplaced,
    onRetry: (error) => logger.warn({ reason: messageOf(error) }, 'waiting for it to end'),
  });
  const closing = new AbortController();
  const isClosing = () => closing.signal.aborted;
  let hurry = new AbortController();
  let intervalMs = registered.heartbeat_interval_ms;
  let failing = false;
  told = undefined;

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
        if (failing) {
          logger.info('registered again');
          onBack();
        }
        failing = false;
        told = undefined;
      } catch (error) {
        if (isClosing()) return;
        if (isReplaced(error)) {
          onReplaced(error);
          return;
        }
        if (isTaken(error)) onTaken();
        const reason = messageOf(error);
        if (isNews(reason)) logger.warn({ reason }, 'a heartbeat was not taken');
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

function isReplaced(error: unknown): error is AppError {
  return error instanceof AppError && error.code === 'CONSUMER_EXISTS';
}

function isTaken(error: unknown): boolean {
  return error instanceof AppError && error.code === 'DEVICE_TAKEN';
}
