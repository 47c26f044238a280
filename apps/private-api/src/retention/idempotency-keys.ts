import { idempotencyKeyKeptS } from '@inference-server/contracts';
import type { Database } from '../database/database.js';
import { createRowSweep } from './row-sweep.js';
import { batchSize, type Sweep } from './sweep.js';

/** Keys of posts that stand for nothing any more. */
export function sweepIdempotencyKeys(database: Database, { everyMs }: { everyMs: number }): Sweep {
  const due = `
    SELECT ctid AS place, 0 AS bytes FROM idempotency_keys
     WHERE created_at <= now() - $1 * interval '1 second'
     ORDER BY created_at`;
  return createRowSweep(database, {
    name: 'idempotency-keys',
    what: 'keys of posts that have run out',
    everyMs,
    due,
    take: `
      due AS (${due} LIMIT ${batchSize} FOR UPDATE SKIP LOCKED),
      taken AS (
        DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(SELECT place FROM due))
        RETURNING 0 AS bytes)`,
    values: [idempotencyKeyKeptS],
  });
}
