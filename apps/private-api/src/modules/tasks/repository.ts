import type { TaskState } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Database, Queryable } from '../../database/database.js';
import { markDeleting, requireStored } from '../blobs/repository.js';
import type { PendingBlob, StoredBlob } from '../blobs/service.js';
import { keyedPost, takeKey } from './idempotency-keys.js';
import type { WaitingLimits } from './waiting-limits.js';

export type TaskRepository = ReturnType<typeof createTaskRepository>;

/** What a poll needs of a task: its state, and how its last attempt ended. */
export interface TaskView {
  state: TaskState;
  attempt: number;
  /** Undefined when there is none, or none any more. */
  output: StoredBlob | undefined;
  deleted: boolean;
  reason: string | null;
  detail: string | null;
  exitCode: number | null;
  log: string | null;
}

/** What a post makes a task of. */
export interface NewTask {
  uid: string;
  owner: string;
  humanReadableId: string;
  /** Undefined: there is no such model, any more. */
  modelVersionId: string | undefined;
  input: PendingBlob;
  idempotencyKey: string | undefined;
}

export function createTaskRepository(database: Database, limits: WaitingLimits) {
  return {
    /** Throws TOO_MANY_REQUESTS when no more tasks of this owner may wait. */
    requireRoom: (owner: string) => limits.requireRoom(database, owner),

    /** The model of the post that this key stands for now. */
    async modelUnderKey(owner: string, key: string): Promise<string | undefined> {
      return (await keyedPost(database, owner, key))?.humanReadableId;
    },

    /**
     * The task, waiting, its input stored and its key taken, in one transaction; answers with its
     * uid, or with that of the task that the same post under the same key has made before: then
     * nothing is written. Throws IDEMPOTENCY_KEY_REUSED, TOO_MANY_REQUESTS, MODEL_NOT_FOUND.
     */
    async insert(task: NewTask): Promise<string> {
      return database.transaction(async (tx) => {
        const { idempotencyKey, input } = task;
        const post = { ...task, sha256: input.sha256 };
        const earlier = idempotencyKey && (await takeKey(tx, post, idempotencyKey));
        if (earlier) return earlier;
        await limits.requireRoom(tx, task.owner);
        await requireStored(tx, input);
        const inserted = await tx.query(
          `INSERT INTO tasks (uid, owner, model_version_id, use_gpu, input_blob_id)
           SELECT $1, $2, id, use_gpu, $4 FROM model_versions WHERE id = $3 RETURNING uid`,
          [task.uid, task.owner, task.modelVersionId, input.id],
        );
        if (inserted.length === 0) throw modelNotFound();
        return task.uid;
      });
    },

    /**
     * The uid if the task is there. Waits for a transaction that is still at it: it holds the row of
     * the input.
     */
    async inserted({ uid, input }: NewTask): Promise<string | undefined> {
      await database.query(`SELECT id FROM blobs WHERE id = $1 FOR SHARE`, [input.id]);
      const [row] = await database.query<{ uid: string }>(`SELECT uid FROM tasks WHERE uid = $1`, [
        uid,
      ]);
      return row?.uid;
    },

    /** Notes that the output went out whole; only the first time counts. */
    async noteFetched(uid: string): Promise<void> {
      await database.query(
        `UPDATE tasks SET fetched_at = now()
          WHERE uid = $1 AND state = 'FINISHED' AND fetched_at IS NULL`,
        [uid],
      );
    },

    /** Hot: one indexed read a poll. The log comes only with an ended task. */
    async view(uid: string): Promise<TaskView | undefined> {
      const [row] = await database.query<ViewRow>(
        `SELECT t.state, t.attempt, t.ended_at AS "endedAt",
                t.deleted_at IS NOT NULL AS deleted, a.reason, a.detail,
                a.exit_code AS "exitCode", right(a.log, 16384) AS log,
                b.id AS "outputId", b.bytes AS "outputBytes", b.sha256 AS "outputSha256"
           FROM tasks t
           LEFT JOIN attempts a
             ON t.state = 'FAILED' AND a.task_uid = t.uid AND a.number = t.attempt
           LEFT JOIN blobs b ON b.id = t.output_blob_id
          WHERE t.uid = $1`,
        [uid],
      );
      return row && toView(row);
    },

    /** The log of the last ended attempt; undefined when there is no such task. */
    async log(uid: string): Promise<string | undefined> {
      const [row] = await database.query<{ log: string | null }>(
        `SELECT (SELECT a.log FROM attempts a
                  WHERE a.task_uid = t.uid AND a.ended_at IS NOT NULL
                  ORDER BY a.number DESC LIMIT 1) AS log
           FROM tasks t WHERE t.uid = $1 AND t.deleted_at IS NULL`,
        [uid],
      );
      return row === undefined ? undefined : (row.log ?? '');
    },

    /**
     * Makes the task a tombstone: an unended one is cancelled, its attempt ended, its blobs marked
     * for removal (their ids are returned). Undefined when there is no such task.
     */
    async bury(uid: string): Promise<string[] | undefined> {
      return database.transaction(async (tx) => {
        const [task] = await tx.query<BuriedRow>(
          `SELECT input_blob_id, output_blob_id FROM tasks
            WHERE uid = $1 AND deleted_at IS NULL FOR UPDATE`,
          [uid],
        );
        if (task === undefined) return undefined;
        const unsettled = await endAttemptsAsCancelled(tx, uid);
        await tx.query(
          `UPDATE tasks
              SET state = CASE WHEN state IN ('PENDING', 'QUEUED', 'RUNNING')
                               THEN 'CANCELLED'::task_state ELSE state END,
                  ended_at = coalesce(ended_at, now()), deleted_at = now(),
                  input_blob_id = NULL, output_blob_id = NULL
            WHERE uid = $1`,
          [uid],
        );
        const blobs = [task.input_blob_id, task.output_blob_id, ...unsettled];
        const ids = [...new Set(blobs.filter((id) => id !== null))];
        await markDeleting(tx, ids);
        return ids;
      });
    },
  };
}

type ViewRow = Omit<TaskView, 'output'> &
  OutputColumns & {
    endedAt: Date | null;
  };

interface OutputColumns {
  outputId: string | null;
  outputBytes: string | null;
  outputSha256: string | null;
}

function toView({ endedAt, outputId, outputBytes, outputSha256, ...view }: ViewRow): TaskView {
  const isThere = outputId !== null && outputSha256 !== null && endedAt !== null;
  const output = isThere
    ? { id: outputId, bytes: Number(outputBytes), sha256: outputSha256, storedAt: endedAt }
    : undefined;
  return { ...view, output };
}

interface BuriedRow {
  input_blob_id: string | null;
  output_blob_id: string | null;
}

/**
 * The holder of a running attempt hears of it in its renewal. Logs go with the files. Returns the
 * outputs that were stored under the attempts.
 */
async function endAttemptsAsCancelled(tx: Queryable, uid: string): Promise<(string | null)[]> {
  const rows = await tx.query<{ output_blob_id: string | null }>(
    `UPDATE attempts
        SET ended_at = coalesce(ended_at, now()), outcome = coalesce(outcome, 'cancelled'), log = NULL
      WHERE task_uid = $1
     RETURNING output_blob_id`,
    [uid],
  );
  await tx.query(`UPDATE attempts SET output_blob_id = NULL WHERE task_uid = $1`, [uid]);
  return rows.map((row) => row.output_blob_id);
}

export function modelNotFound(): AppError {
  return new AppError('MODEL_NOT_FOUND', 'There is no model of this human_readable_id.', {
    extensions: { parameter: 'human_readable_id' },
  });
}
