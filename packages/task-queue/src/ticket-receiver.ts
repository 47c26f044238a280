import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker, type Job } from 'bullmq';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { connectRedis } from './redis-connection.js';
import { queueNameOf, ticketOf, type Ticket } from './ticket.js';

export interface TicketReceiver {
  /** Takes no more tickets; resolves when the ticket in hand has been answered. */
  close(): Promise<void>;
}

/**
 * Takes tickets from the consumer's own queue, one after another, each only when there is room. A
 * ticket leaves Redis as soon as `onTicket` has settled, whatever came of it: the database holds the
 * backlog, and a ticket that was lost on the way is sent again by the dispatcher.
 */
export function createTicketReceiver(options: {
  redisUrl: string;
  prefix: string;
  consumerId: string;
  logger: Logger;
  /** Resolves when one more ticket can be taken. */
  waitForRoom: (signal: AbortSignal) => Promise<void>;
  /** Claims the attempt; returns once the claim is answered, while the attempt runs on. */
  onTicket: (ticket: Ticket) => Promise<void>;
}): TicketReceiver {
  const { logger, prefix } = options;
  const closing = new AbortController();
  const redis = connectRedis(options.redisUrl, logger);
  const worker = new Worker(queueNameOf(options.consumerId), null, {
    connection: redis,
    prefix,
    autorun: false,
    // A crash leaves its ticket active; two crashes must not make it fail for good.
    maxStalledCount: 1_000_000,
  });
  worker.on('error', () => undefined); // the connection reports outages
  const token = randomUUID();

  const overdue = new AbortController();
  let inHand: Promise<void> = Promise.resolve();

  const takeNext = async (): Promise<void> => {
    await options.waitForRoom(closing.signal);
    // Without Redis the question is never answered, not even by the end of its connection.
    const job = await untilAborted(worker.getNextJob(token, { block: true }), closing.signal);
    // A ticket that comes while closing stays unclaimed: signing off returns it to the backlog.
    if (job === undefined || closing.signal.aborted) return;
    inHand = answer(job);
    await inHand;
  };

  const answer = async (job: Job): Promise<void> => {
    try {
      await options.onTicket(ticketOf(job.data));
    } catch (error) {
      logger.warn({ job: job.id, reason: messageOf(error) }, 'a ticket could not be claimed');
    }
    await untilAborted(job.moveToCompleted(null, token, false), overdue.signal);
  };

  const run = async (): Promise<void> => {
    await untilAborted(worker.startStalledCheckTimer(), closing.signal);
    while (!closing.signal.aborted) {
      try {
        await takeNext();
      } catch (error) {
        logger.debug({ reason: messageOf(error) }, 'no ticket could be taken');
        await sleep(500, undefined, { signal: closing.signal }).catch(() => undefined);
      }
    }
  };

  const running = run();
  return {
    async close() {
      closing.abort();
      const timer = setTimeout(() => overdue.abort(), withoutRedisMs);
      await inHand.catch(() => undefined);
      // By force: what waits in Redis for a next ticket must not delay the end.
      await worker.close(true);
      redis.disconnect();
      await running;
      clearTimeout(timer);
    },
  };
}

/** What `work` gives, or undefined once the signal aborts. Nothing of it stays with the signal. */
async function untilAborted<Result>(
  work: Promise<Result>,
  signal: AbortSignal,
): Promise<Result | undefined> {
  let stop: () => void = () => undefined;
  const aborted = new Promise<undefined>((resolve) => (stop = () => resolve(undefined)));
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** How long the end of a ticket is waited for while closing. One that stays is stale when it comes again. */
const withoutRedisMs = 1_000;
