import type { PullPolicy } from '@inference-server/contracts';
import type { Database, Queryable } from '../../database/database.js';
import { AppError } from '@inference-server/errors';
import { markStored } from '../blobs/repository.js';
import type { PendingBlob } from '../blobs/service.js';

export type AttemptRepository = ReturnType<typeof createAttemptRepository>;

/** An attempt as its holder names it. */
export interface HeldAttempt {
  taskUid: string;
  attempt: number;
  epoch: number;
  holder: string;
}

/** What the holder of a ticket asks for. */
export type AttemptClaim = Omit<HeldAttempt, 'epoch'> & { consumerId: string };

export interface WorkRow {
  modelVersionId: string;
  humanReadableId: string;
  containerTag: string;
  pullPolicy: PullPolicy;
  timeoutS: number | null;
  filesBlobId: string | null;
  filesSha256: string | null;
  filesBytes: string | null;
  filesStoredAt: Date;
  inputBlobId: string;
  inputSha256: string;
  inputBytes: string;
  inputStoredAt: Date;
}

/** What is kept of an attempt that ended. */
export interface AttemptEnd {
  outcome: 'finished' | 'failed' | 'fault' | 'released' | 'lost';
  reason: string | null;
  detail: string;
  exitCode: number | null;
  log: string | null;
}

