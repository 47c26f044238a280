import type { Database } from '../../database/database.js';

/** Failures longer ago give no pause any more. */
export const failuresCountS = 1_800;

/** Of a replica that ended by what it, its image or its host did, or did not. */
export function failed(row: string): string {
  return `${row}.state = 'ENDED' AND ${row}.end_reason IN ('start_failed', 'exited', 'image', 'engine', 'lost')`;
}

/** And not because nothing was heard of its consumer. */
export function failedOfItself(row: string): string {
  return `(${failed(row)} AND ${row}.end_reason <> 'lost')`;
}

/** Of a replica by whose end it is known whether its version serves: one that failed, or had served. */
export function tells(row: string): string {
  return `${row}.state = 'ENDED' AND (${failedOfItself(row)} OR ${row}.ready_at IS NOT NULL)`;
}

/**
 * Notes since when draining replicas are in no answer to a gateway: by a statement that begins when their
 * state is to be seen by all, so that what is read later than `drained_at` has none of them as ready.
 */
export async function noteDrained(database: Database): Promise<void> {
  await database.query(
    `UPDATE replicas SET drained_at = clock_timestamp()
      WHERE id IN (SELECT id FROM replicas WHERE state = 'DRAINING' AND drained_at IS NULL
                    ORDER BY id FOR UPDATE SKIP LOCKED)`,
  );
}

/**
 * DRAINING → STOPPING where every gateway has reported since, without it among what it holds; or where the
 * longest call would be over. Whoever asks, it is true by the rows.
 */
export async function stopDrained(database: Database, maxCallS: number): Promise<void> {
  await database.query(
    `UPDATE replicas SET state = 'STOPPING'
      WHERE id IN (
        SELECT r.id FROM replicas r
         WHERE r.state = 'DRAINING' AND r.drained_at IS NOT NULL
           AND (r.drained_at < now() - $1 * interval '1 second'
                OR NOT EXISTS (
                  SELECT FROM gateways g
                   WHERE g.reported_at <= r.drained_at
                      OR g.holds @> jsonb_build_array(jsonb_build_object('replica_id', r.id))))
         ORDER BY r.id FOR UPDATE OF r SKIP LOCKED)`,
    [maxCallS],
  );
}
