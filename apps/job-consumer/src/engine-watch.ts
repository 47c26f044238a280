import { setTimeout as sleep } from 'node:timers/promises';
import { isEngineProblem, type ContainerEngine } from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import { joinSignals, type Logger } from '@inference-server/service-kit';

/**
 * Knows whether the engine answers: asks every few seconds, more often while it is away, and at once
 * when a call of somebody's failed. So that tickets are not claimed just to end in a fault.
 */
export interface EngineWatch {
  readonly isReady: boolean;
  /** Resolves once it is known whether the engine answers. */
  known: Promise<void>;
  /** Has `listener` called with the state, now and with every change. */
  subscribe(listener: (isReady: boolean) => void): void;
  /** Takes note of a failure that came up elsewhere: the engine counts as away until it answers. */
  suspect(error: unknown): void;
  close(): Promise<void>;
}

export function watchEngine(options: {
  engine: ContainerEngine;
  logger: Logger;
  readyPollMs?: number;
  awayPollMs?: number;
}): EngineWatch {
  const { engine, logger, readyPollMs = 3_000, awayPollMs = 500 } = options;
  const closing = new AbortController();
  const listeners: ((isReady: boolean) => void)[] = [];
  const isClosing = () => closing.signal.aborted;
  let isReady: boolean | undefined;
  let tellFirst: () => void = () => undefined;
  const known = new Promise<void>((resolve) => (tellFirst = resolve));
  let hurry = new AbortController();

  const become = (ready: boolean, reason?: string) => {
    if (ready === isReady) return;
    if (!ready) logger.warn({ reason }, 'the container engine is away');
    else logger.info('the container engine answers');
    isReady = ready;
    tellFirst();
    for (const listener of listeners) listener(ready);
  };

  const ping = async () => {
    const bounds = joinSignals(closing.signal, AbortSignal.timeout(pingMs));
    await engine.ping(bounds.signal).finally(bounds.release);
  };

  const run = async () => {
    while (!isClosing()) {
      hurry = new AbortController();
      try {
        await ping();
        become(true);
      } catch (error) {
        if (isClosing()) return;
        become(false, messageOf(error));
      }
      const pauseMs = isReady === true ? readyPollMs : awayPollMs;
      const interrupt = joinSignals(closing.signal, hurry.signal);
      await sleep(pauseMs, undefined, { signal: interrupt.signal }).catch(() => undefined);
      interrupt.release();
    }
  };

  const running = run();
  return {
    get isReady() {
      return isReady === true;
    },
    known,
    subscribe(listener) {
      listeners.push(listener);
      listener(isReady === true);
    },
    suspect(error) {
      if (!isEngineProblem(error, 'unreachable', 'overdue')) return;
      become(false, messageOf(error));
      hurry.abort();
    },
    async close() {
      closing.abort();
      await running;
    },
  };
}

const pingMs = 5_000;
