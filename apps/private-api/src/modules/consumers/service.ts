import {
  refusalOfConsumer,
  type ConsumerDetails,
  type ConsumerRegistered,
  type ConsumerRegistration,
  type GoneConsumers,
  type HeldAttempts,
  type Policy,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Actor } from '../audit/repository.js';
import type { Installation } from '../../database/installation.js';
import type { AttemptRepository } from '../attempts/repository.js';
import type { ConsumerRepository } from './repository.js';

/** So many are remembered. */
const mostRefused = 1_000;

export type ConsumerService = ReturnType<typeof createConsumerService>;

export function createConsumerService(deps: {
  consumers: ConsumerRepository;
  attempts: Pick<AttemptRepository, 'heldBy'>;
  heartbeatIntervalMs: number;
  installation: Pick<Installation, 'id'>;
  policy: Pick<Policy, 'consumers'>;
  logger: Logger;
  /** Tells the dispatcher that there may be somebody to give tickets to. */
  onNews: () => void;
}) {
  const { consumers, attempts, policy, logger } = deps;
  /** Why one is not let in, by its id: said once, not with every heartbeat. */
  const refused = new Map<string, string>();
  let knownId: string | undefined;
  const installationId = async () => (knownId ??= await deps.installation.id());

  const told = (consumer: ConsumerDetails | undefined): ConsumerDetails => {
    if (consumer === undefined) throw new AppError('NOT_FOUND', 'There is no such consumer.');
    deps.onNews();
    return consumer;
  };

  const requireAllowed = (id: string, registration: ConsumerRegistration): void => {
    const detail = refusalOfConsumer(policy.consumers, id, registration);
    if (detail !== undefined && refused.get(id) !== detail) {
      logger.warn({ consumer: id, reason: detail }, 'a consumer is not let in by the policy');
    }
    if (detail === undefined) {
      refused.delete(id);
      return;
    }
    // A process can have as many names as it likes.
    if (refused.size >= mostRefused) refused.clear();
    refused.set(id, detail);
    const why = `The server's policy does not allow it (consumers): ${detail}`;
    throw new AppError('FORBIDDEN', why, { extensions: { reason: 'consumers' } });
  };

  return {
    /**
     * Throws CONSUMER_EXISTS while another process is heard of under this id, DEVICE_TAKEN while one has its
     * device, FORBIDDEN where the operator's policy has not what it says of itself.
     */
    async register(id: string, registration: ConsumerRegistration): Promise<ConsumerRegistered> {
      requireAllowed(id, registration);
      const ownId = await installationId();
      const registered = await consumers.register(id, registration);
      if (registered === undefined) {
        throw new AppError('CONSUMER_EXISTS', `Another process is the consumer ${id} already.`);
      }
      if ('deviceOf' in registered) {
        const { deviceOf: other } = registered;
        const detail = `The device, or a part of it, is that of the consumer ${other} until nothing is heard of that any more.`;
        throw new AppError('DEVICE_TAKEN', detail);
      }
      if (registered.isNews) deps.onNews();
      return {
        installation_id: ownId,
        heartbeat_interval_ms: deps.heartbeatIntervalMs,
      };
    },

    async signOff(id: string, holder: string): Promise<{ returned_tickets: number }> {
      return { returned_tickets: await consumers.signOff(id, holder) };
    },

    async heldAttempts(id: string): Promise<HeldAttempts> {
      const held = await attempts.heldBy(id);
      return held.map(({ taskUid, attempt }) => ({ task_uid: taskUid, attempt }));
    },

    async findGone(ids: readonly string[]): Promise<GoneConsumers> {
      return { installation_id: await installationId(), ...(await consumers.findGone(ids)) };
    },

    list: () => consumers.list(),

    /** Nothing more is given to it, and its tickets are back. Throws NOT_FOUND. */
    drain: async (id: string, by: Actor) => told(await consumers.drain(id, by)),

    /** Throws NOT_FOUND. */
    resume: async (id: string, by: Actor) => told(await consumers.resume(id, by)),
  };
}
