import { idempotencyKeyKeptS } from '@inference-server/contracts';
import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import type { Sweep } from './sweep.js';

/** Keys of posts that stand for nothing any more. */
export function sweepIdempotencyKeys(database: Database, { everyMs }: { everyMs: number }): Sweep {
  const due = `
    SELECT owner, key, 0 AS bytes FROM idempotency_keys
     WHERE created_at <= now() - $1 * interval '1 second'
     ORDER BY created_at LIMIT $2`;
  return createRowSweep(database, {
    name: 'idempotency-keys',
    what: 'keys of posts that have run out',
    everyMs,
    due,
    take: `
      due AS (${due} FOR UPDATE SKIP LOCKED),
      taken AS (
        DELETE FROM idempotency_keys k USING due
         WHERE k.owner = due.owner AND k.key = due.key
        RETURNING 0 AS bytes)`,
    values: [idempotencyKeyKeptS],
  });
}
