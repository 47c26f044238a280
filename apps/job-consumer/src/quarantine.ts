import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Outcome } from './run/outcome.js';

/**
 * Keeps a consumer whose device or engine fails again and again from spoiling task after task.
 *
 *   healthy ── faults of it in a row ──▶ quarantined ── a probe passes ──▶ healthy
 *                                          ▲    │
 *                                          └────┘ a probe fails: the next one after twice the pause
 */
export interface Quarantine {
  /** Why it is quarantined; undefined while it is healthy. */
  readonly reason: string | undefined;
  /** Takes note of how an attempt ended that ran `image`. */
  note(outcome: Outcome, image: string): void;
  close(): Promise<void>;
}

export function createQuarantine(options: {
  /** So many faults in a row. */
  after: number;
  /** Before the first probe; doubled up to ten times as much. */
  pauseMs: number;
  /** Rejects, with the reason, while a container of this image could not be started. */
  probe: (image: string, signal: AbortSignal) => Promise<void>;
  /** Called whenever `reason` has changed. */
  onChange: () => void;
  logger: Logger;
}): Quarantine {
  const { after, probe, onChange, logger } = options;
  const closing = new AbortController();
  const isClosing = () => closing.signal.aborted;
  let faults = 0;
  let reason: string | undefined;
  let recovering = Promise.resolve();

  const setReason = (next: string | undefined) => {
    reason = next;
    onChange();
  };

  const recover = async (image: string) => {
    for (let pauseMs = options.pauseMs; ; pauseMs = Math.min(2 * pauseMs, 10 * options.pauseMs)) {
      await sleep(pauseMs, undefined, { signal: closing.signal }).catch(() => undefined);
      if (isClosing()) return;
      try {
        await probe(image, closing.signal);
        break;
      } catch (error) {
        if (!isClosing()) setReason(messageOf(error));
      }
    }
    faults = 0;
    logger.info('out of quarantine: a probe passed');
    setReason(undefined);
  };

  return {
    get reason() {
      return reason;
    },
    note(outcome, image) {
      if (outcome.kind === 'finished' || outcome.kind === 'failed') faults = 0;
      if (outcome.kind !== 'fault' || !ofConsumer.has(outcome.cause)) return;
      faults += 1;
      if (faults < after || reason !== undefined || isClosing()) return;
      logger.error({ faults, reason: outcome.detail }, 'in quarantine: it takes no tasks');
      setReason(outcome.detail);
      recovering = recover(image);
    },
    async close() {
      closing.abort();
      await recovering;
    },
  };
}

/** The faults that another consumer need not have. */
const ofConsumer = new Set(['engine_away', 'device_lost', 'disk_full', 'internal']);
