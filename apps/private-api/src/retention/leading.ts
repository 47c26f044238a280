import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { leaderMs, leaderRenewMs, type Leadership } from '../database/leader.js';

/** A time in which this process is the leader. */
export interface Term {
  /** For how long it had been the leader without a gap when it was last asked (ms). */
  steadyMs: number;
  /** Aborts when the leadership is another's, or may be, and when it is given up. */
  signal: AbortSignal;
}

export interface Leading {
  /** Undefined while this process is not the leader. */
  term(): Term | undefined;
  /** Gives the leadership up, and does not ask for it again before `hanging` has settled. */
  stepDown(hanging: Promise<unknown>): Promise<void>;
  /** Ends the term. */
  close(): Promise<void>;
}

/**
 * Takes the leadership when it is to be had, and renews it beside the work, however long that takes.
 * Resolves when it was asked for once.
 */
export async function keepLeading(leadership: Leadership, logger: Logger): Promise<Leading> {
  const closing = new AbortController();
  let term: (Term & { end: () => void }) | undefined;
  let over: NodeJS.Timeout | undefined;
  let hangs = 0;

  const ask = async (): Promise<void> => {
    if (hangs > 0) return;
    // The answer may be one that was remembered since the last renewal.
    const endsAt = performance.now() + leaderMs - leaderRenewMs;
    try {
      const led = await leadership.lead();
      clearTimeout(over);
      if (led === undefined || closing.signal.aborted) {
        end();
        return;
      }
      if (hangs > 0) {
        // It was given up while this was asked.
        await leadership.resign();
        return;
      }
      over = setTimeout(end, Math.max(0, endsAt - performance.now()));
      term ??= begin();
      term.steadyMs = led.steadyMs;
    } catch (error) {
      // What was renewed before holds on until its end.
      leadership.doubt();
      logger.debug({ reason: messageOf(error) }, 'who sweeps could not be learned');
    }
  };

  const end = (): void => {
    clearTimeout(over);
    term?.end();
    term = undefined;
  };

  const renew = async (): Promise<void> => {
    const { signal } = closing;
    for (;;) {
      await sleep(leaderRenewMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      await ask();
    }
  };

  await ask();
  const renewing = renew();
  return {
    term: () => term,
    async stepDown(hanging) {
      hangs += 1;
      end();
      const settled = hanging.then(
        () => undefined,
        () => undefined,
      );
      await leadership.resign();
      await settled;
      hangs -= 1;
    },
    async close() {
      closing.abort();
      end();
      await renewing;
    },
  };
}

function begin() {
  const ending = new AbortController();
  return { steadyMs: 0, signal: ending.signal, end: () => ending.abort() };
}
