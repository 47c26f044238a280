import { setTimeout as sleep } from 'node:timers/promises';
import { faultCauses } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Outcome } from './run/outcome.js';

/**
 * Keeps a consumer whose device or engine fails again and again from spoiling task after task.
 *
 *   healthy ── faults of it in a row ──▶ quarantined ── a probe passes ──▶ healthy
 *           ── its device is lost ─────▶  ▲    │  ▲
 *                                          └────┘  └── untested: so it begins, where that is asked for
 *                      a probe fails: the next one after twice the pause
 *
 * Attempts that are under way together meet the same trouble: of their faults one counts. Of a lost device
 * `accuse` tells, for it may be another consumer's: it counts at once.
 */
export interface Quarantine {
  /** Why it is quarantined; undefined while it is healthy. */
  readonly reason: string | undefined;
  /** For an attempt that begins: what takes note of how private-api knows that it ended. */
  begin(): (outcome: Outcome) => void;
  /** Its device has been shown to be lost: a probe is made after the pause. */
  accuse(reason: string): void;
  /** Its device may be lost: a probe is made at once. */
  suspect(reason: string): void;
  /** Has the first probe of one that begins untested made, now. */
  test(): void;
  close(): Promise<void>;
}

export function createQuarantine(options: {
  /** So many faults in a row. */
  after: number;
  /** Before the first probe; doubled up to ten times as much. */
  pauseMs: number;
  /** Whether it is quarantined until a probe has passed. */
  untested?: boolean;
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
  let reason =
    options.untested === true ? 'Its device, or its engine, is being looked at.' : undefined;
  let recovering = Promise.resolve();

  const setReason = (next: string | undefined) => {
    reason = next;
    onChange();
  };

  const recover = async (firstPauseMs: number) => {
    const { pauseMs: shortestMs } = options;
    const longer = (ms: number) => Math.min(Math.max(2 * ms, shortestMs), 10 * shortestMs);
    for (let pauseMs = firstPauseMs; ; pauseMs = longer(pauseMs)) {
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

  const confine = (why: string, firstPauseMs = options.pauseMs) => {
    logger.error({ faults, reason: why }, 'in quarantine: it takes no tasks');
    setReason(why);
    recovering = recover(firstPauseMs);
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
        if (outcome.cause === 'device_lost') return;
        if (reason !== undefined || isClosing() || counted !== countedBefore) return;
        counted += 1;
        faults += 1;
        if (faults < after) return;
        confine(outcome.detail);
      };
    },
    accuse(why) {
      if (reason === undefined && !isClosing()) confine(why);
    },
    suspect(why) {
      if (reason === undefined && !isClosing()) confine(why, 0);
    },
    test() {
      recovering = recover(0);
    },
    async close() {
      closing.abort();
      await recovering;
    },
  };
}
