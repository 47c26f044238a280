import type {
  AttemptReport,
  AuditAction,
  Needs,
  TaskList,
  TaskState,
  TaskStatus,
} from '@inference-server/contracts';
import type { Database, Queryable } from '../../database/database.js';
import { writeAudit, type Actor } from '../audit/repository.js';
import { requireStored } from '../blobs/repository.js';
import type { PendingBlob, StoredBlob } from '../blobs/service.js';
import { needsOf } from '../models/needs.js';
import { requireCurrentVersion, runsNoTasks } from '../models/repository.js';
import { dropFilesOfDeleted } from './dropped-files.js';
import type { Quotas } from '../quotas/quotas.js';
import { keyedPost, takeKey, type KeyedPost, type PostKey } from './idempotency-keys.js';
import { transition } from './transitions.js';
import type { WaitingLimits } from './waiting-limits.js';

export type TaskRepository = ReturnType<typeof createTaskRepository>;

/** What a poll needs of a task: its state, and how its last attempt ended. */
export interface TaskView {
  state: TaskState;
  attempt: number;
  /** Undefined when there is none, or none any more. */
  output: StoredBlob | undefined;
  deleted: boolean;
  cancelRequested: boolean;
  /** Of a waiting task that nobody who is there could run: what it needs. */
  unservedNeeds: Needs | null;
  /** Every try so far; not read of a finished task. */
  attempts: AttemptReport[];
  reason: string | null;
  detail: string | null;
  exitCode: number | null;
  log: string | null;
}

/** A task that somebody names: with `owner` it is there only if it is theirs, with null in any case. */
export interface TaskOf {
  uid: string;
  owner: string | null;
}

/** Of {@link TaskOf}, the task `t`: what is another's is not told from what is not there. */
const isTaskOf = '(t.uid = $1 AND ($2::text IS NULL OR t.owner = $2))';

/** Which tasks are listed; null: any. */
export interface TaskSelection {
  owner: string | null;
  state: TaskState | null;
  humanReadableId: string | null;
  before: string | null;
  limit: number;
}

/** What a post makes a task of. */
export interface NewTask {
  uid: string;
  /** Who posts it, and whose it is. */
  by: Actor;
  humanReadableId: string;
  input: PendingBlob;
  idempotencyKey: PostKey | undefined;
}

