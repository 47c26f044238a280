import type { Work } from '@inference-server/contracts';
import type { Logger } from '@inference-server/service-kit';
import type { HeldAttempt, PrivateApiClient } from '../private-api-client.js';
import { retryPassing } from '../retry.js';

export interface Claim {
  held: HeldAttempt;
  work: Work;
  /** By the process's clock: the lease was given then or later. */
  askedAt: number;
  leaseMs: number;
}

/**
 * Claims the attempt that a ticket names; undefined when it is refused. Asking again as the same
 * holder gives the same answer, so that a lost answer does no harm. When private-api stays away the
 * ticket is given up: the dispatcher sends it again, or, when the claim was won, the reconciliation takes the
 * attempt up.
 */
export async function claimAttempt(
  { api, logger }: { api: PrivateApiClient; logger: Logger },
  ticket: { taskUid: string; attempt: number },
  holder: string,
  signal: AbortSignal,
): Promise<Claim | undefined> {
  // An answer that was lost may have been the one that began the lease.
  const askedAt = performance.now();
  const answer = await retryPassing(() => api.claim(ticket, holder, signal), {
    signal,
    forMs: giveUpAfterMs,
  });
  if (answer.outcome === 'refused') {
    logger.info({ ...ticket, reason: answer.reason }, 'a claim was refused');
    return undefined;
  }
  return {
    held: { ...ticket, epoch: answer.epoch, holder },
    work: answer.work,
    askedAt,
    leaseMs: answer.lease_ms,
  };
}

const giveUpAfterMs = 5_000;