export function createAttemptRepository(
  database: Database,
  { leaseMs, maxAttempts }: { leaseMs: number; maxAttempts: number },
) {
  return {
    /**
     * Hot. QUEUED → RUNNING with a first lease, for the consumer that was sent the ticket; or the
     * lease that this holder won before. Undefined: the ticket is stale.
     */
    async claim(claim: AttemptClaim): Promise<{ epoch: number } | undefined> {
      const { taskUid, attempt, consumerId, holder } = claim;
      const [won] = await database.query<{ epoch: number }>(
        `WITH task AS (
           UPDATE tasks SET state = 'RUNNING'
            WHERE uid = $1 AND attempt = $2 AND consumer_id = $3 AND state = 'QUEUED'
           RETURNING uid, attempt
         )
         INSERT INTO attempts (task_uid, number, consumer_id, epoch, holder, lease_until)
         SELECT uid, attempt, $3, 1, $4, now() + $5 * interval '1 millisecond' FROM task
         RETURNING epoch`,
        [taskUid, attempt, consumerId, holder, leaseMs],
      );
      if (won !== undefined) return won;
      const [held] = await database.query<{ epoch: number }>(
        `SELECT epoch FROM attempts
          WHERE task_uid = $1 AND number = $2 AND consumer_id = $3 AND holder = $4
            AND ended_at IS NULL`,
        [taskUid, attempt, consumerId, holder],
      );
      return held;
    },

    /** What the attempts of a task work on. */
    async work(taskUid: string): Promise<WorkRow | undefined> {
      const [row] = await database.query<WorkRow>(
        `SELECT v.id AS "modelVersionId", v.human_readable_id AS "humanReadableId",
                v.container_tag AS "containerTag", v.pull_policy AS "pullPolicy",
                v.timeout_s AS "timeoutS", f.id AS "filesBlobId", f.sha256 AS "filesSha256",
                f.bytes AS "filesBytes", v.created_at AS "filesStoredAt",
                i.id AS "inputBlobId", i.sha256 AS "inputSha256", i.bytes AS "inputBytes",
                t.created_at AS "inputStoredAt"
           FROM tasks t
           JOIN model_versions v ON v.id = t.model_version_id
           JOIN blobs i ON i.id = t.input_blob_id
           LEFT JOIN blobs f ON f.id = v.files_blob_id
          WHERE t.uid = $1`,
        [taskUid],
      );
      return row;
    },

    /** Hot. The lease anew from now; false: it is no longer this holder's. */
    async renew(held: HeldAttempt): Promise<boolean> {
      const renewed = () =>
        database.query(
          `UPDATE attempts SET lease_until = now() + $5 * interval '1 millisecond'
            WHERE task_uid = $1 AND number = $2 AND epoch = $3 AND holder = $4
              AND ended_at IS NULL
           RETURNING number`,
          [...leaseValues(held), leaseMs],
        );
      if ((await renewed()).length > 0) return true;
      if (!(await database.transaction((tx) => resume(tx, held)))) return false;
      return (await renewed()).length > 0;
    },

    /** Whether the attempt is this holder's, or was until its lease lapsed and is again now. */
    async isHeld(held: HeldAttempt): Promise<boolean> {
      const rows = await database.query(
        `SELECT number FROM attempts
          WHERE task_uid = $1 AND number = $2 AND epoch = $3 AND holder = $4 AND ended_at IS NULL`,
        leaseValues(held),
      );
      return rows.length > 0 || (await database.transaction((tx) => resume(tx, held)));
    },

    /** Whether this very holder has settled the attempt before (its answer was lost). */
    async wasSettled(held: HeldAttempt, outcome: AttemptEnd['outcome']): Promise<boolean> {
      const rows = await database.query(
        `SELECT number FROM attempts
          WHERE task_uid = $1 AND number = $2 AND epoch = $3 AND holder = $4 AND outcome = $5`,
        [...leaseValues(held), outcome],
      );
      return rows.length > 0;
    },

    /**
     * Notes the durable output of a held attempt, and names the one that it replaces. Undefined: the
     * lease is not current, nothing was noted.
     */
    async keepOutput(
      held: HeldAttempt,
      output: PendingBlob,
    ): Promise<{ blobId: string | null } | undefined> {
      return database.transaction(async (tx) => {
        const [before] = await tx.query<{ blobId: string | null }>(
          `SELECT output_blob_id AS "blobId" FROM attempts
            WHERE task_uid = $1 AND number = $2 AND epoch = $3 AND holder = $4 AND ended_at IS NULL
              FOR UPDATE`,
          leaseValues(held),
        );
        if (before === undefined) return undefined;
        await tx.query(`UPDATE blobs SET bytes = $2, sha256 = $3 WHERE id = $1`, [
          output.id,
          output.bytes,
          output.sha256,
        ]);
        await tx.query(
          `UPDATE attempts SET output_blob_id = $3 WHERE task_uid = $1 AND number = $2`,
          [held.taskUid, held.attempt, output.id],
        );
        return before;
      });
    },

    /**
     * Ends an attempt that `held` holds, and moves its task on: FINISHED with the output that was
     * kept, FAILED, or back to the backlog. All or nothing; false: the lease is not current, nothing
     * was changed. Throws CONFLICT when the kept output is another than the one meant.
     */
    async settle(
      held: HeldAttempt,
      end: AttemptEnd,
      outputSha256: string | null,
    ): Promise<boolean> {
      return database.transaction(async (tx) => {
        await resume(tx, held);
        if (!(await endHeld(tx, held, end))) return false;
        if (outputSha256 === null) {
          await retryOrFail(tx, held.taskUid, held.attempt, end.outcome, maxAttempts);
        } else {
          await finishTask(tx, held, outputSha256);
        }
        return true;
      });
    },

    /** Ends attempts whose lease has lapsed; returns them. Each is ended only if still lapsed. */
    async endLapsed(): Promise<{ taskUid: string; attempt: number; consumerId: string }[]> {
      const lapsed = await database.query<{ uid: string; number: number; consumer_id: string }>(
        `SELECT task_uid AS uid, number, consumer_id FROM attempts
          WHERE ended_at IS NULL AND lease_until < now() ORDER BY lease_until LIMIT 100`,
      );
      const ended = [];
      for (const { uid, number, consumer_id: consumerId } of lapsed) {
        if (await endIfLapsed(database, uid, number, maxAttempts)) {
          ended.push({ taskUid: uid, attempt: number, consumerId });
        }
      }
      return ended;
    },
  };
}

function leaseValues({ taskUid, attempt, epoch, holder }: HeldAttempt): unknown[] {
  return [taskUid, attempt, epoch, holder];
}

/** Everything that ends an attempt locks its task first: no two ends at once, no deadlock. */
async function lockTask(tx: Queryable, uid: string): Promise<void> {
  await tx.query(`SELECT uid FROM tasks WHERE uid = $1 FOR UPDATE`, [uid]);
}

/**
 * Gives an attempt that was ended for its lapsed lease back to its holder, as long as no other
 * attempt was claimed: the work that is done is not thrown away. False: there is nothing to resume.
 */
