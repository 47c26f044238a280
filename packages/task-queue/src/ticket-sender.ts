import { Queue } from 'bullmq';
import type { Logger } from '@inference-server/service-kit';
import { boundedCall, connectRedis } from './redis-connection.js';
import { jobIdOf, queueNameOf, type Ticket } from './ticket.js';

export interface TicketSender {
  /**
   * Puts tickets into the consumer's queue; one that is still there is not added again, so that
   * sending is idempotent. Throws SERVICE_UNAVAILABLE when Redis does not take them in time.
   */
  send(consumerId: string, tickets: readonly Ticket[]): Promise<void>;
  /**
   * Takes away whatever there is of a consumer's queue; it may be sent tickets again. Throws
   * SERVICE_UNAVAILABLE when Redis does not do so in time.
   */
  forget(consumerId: string): Promise<void>;
  /** Throws SERVICE_UNAVAILABLE when Redis does not answer. */
  check(): Promise<void>;
  /**
   * What Redis does when its memory is full: tickets are safe under `noeviction` alone. Undefined: it
   * does not say, or we may not ask. Throws SERVICE_UNAVAILABLE when Redis does not answer.
   */
  evictionPolicy(): Promise<string | undefined>;
  close(): Promise<void>;
}

/** The producer of tickets. Starts at once and needs no Redis to do so. */
export function createTicketSender(options: {
  redisUrl: string;
  /** Of every key in Redis. */
  prefix: string;
  logger: Logger;
  timeoutMs?: number;
}): TicketSender {
  const { prefix, timeoutMs = 2_000 } = options;
  const redis = connectRedis(options.redisUrl, options.logger);
  const queues = new Map<string, Queue>();

  const queueOf = (consumerId: string): Queue => {
    const known = queues.get(consumerId);
    if (known !== undefined) return known;
    const queue = new Queue(queueNameOf(consumerId), {
      connection: redis,
      prefix,
      skipMetasUpdate: true,
      defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 1 },
    });
    queue.on('error', () => undefined); // the connection reports outages
    queues.set(consumerId, queue);
    return queue;
  };

  return {
    async send(consumerId, tickets) {
      if (tickets.length === 0) return;
      const jobs = tickets.map((ticket) => ({
        name: 'ticket',
        data: ticket,
        opts: { jobId: jobIdOf(ticket) },
      }));
      await boundedCall(redis, timeoutMs, () => queueOf(consumerId).addBulk(jobs));
    },

    async forget(consumerId) {
      const queue = queueOf(consumerId);
      await boundedCall(redis, timeoutMs, () => queue.obliterate({ force: true }));
      queues.delete(consumerId);
      await queue.close();
    },

    async check() {
      await boundedCall(redis, timeoutMs, () => redis.ping());
    },

    evictionPolicy: () =>
      boundedCall(redis, timeoutMs, async () => {
        try {
          // Told also where CONFIG is forbidden, as hosted services have it.
          const memory = await redis.info('memory');
          return /^maxmemory_policy:(\S+)/m.exec(memory)?.[1];
        } catch (error) {
          if (isRefusal(error)) return undefined;
          throw error;
        }
      }),

    async close() {
      await Promise.all([...queues.values()].map((queue) => queue.close()));
      redis.disconnect();
    },
  };
}

/** Redis answered, and what it said is that we may not. */
function isRefusal(error: unknown): boolean {
  return error instanceof Error && /^(NOPERM|ERR)\b/.test(error.message);
}
