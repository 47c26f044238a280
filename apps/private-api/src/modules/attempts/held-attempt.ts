import type { Queryable } from '../../database/database.js';
import { transition } from '../tasks/transitions.js';

/** An attempt as its holder names it, who comes with the token of the consumer. */
export interface HeldAttempt {
  taskUid: string;
  attempt: number;
  consumerId: string;
  epoch: number;
  holder: string;
}

/** What a process that speaks for a consumer asks for: an attempt that it does not hold yet. */
export type AttemptClaim = Omit<HeldAttempt, 'epoch'>;

/** The fence. Whatever a holder does to its attempt is conditional on this, with {@link leaseValues}. */
export const isCurrentLease =
  'task_uid = $1 AND number = $2 AND epoch = $3 AND holder = $4 AND consumer_id = $5 AND ended_at IS NULL';

/**
 * Who may claim: the process that is registered under the consumer's name, of ({@link AttemptClaim}) $3,
 * $4, unless an operator drains it. Who is to have its device waits until the claim is to be seen.
 */
export const takesForConsumer = `EXISTS (
  SELECT 1 FROM consumers
   WHERE id = $3 AND holder = $4 AND NOT draining AND state <> 'gone' FOR SHARE)`;

/** Why a consumer is gone that did not sign off. */
export const deviceIsTaken = 'Nothing was heard of it, and another consumer has its device now.';

/** Of an attempt that nobody renews. */
export const hasLapsed = 'ended_at IS NULL AND lease_until < now()';

export function leaseValues({
  taskUid,
  attempt,
  epoch,
  holder,
  consumerId,
}: HeldAttempt): unknown[] {
  return [taskUid, attempt, epoch, holder, consumerId];
}

/** Everything that ends or moves an attempt locks its task first: no two at once, no deadlock. */
export async function lockTask(
  tx: Queryable,
  uid: string,
): Promise<{ cancelRequested: boolean } | undefined> {
  const [task] = await tx.query<{ cancelRequested: boolean }>(
    `SELECT cancel_requested_at IS NOT NULL AS "cancelRequested"
       FROM tasks WHERE uid = $1 FOR UPDATE`,
    [uid],
  );
  return task;
}

const resumed = transition('attempt_resumed');

/**
 * Of an attempt `a` and its task `t`: its lease has lapsed, and no other attempt was claimed since. One
 * of which this does not hold never comes back: a task's next attempt is claimed once, and for ever.
 */
export const isResumable = `a.outcome = 'lost' AND t.uid = a.task_uid AND t.attempt = a.number + 1
        AND t.state IN ${resumed.from}`;

/**
 * Gives an attempt that was ended for its lapsed lease back, as long as no other attempt was claimed:
 * the work that is done is not thrown away, unless another consumer has taken a device that it had. `whose` is a condition on the attempt `a` with values
 * from $3 on. The task is locked. False: there is nothing to resume.
 */
export async function resumeLapsed(
  tx: Queryable,
  { taskUid, attempt }: Pick<HeldAttempt, 'taskUid' | 'attempt'>,
  whose: { condition: string; values: readonly unknown[] },
): Promise<boolean> {
  // Who takes one of its devices right now is waited for, or waits.
  const [taken] = await tx.query<{ isTaken: boolean }>(
    `SELECT coalesce(bool_or(state = 'gone' AND reason = $3), false) AS "isTaken" FROM (
       SELECT c.state, c.reason FROM consumers c, attempts a
        WHERE a.task_uid = $1 AND a.number = $2 AND a.outcome = 'lost'
          AND (c.id = a.consumer_id OR c.id = ANY (a.lenders))
        ORDER BY c.id FOR SHARE OF c) AS its`,
    [taskUid, attempt, deviceIsTaken],
  );
  if (taken?.isTaken === true) return false;
  const tasks = await tx.query(
    `UPDATE tasks t
        SET state = ${resumed.to}, attempt = a.number, consumer_id = a.consumer_id, lenders = a.lenders,
            not_before = NULL
       FROM attempts a
      WHERE a.task_uid = $1 AND a.number = $2 AND ${whose.condition}
        AND ${isResumable}
     RETURNING t.uid`,
    [taskUid, attempt, ...whose.values],
  );
  if (tasks.length === 0) return false;
  await tx.query(
    `UPDATE attempts SET ended_at = NULL, outcome = NULL, reason = NULL, detail = NULL,
            lease_until = now()
      WHERE task_uid = $1 AND number = $2`,
    [taskUid, attempt],
  );
  return true;
}

/** {@link resumeLapsed} for the holder that let the lease lapse. */
export function resumeOwn(tx: Queryable, held: HeldAttempt): Promise<boolean> {
  return resumeLapsed(tx, held, {
    condition: 'a.epoch = $3 AND a.holder = $4 AND a.consumer_id = $5',
    values: [held.epoch, held.holder, held.consumerId],
  });
}
