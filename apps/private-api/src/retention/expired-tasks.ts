import type { Database } from '../database/database.js';
import { transition } from '../modules/tasks/transitions.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/**
 * Tasks that nobody started in time: PENDING, QUEUED → EXPIRED. The time counts from the post; of a
 * task that waits for another attempt from when that may begin: its holder may come back to the last
 * one, and what ran for days is not ended for the hours before. Its input goes with the inputs of
 * ended tasks.
 */
export function sweepExpiredTasks(
  database: Database,
  { queueTtlS, everyMs }: { queueTtlS: number; everyMs: number },
): Sweep {
  const { from, to } = transition('queue_time_over');
  const due = `
    SELECT uid, 0 AS bytes FROM tasks
     WHERE state IN ${from} AND created_at < now() - $1 * interval '1 second'
       AND (not_before IS NULL OR not_before < now() - $1 * interval '1 second')
     ORDER BY created_at`;
  return createRowSweep(database, {
    name: 'expired-tasks',
    what: 'tasks that waited for too long: they expire',
    everyMs,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize} FOR UPDATE SKIP LOCKED),
      taken AS (
        UPDATE tasks SET state = ${to}, ended_at = now()
         WHERE uid = ANY(ARRAY(SELECT uid FROM due)) AND state IN ${from}
        RETURNING 0 AS bytes)`,
    values: [queueTtlS],
  });
}
