import type { Ticket } from '@inference-server/task-queue';

/** Whoever has a part of a consumer: an attempt, or a replica. */
export type Holder = Ticket | { replica: string };

/** Names it in maps and sets. */
export function keyOf(holder: Holder): string {
  if ('replica' in holder) return `replica ${holder.replica}`;
  return `${holder.taskUid}.${holder.attempt}`;
}
