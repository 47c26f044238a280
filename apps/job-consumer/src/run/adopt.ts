import type { ContainerEngine } from '@inference-server/container-engine';
import type { Ticket } from '@inference-server/task-queue';
import type { Names } from '../names.js';
import type { PrivateApiClient } from '../private-api-client.js';
import { retryPassing } from '../retry.js';
import type { Adopted } from './attempt.js';
import type { Claim } from './claim.js';

/**
 * Takes an attempt over that an earlier process of this consumer has left, or this one has lost sight
 * of; asking again gives the same answer. Undefined: it is over, and what the engine has of it is
 * left over. Throws CONSUMER_EXISTS when this process is not the consumer any more, and EngineError
 * when the engine does not say whether the container runs: that must be known.
 */
export async function adoptAttempt(
  { engine, api, names }: { engine: ContainerEngine; api: PrivateApiClient; names: Names },
  ticket: Ticket,
  holder: string,
  signal: AbortSignal,
): Promise<{ claim: Claim; adopted: Adopted } | undefined> {
  const answer = await retryPassing(() => api.adopt(ticket, holder, signal), {
    signal,
    forMs: giveUpAfterMs,
  });
  if (answer.outcome !== 'won') return undefined;
  const claim = { held: { ...ticket, epoch: answer.epoch, holder }, work: answer.work };
  const container = names.attempt(ticket.taskUid, ticket.attempt).name('run');
  return { claim, adopted: await whatIsThere(engine, container, signal) };
}

async function whatIsThere(
  engine: ContainerEngine,
  container: string,
  signal: AbortSignal,
): Promise<Adopted> {
  const found = await engine.inspectContainer(container, signal);
  if (found?.startedAt === undefined) return 'missing';
  const { id, startedAt, endedAt } = found;
  return { container: id, startedAt, ...(endedAt !== undefined && { endedAt }) };
}

const giveUpAfterMs = 2_000;
