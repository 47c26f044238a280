import type { AttemptReport, TaskState, TaskStatus } from '@inference-server/contracts';
import type { Database } from '../../database/database.js';
import { requireStored } from '../blobs/repository.js';
import type { PendingBlob, StoredBlob } from '../blobs/service.js';
import { requireCurrentVersion } from '../models/repository.js';
import { dropFilesOfDeleted } from './dropped-files.js';

export type TaskRepository = ReturnType<typeof createTaskRepository>;

/** What a poll needs of a task: its state, and how its last attempt ended. */
export interface TaskView {
  state: TaskState;
  attempt: number;
  /** Undefined when there is none, or none any more. */
  output: StoredBlob | undefined;
  deleted: boolean;
  cancelRequested: boolean;
  /** Every try so far; not read of a finished task. */
  attempts: AttemptReport[];
  reason: string | null;
  detail: string | null;
  exitCode: number | null;
  log: string | null;
}

export function createTaskRepository(database: Database) {
  return {
    /**
     * The task, waiting, bound to the current version of its model, and its input stored, in one
     * transaction. Throws MODEL_NOT_FOUND.
     */
    async insert(uid: string, modelId: string, input: PendingBlob): Promise<void> {
      await database.transaction(async (tx) => {
        await requireStored(tx, input);
        const version = await requireCurrentVersion(tx, modelId);
        await tx.query(
          `INSERT INTO tasks (uid, model_version_id, use_gpu, input_blob_id)
           SELECT $1, id, use_gpu, $4 FROM model_versions
            WHERE human_readable_id = $2 AND number = $3`,
          [uid, modelId, version, input.id],
        );
      });
    },

    /** Hot: one indexed read a poll. The log comes only with an ended task. */
    async view(uid: string): Promise<TaskView | undefined> {
      const [row] = await database.query<ViewRow>(
        `SELECT t.state, t.attempt, t.ended_at AS "endedAt",
                t.deleted_at IS NOT NULL AS deleted,
                t.cancel_requested_at IS NOT NULL AS "cancelRequested",
                a.reason, a.detail, a.exit_code AS "exitCode", right(a.log, 16384) AS log,
                CASE WHEN t.state <> 'FINISHED' AND (t.attempt > 1 OR t.consumer_id IS NOT NULL)
                     THEN ${attemptsOfTask} END AS attempts,
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

    /** Everything that is told of a task; undefined when there is no such task. */
    async status(uid: string): Promise<TaskStatus | undefined> {
      const [row] = await database.query<StatusRow>(
        `SELECT t.uid, t.state, t.attempt, v.human_readable_id, v.number AS model_version,
                t.created_at, t.ended_at, t.cancel_requested_at IS NOT NULL AS cancel_requested,
                ${attemptsOfTask} AS attempts
           FROM tasks t JOIN model_versions v ON v.id = t.model_version_id
          WHERE t.uid = $1 AND t.deleted_at IS NULL`,
        [uid],
      );
      return row && toStatus(row);
    },

    /**
     * Cancels a waiting task; has a running one cancelled by its holder. False: there is no such
     * task, or it has ended.
     */
    async cancel(uid: string): Promise<boolean> {
      const rows = await database.query(
        `UPDATE tasks
            SET cancel_requested_at = coalesce(cancel_requested_at, now()),
                ended_at = CASE WHEN state = 'RUNNING' THEN NULL ELSE now() END,
                state = CASE WHEN state = 'RUNNING' THEN state ELSE 'CANCELLED' END
          WHERE uid = $1 AND deleted_at IS NULL AND state IN ('PENDING', 'QUEUED', 'RUNNING')
         RETURNING uid`,
        [uid],
      );
      return rows.length > 0;
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
     * Makes the task a tombstone, and cancels it if it has not ended. Returns the blobs that are
     * marked for removal: none yet of a running task, whose end marks them. Undefined when there is no
     * such task.
     */
    async bury(uid: string): Promise<string[] | undefined> {
      return database.transaction(async (tx) => {
        const buried = await tx.query(
          `UPDATE tasks
              SET deleted_at = now(),
                  cancel_requested_at = CASE WHEN ended_at IS NULL
                    THEN coalesce(cancel_requested_at, now()) ELSE cancel_requested_at END,
                  ended_at = CASE WHEN state = 'RUNNING' THEN NULL ELSE coalesce(ended_at, now()) END,
                  state = CASE WHEN state IN ('PENDING', 'QUEUED') THEN 'CANCELLED' ELSE state END
            WHERE uid = $1 AND deleted_at IS NULL
           RETURNING uid`,
          [uid],
        );
        return buried.length === 0 ? undefined : dropFilesOfDeleted(tx, uid);
      });
    },
  };
}

/** Every attempt of the task `t`, as a JSON array of rows. */
const attemptsOfTask = `(SELECT json_agg(json_build_object(
    'number', number, 'consumer', consumer_id, 'claimed_at', claimed_at, 'ended_at', ended_at,
    'outcome', outcome, 'reason', reason, 'exit_code', exit_code) ORDER BY number)
  FROM attempts WHERE task_uid = t.uid)`;

type ViewRow = Omit<TaskView, 'output' | 'attempts'> &
  OutputColumns & {
    endedAt: Date | null;
    attempts: AttemptReport[] | null;
  };

interface OutputColumns {
  outputId: string | null;
  outputBytes: string | null;
  outputSha256: string | null;
}

type StatusRow = Omit<TaskStatus, 'created_at' | 'ended_at' | 'attempts'> & {
  created_at: Date;
  ended_at: Date | null;
  attempts: AttemptReport[] | null;
};

function toView({ endedAt, outputId, outputBytes, outputSha256, ...view }: ViewRow): TaskView {
  const isThere = outputId !== null && outputSha256 !== null && endedAt !== null;
  const output = isThere
    ? { id: outputId, bytes: Number(outputBytes), sha256: outputSha256, storedAt: endedAt }
    : undefined;
  return { ...view, output, attempts: toReports(view.attempts) };
}

function toStatus({ created_at, ended_at, attempts, ...status }: StatusRow): TaskStatus {
  return {
    ...status,
    created_at: created_at.toISOString(),
    ended_at: ended_at?.toISOString() ?? null,
    attempts: toReports(attempts),
  };
}

/** The database writes times in its own zone and precision. */
function toReports(rows: AttemptReport[] | null): AttemptReport[] {
  return (rows ?? []).map((row) => ({
    ...row,
    claimed_at: new Date(row.claimed_at).toISOString(),
    ended_at: row.ended_at === null ? null : new Date(row.ended_at).toISOString(),
  }));
}
