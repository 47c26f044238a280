import { setTimeout as sleep } from 'node:timers/promises';
import { faultCauses } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Outcome } from './run/outcome.js';

/**
 * Keeps a consumer whose device or engine fails again and again from spoiling task after task.
 *
 *   healthy ── faults of it in a row ──▶ quarantined ── a probe passes ──▶ healthy
 *                                          ▲    │
 *                                          └────┘ a probe fails: the next one after twice the pause
 *
 * Attempts that are under way together meet the same trouble: of their faults one counts.
 */
export interface Quarantine {
  /** Why it is quarantined; undefined while it is healthy. */
  readonly reason: string | undefined;
  /** For an attempt that begins: what takes note of how private-api knows that it ended. */
  begin(): (outcome: Outcome) => void;
  close(): Promise<void>;
}

export function createQuarantine(options: {
  /** So many faults in a row. */
  after: number;
  /** Before the first probe; doubled up to ten times as much. */
  pauseMs: number;
  /** Rejects, with the reason, while no container could be started. */
  probe: (signal: AbortSignal) => Promise<void>;
  /** Called whenever `reason` has changed. */
  onChange: () => void;
  logger: Logger;
}): Quarantine {
  const { after, probe, onChange, logger } = options;
  const closing = new AbortController();
  const isClosing = () => closing.signal.aborted;
  /** In a row, and since ever. */
  let faults = 0;
  let counted = 0;
  let reason: string | undefined;
  let recovering = Promise.resolve();

  const setReason = (next: string | undefined) => {
    reason = next;
    onChange();
  };

  const recover = async () => {
    for (let pauseMs = options.pauseMs; ; pauseMs = Math.min(2 * pauseMs, 10 * options.pauseMs)) {
      await sleep(pauseMs, undefined, { signal: closing.signal }).catch(() => undefined);
      if (isClosing()) return;
      try {
        await probe(closing.signal);
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
    begin() {
      const countedBefore = counted;
      return (outcome) => {
        if (outcome.kind === 'finished' || outcome.kind === 'failed') faults = 0;
        if (outcome.kind !== 'fault' || !faultCauses[outcome.cause].ofConsumer) return;
        if (reason !== undefined || isClosing() || counted !== countedBefore) return;
        counted += 1;
        faults += 1;
        if (faults < after) return;
        logger.error({ faults, reason: outcome.detail }, 'in quarantine: it takes no tasks');
        setReason(outcome.detail);
        recovering = recover();
      };
    },
    async close() {
      closing.abort();
      await recovering;
    },
  };
}