async function resume(tx: Queryable, held: HeldAttempt): Promise<boolean> {
  await lockTask(tx, held.taskUid);
  const tasks = await tx.query(
    `UPDATE tasks t
        SET state = 'RUNNING', attempt = a.number, consumer_id = a.consumer_id
       FROM attempts a
      WHERE a.task_uid = $1 AND a.number = $2 AND a.epoch = $3 AND a.holder = $4
        AND a.outcome = 'lost'
        AND t.uid = a.task_uid AND t.attempt = a.number + 1 AND t.state IN ('PENDING', 'QUEUED')
     RETURNING t.uid`,
    leaseValues(held),
  );
  if (tasks.length === 0) return false;
  await tx.query(
    `UPDATE attempts SET ended_at = NULL, outcome = NULL, reason = NULL, detail = NULL,
            lease_until = now()
      WHERE task_uid = $1 AND number = $2`,
    [held.taskUid, held.attempt],
  );
  return true;
}

async function endHeld(tx: Queryable, held: HeldAttempt, end: AttemptEnd): Promise<boolean> {
  const rows = await tx.query(
    `UPDATE attempts
        SET ended_at = now(), outcome = $5::attempt_outcome, reason = $6, detail = $7,
            exit_code = $8, log = $9
      WHERE task_uid = $1 AND number = $2 AND epoch = $3 AND holder = $4 AND ended_at IS NULL
     RETURNING number`,
    [...leaseValues(held), end.outcome, end.reason, end.detail, end.exitCode, end.log],
  );
  return rows.length > 0;
}

async function finishTask(
  tx: Queryable,
  { taskUid, attempt }: HeldAttempt,
  sha256: string,
): Promise<void> {
  const [output] = await tx.query<{ id: string; bytes: string }>(
    `SELECT b.id, b.bytes FROM attempts a JOIN blobs b ON b.id = a.output_blob_id
      WHERE a.task_uid = $1 AND a.number = $2 AND b.sha256 = $3`,
    [taskUid, attempt, sha256],
  );
  if (
    output === undefined ||
    !(await markStored(tx, { id: output.id, bytes: Number(output.bytes), sha256 }))
  ) {
    throw new AppError('CONFLICT', 'The settlement names an output that is not stored.');
  }
  await tx.query(
    `UPDATE tasks SET state = 'FINISHED', output_blob_id = $3, ended_at = now()
      WHERE uid = $1 AND attempt = $2 AND state = 'RUNNING'`,
    [taskUid, attempt, output.id],
  );
}

/**
 * A model's own failure is final. A fault or a lost lease gives the next attempt while fewer than
 * `maxAttempts` of the task's attempts ended so; a released attempt does not count.
 */
async function retryOrFail(
  tx: Queryable,
  uid: string,
  attempt: number,
  outcome: AttemptEnd['outcome'],
  maxAttempts: number,
): Promise<void> {
  await tx.query(
    `UPDATE tasks
        SET state = CASE WHEN retry.again THEN 'PENDING'::task_state ELSE 'FAILED' END,
            attempt = attempt + CASE WHEN retry.again THEN 1 ELSE 0 END,
            ended_at = CASE WHEN retry.again THEN NULL ELSE now() END
       FROM (SELECT $3 = 'released'
                    OR ($3 IN ('fault', 'lost') AND count(*) < $4) AS again
               FROM attempts WHERE task_uid = $1 AND outcome IN ('fault', 'lost')) AS retry
      WHERE uid = $1 AND attempt = $2 AND state = 'RUNNING'`,
    [uid, attempt, outcome, maxAttempts],
  );
}

async function endIfLapsed(
  database: Database,
  uid: string,
  number: number,
  maxAttempts: number,
): Promise<boolean> {
  return database.transaction(async (tx) => {
    await lockTask(tx, uid);
    const rows = await tx.query(
      `UPDATE attempts SET ended_at = now(), outcome = 'lost', reason = 'lease_lost',
              detail = 'The consumer that ran the task was not heard of any more.'
        WHERE task_uid = $1 AND number = $2 AND ended_at IS NULL AND lease_until < now()
       RETURNING number`,
      [uid, number],
    );
    if (rows.length === 0) return false;
    await retryOrFail(tx, uid, number, 'lost', maxAttempts);
    return true;
  });
}
