import type { Ticket } from '@inference-server/task-queue';
import type { PrivateApiClient } from '../private-api-client.js';
import { retryPassing } from '../retry.js';
import type { Claim } from './claim.js';

/**
 * Takes an attempt over that an earlier process of this consumer has left, or this one has lost sight
 * of; asking again gives the same answer. Undefined: it is over, and what the engine has of it is
 * left over. Throws CONSUMER_EXISTS when this process is not the consumer any more.
 */
export async function adoptAttempt(
  api: PrivateApiClient,
  ticket: Ticket,
  holder: string,
  signal: AbortSignal,
): Promise<Claim | undefined> {
  const askedAt = performance.now();
  const answer = await retryPassing(() => api.adopt(ticket, holder, signal), {
    signal,
    forMs: giveUpAfterMs,
  });
  if (answer.outcome !== 'won') return undefined;
  return {
    held: { ...ticket, epoch: answer.epoch, holder },
    work: answer.work,
    askedAt,
    leaseMs: answer.lease_ms,
  };
}

const giveUpAfterMs = 2_000;
