import { setTimeout as sleep } from 'node:timers/promises';
import { faultCauses } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { quarantinePauses } from './quarantine-pauses.js';
import type { Outcome } from './run/outcome.js';

/**
 * Keeps a consumer whose device or engine fails again and again from spoiling task after task.
 *
 *   healthy ── faults of it in a row ──▶ quarantined ── a probe passes ──▶ healthy
 *           ── its device is lost ─────▶  ▲    │  ▲
 *                                          └────┘  └── untested: so it begins, where that is asked for
 *                      a probe fails: the next one after twice the pause
 *
 * Who is back in quarantine soon after it has left it waits for longer than the last time.
 * Attempts that are under way together meet the same trouble: of their faults one counts. Of a lost device
 * `accuse` tells, for it may be another consumer's: it counts at once.
 */
export interface Quarantine {
  /** Why it is quarantined; undefined while it is healthy. */
  readonly reason: string | undefined;
  /** For an attempt that begins: what takes note of how private-api knows that it ended. */
  begin(): (outcome: Outcome) => void;
  /** Its device has been shown to be lost: a probe is made after the pause. What passes one before that is not enough. */
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
  /** Before the first probe, see {@link quarantinePauses}. */
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
  const pauses = quarantinePauses(options.pauseMs);
  /** The last one that began with a pause. */
  let last: { firstPauseMs: number; endedAt: number } | undefined;
  /** Of this one; 0: the device is only to be looked at. */
  let firstPauseMs = 0;

  const beginPause = () => {
    const before = last && {
      firstPauseMs: last.firstPauseMs,
      endedMsAgo: performance.now() - last.endedAt,
    };
    firstPauseMs = pauses.first(before);
  };

  const setReason = (next: string | undefined) => {
    reason = next;
    onChange();
  };

  const recover = async () => {
    for (let pauseMs = firstPauseMs; ;) {
      const wasAccused = firstPauseMs > 0;
      await sleep(pauseMs, undefined, { signal: closing.signal }).catch(() => undefined);
      if (isClosing()) return;
      try {
        await probe(closing.signal);
        if (wasAccused || firstPauseMs === 0) break;
        // It was accused since.
        pauseMs = firstPauseMs;
      } catch (error) {
        if (!isClosing()) setReason(messageOf(error));
        pauseMs = pauses.next(pauseMs);
      }
    }
    faults = 0;
    if (firstPauseMs > 0) last = { firstPauseMs, endedAt: performance.now() };
    firstPauseMs = 0;
    logger.info('out of quarantine: a probe passed');
    setReason(undefined);
  };

  const say = (why: string) => {
    logger.error({ faults, reason: why }, 'in quarantine: it takes no tasks');
    setReason(why);
  };

  const confine = (why: string) => {
    beginPause();
    say(why);
    recovering = recover();
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
      if (isClosing()) return;
      if (reason === undefined) confine(why);
      else if (firstPauseMs === 0) {
        beginPause();
        say(why);
      }
    },
    suspect(why) {
      if (reason !== undefined || isClosing()) return;
      say(why);
      recovering = recover();
    },
    test() {
      recovering = recover();
    },
    async close() {
      closing.abort();
      await recovering;
    },
  };
}
