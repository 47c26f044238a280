import { setTimeout as sleep } from 'node:timers/promises';
import { renewHeldMs } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { PrivateApiClient } from '../private-api-client.js';
import type { Claim } from './claim.js';

export interface LeaseNews {
  /** The attempt is over, or somebody else's (`adopted`); nothing is renewed any more. */
  onRefused(why: 'adopted' | 'superseded'): void;
  /** Called once. */
  onCancel(): void;
  /** The most that the run has been seen to take of a GPU (MiB): told with a renewal when it is news. */
  readPeakMib(): number | null;
}

export interface KeptLease {
  /**
   * Resolves at once while the lease was renewed within half of it, 15 s at most (it is asked for when a
   * sixth is over), and otherwise when it is fresh again, when the signal aborts, or after 15 s. To be
   * awaited before anything is done that a later holder would suffer from: a process that was frozen finds
   * its timers due, and may have lost the attempt meanwhile.
   */
  confirm(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Renews the lease until it is stopped. Each call is held open by the server, which answers at once
 * when there is news; one that does not answer soon after is left, in time to ask others. While private-api
 * is away the attempt goes on: a lapsed lease may still be renewed.
 */
export function keepLease(
  { api, logger }: { api: PrivateApiClient; logger: Logger },
  { held, askedAt, ...given }: Pick<Claim, 'held' | 'askedAt' | 'leaseMs'>,
  news: LeaseNews,
): KeptLease {
  const stopping = new AbortController();
  const { signal } = stopping;
  const isStopping = () => signal.aborted;
  const pause = (ms: number) => sleep(ms, undefined, { signal }).catch(() => undefined);
  let knowsOfCancel = false;
  let renewedAt = askedAt;
  let leaseMs = given.leaseMs;
  let toldPeakMib: number | null = null;

  const run = async () => {
    while (!isStopping()) {
      const asked = performance.now();
      try {
        const peakMib = news.readPeakMib();
        const how = {
          knowsOfCancel,
          peakMib: peakMib === toldPeakMib ? undefined : (peakMib ?? undefined),
          answerWithinMs: renewHeldMs(leaseMs) + Math.min(leaseMs / 12, 10_000),
        };
        const answer = await api.renew(held, how, signal);
        if (answer.outcome !== 'renewed') {
          news.onRefused(answer.outcome);
          return;
        }
        renewedAt = asked;
        toldPeakMib = peakMib;
        leaseMs = answer.lease_ms;
        if (answer.cancel_requested && !knowsOfCancel) {
          knowsOfCancel = true;
          news.onCancel();
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

  const freshMs = () => Math.min(leaseMs / 2, 15_000);
  const running = run();
  return {
    async confirm(caller) {
      const until = performance.now() + confirmForMs;
      while (performance.now() - renewedAt > freshMs() && performance.now() < until) {
        await sleep(100, undefined, { signal: caller }).catch(() => undefined);
        if (caller.aborted || isStopping()) return;
      }
    },
    async stop() {
      stopping.abort();
      await running;
    },
  };
}

const leastIntervalMs = 1_000;
const confirmForMs = 15_000;