export function createTaskRepository(database: Database, limits: WaitingLimits, quotas: Quotas) {
  return {
    /**
     * Throws TOO_MANY_REQUESTS when no more tasks of this owner may wait, QUOTA_EXCEEDED when they may
     * store no more, or have no more GPUs.
     */
    async requireRoom(owner: string, task: { bytes: number; usesGpu: boolean }): Promise<void> {
      const refusal =
        (await limits.refusal(owner)) ??
        (await quotas.refusalOfBytes(owner, task.bytes)) ??
        (task.usesGpu ? await quotas.refusalOfGpus(owner) : undefined);
      if (refusal !== undefined) throw refusal;
    },

    /** The post that this key stands for now. */
    keyedPost: (key: PostKey): Promise<KeyedPost | undefined> => keyedPost(database, key),

    /**
     * The task, waiting, bound to the current version of its model, its input stored and its key
     * taken, in one transaction; answers with its uid, or with that of the task that the same post
     * under the same key has made before: then nothing is written, be the model deleted by now. Throws IDEMPOTENCY_KEY_REUSED,
     * TOO_MANY_REQUESTS, QUOTA_EXCEEDED, MODEL_NOT_FOUND.
     */
    async insert(task: NewTask): Promise<string> {
      const { by, idempotencyKey, input } = task;
      const { owner } = by;
      const refusal =
        (await limits.refusal(owner)) ?? (await quotas.refusalOfBytes(owner, input.bytes));
      if (refusal === undefined) quotas.addBytes(owner, input.bytes);
      return database.transaction(async (tx) => {
        const post = { ...task, owner, sha256: input.sha256 };
        const earlier = idempotencyKey && (await takeKey(tx, post, idempotencyKey));
        if (earlier) return earlier;
        if (refusal !== undefined) throw refusal;
        await requireStored(tx, input, owner);
        const version = await requireCurrentVersion(tx, task.humanReadableId);
        const inserted = await tx.query(
          `INSERT INTO tasks (uid, owner, model_version_id, input_blob_id)
           SELECT $1, $2, id, $5 FROM model_versions
            WHERE human_readable_id = $3 AND number = $4 AND kind = 'batch'
           RETURNING uid`,
          [task.uid, owner, task.humanReadableId, version, input.id],
        );
        // The next version may have come with the input.
        if (inserted.length === 0) throw runsNoTasks();
        await noteTask(tx, 'post_task', task, { human_readable_id: task.humanReadableId });
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

    /** Notes that the output went out whole to its owner; only the first time counts. */
    async noteFetched(uid: string, owner: string): Promise<void> {
      await database.query(
        `UPDATE tasks SET fetched_at = now()
          WHERE uid = $1 AND owner = $2 AND state = 'FINISHED' AND fetched_at IS NULL`,
        [uid, owner],
      );
    },

    /** Its output, or its log, is about to go out. */
    noteRead: (uid: string, by: Actor, action: 'download_output' | 'read_log'): Promise<void> =>
      noteTask(database, action, { uid, by }),

    /** Hot: one indexed read a poll. The log comes only with an ended task. */
    async view({ uid, owner }: TaskOf): Promise<TaskView | undefined> {
      const [row] = await database.query<ViewRow>(
        `SELECT t.state, t.attempt, t.ended_at AS "endedAt",
                t.deleted_at IS NOT NULL AS deleted,
                t.cancel_requested_at IS NOT NULL AS "cancelRequested",
                CASE WHEN v.unservable_since IS NOT NULL THEN ${needsOf('v')} END AS "unservedNeeds",
                a.reason, a.detail, a.exit_code AS "exitCode", right(a.log, 16384) AS log,
                CASE WHEN t.state <> 'FINISHED' AND (t.attempt > 1 OR t.consumer_id IS NOT NULL)
                     THEN ${attemptsOfTask} END AS attempts,
                b.id AS "outputId", b.bytes AS "outputBytes", b.sha256 AS "outputSha256"
           FROM tasks t
           LEFT JOIN attempts a
             ON t.state = 'FAILED' AND a.task_uid = t.uid AND a.number = t.attempt
           LEFT JOIN blobs b ON b.id = t.output_blob_id
           LEFT JOIN model_versions v ON t.state = 'PENDING' AND v.id = t.model_version_id
          WHERE ${isTaskOf}`,
        [uid, owner],
      );
      return row && toView(row);
    },

    /** Everything that is told of a task; undefined when there is no such task. */
    async status({ uid, owner }: TaskOf): Promise<TaskStatus | undefined> {
      const [row] = await database.query<StatusRow>(
        `SELECT t.uid, t.state, t.attempt, v.human_readable_id, v.number AS model_version,
                t.created_at, t.ended_at, t.cancel_requested_at IS NOT NULL AS cancel_requested,
                ${attemptsOfTask} AS attempts
           FROM tasks t JOIN model_versions v ON v.id = t.model_version_id
          WHERE ${isTaskOf} AND t.deleted_at IS NULL`,
        [uid, owner],
      );
      return row && toStatus(row);
    },

    /** The last posted first, from before `before` (a `seq`) on. */
    async list({ owner, state, humanReadableId, before, limit }: TaskSelection): Promise<TaskList> {
      const rows = await database.query<SummaryRow>(
        `SELECT t.uid, t.state, t.owner, t.seq::text AS seq, t.created_at, t.ended_at,
                v.human_readable_id, v.number AS model_version
           FROM tasks t JOIN model_versions v ON v.id = t.model_version_id
          WHERE t.deleted_at IS NULL AND ($1::text IS NULL OR t.owner = $1)
            AND ($2::task_state IS NULL OR t.state = $2) AND ($3::text IS NULL OR v.human_readable_id = $3)
            AND ($4::bigint IS NULL OR t.seq < $4)
          ORDER BY t.seq DESC LIMIT $5`,
        [owner, state, humanReadableId, before, limit + 1],
      );
      const listed = rows.slice(0, limit);
      const next = rows.length > limit ? (listed.at(-1)?.seq ?? null) : null;
      return { tasks: listed.map(toSummary), next };
    },

    /**
     * Cancels a waiting task; has a running one cancelled by its holder. False: there is no such
     * task, or it has ended.
     */
    cancel: (task: TaskOf, by: Actor): Promise<boolean> =>
      database.transaction(async (tx) => {
        const cancelled = await cancelTask(tx, task);
        if (cancelled === 'now') await noteTask(tx, 'cancel_task', { uid: task.uid, by });
        return cancelled !== undefined;
      }),

    /**
     * The log of the last ended attempt, or that it was removed; undefined when there is no such task.
     * Nobody has told the log of a lost attempt, which is empty.
     */
    async log({ uid, owner }: TaskOf): Promise<{ log: string; isRemoved: boolean } | undefined> {
      const [row] = await database.query<{ log: string; isRemoved: boolean }>(
        `SELECT coalesce(last.log, '') AS log,
                coalesce(last.log IS NULL AND last.outcome <> 'lost', false) AS "isRemoved"
           FROM tasks t
           LEFT JOIN LATERAL (
             SELECT a.log, a.outcome FROM attempts a
              WHERE a.task_uid = t.uid AND a.ended_at IS NOT NULL
              ORDER BY a.number DESC LIMIT 1) AS last ON true
          WHERE ${isTaskOf} AND t.deleted_at IS NULL`,
        [uid, owner],
      );
      return row;
    },

    /**
     * Makes the task a tombstone, and cancels it if it has not ended. Returns the blobs that are
     * marked for removal: none yet of a running task, whose end marks them. Undefined when there is no
     * such task.
     */
    async bury({ uid, owner }: TaskOf, by: Actor): Promise<string[] | undefined> {
      return database.transaction(async (tx) => {
        await cancelTask(tx, { uid, owner });
        const buried = await tx.query(
          `UPDATE tasks t SET deleted_at = now() WHERE ${isTaskOf} AND deleted_at IS NULL RETURNING uid`,
          [uid, owner],
        );
        if (buried.length === 0) return undefined;
        await noteTask(tx, 'delete_task', { uid, by });
        return dropFilesOfDeleted(tx, uid);
      });
    },
  };
}

function noteTask(
  tx: Queryable,
  action: AuditAction,
  { uid: id, by }: Pick<NewTask, 'uid' | 'by'>,
  details: Record<string, unknown> = {},
): Promise<void> {
  return writeAudit(tx, { by, action, object: { kind: 'task', id }, details });
}

const cancelled = transition('cancelled');

/** A running one is CANCELLED when its attempt has ended. Undefined: there is none to be cancelled. */
async function cancelTask(
  on: Queryable,
  { uid, owner }: TaskOf,
): Promise<'now' | 'before' | undefined> {
  const [row] = await on.query<{ asked: 'now' | 'before' }>(
    `UPDATE tasks t
        SET cancel_requested_at = coalesce(cancel_requested_at, now()),
            ended_at = CASE WHEN state = 'RUNNING' THEN NULL ELSE now() END,
            state = CASE WHEN state = 'RUNNING' THEN state ELSE ${cancelled.to} END
      WHERE ${isTaskOf} AND deleted_at IS NULL AND state IN ${cancelled.from}
     RETURNING CASE WHEN cancel_requested_at = now() THEN 'now' ELSE 'before' END AS asked`,
    [uid, owner],
  );
  return row?.asked;
}

/** Every attempt of the task `t`, as a JSON array of rows. */
const attemptsOfTask = `(SELECT json_agg(json_build_object(
    'number', number, 'consumer', consumer_id, 'claimed_at', claimed_at, 'ended_at', ended_at,
    'outcome', outcome, 'reason', reason, 'exit_code', exit_code, 'usage', usage) ORDER BY number)
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

type SummaryRow = Omit<TaskList['tasks'][number], 'created_at' | 'ended_at'> & {
  seq: string;
  created_at: Date;
  ended_at: Date | null;
};

function toSummary({ seq, created_at, ended_at, ...row }: SummaryRow): TaskList['tasks'][number] {
  void seq;
  return {
    ...row,
    created_at: created_at.toISOString(),
    ended_at: ended_at?.toISOString() ?? null,
  };
}

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
