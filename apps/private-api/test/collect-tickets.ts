import { pino } from 'pino';
import { createTicketReceiver, type Ticket } from '@inference-server/task-queue';

/** Takes a consumer's tickets and keeps them. */
export function collectTickets(queue: { redisUrl: string; prefix: string; consumerId: string }) {
  const taken: Ticket[] = [];
  const receiver = createTicketReceiver({
    ...queue,
    logger: pino({ level: 'silent' }),
    waitForRoom: () => Promise.resolve(),
    onTicket: (ticket) => {
      taken.push(ticket);
      return Promise.resolve();
    },
  });
  return { taken, receiver };
}
