import type { Ticket } from '@inference-server/task-queue';

/** Names an attempt in maps and sets. */
export function keyOf({ taskUid, attempt }: Ticket): string {
  return `${taskUid}.${attempt}`;
}
