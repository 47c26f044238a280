import { AppError } from '@inference-server/errors';

/** What travels through Redis: the name of an attempt, nothing else. */
export interface Ticket {
  taskUid: string;
  attempt: number;
}

/** Each consumer has a queue of its own. */
export function queueNameOf(consumerId: string): string {
  return `tickets-${consumerId}`;
}

/** One id an attempt: a ticket that is still in the queue is not added a second time. */
export function jobIdOf({ taskUid, attempt }: Ticket): string {
  return `${taskUid}.${attempt}`;
}

/** Reads the payload of a job; what does not name an attempt is refused. */
export function ticketOf(data: unknown): Ticket {
  const { taskUid, attempt } = (data ?? {}) as Partial<Ticket>;
  if (typeof taskUid !== 'string' || typeof attempt !== 'number') {
    throw new AppError('INTERNAL', 'a job in the ticket queue is no ticket');
  }
  return { taskUid, attempt };
}
