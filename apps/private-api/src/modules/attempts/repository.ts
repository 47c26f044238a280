import type { Needs, PullPolicy, Rights } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Database, Queryable } from '../../database/database.js';
import { leaderValues, leadsSteadily, type SteadyLeader } from '../../database/leader.js';
import type { PendingBlob } from '../blobs/service.js';
import { noteGpuUse } from '../quotas/gpu-use.js';
import { needsOf } from '../models/needs.js';
import { transition } from '../tasks/transitions.js';
import {
  endHeld,
  endIfLapsed,
  finishTask,
  moveOn,
  notePeak,
  type AttemptEnd,
  type ExceedingVersion,
} from './end-attempt.js';
import {
  hasLapsed,
  isCurrentLease,
  leaseValues,
  lockTask,
  resumeLapsed,
  resumeOwn,
  takesForConsumer,
  type AttemptClaim,
  type HeldAttempt,
} from './held-attempt.js';

export type AttemptRepository = ReturnType<typeof createAttemptRepository>;

export interface WorkRow {
  modelVersionId: string;
  humanReadableId: string;
  containerTag: string;
  pullPolicy: PullPolicy;
  timeoutS: number | null;
  needs: Needs;
  rights: Partial<Rights>;
  lenders: string[];
  filesBlobId: string | null;
  filesSha256: string | null;
  filesBytes: string | null;
  filesStoredAt: Date;
  inputBlobId: string;
  inputSha256: string;
  inputBytes: string;
  inputStoredAt: Date;
}

/** The lease is the asker's, who may have to stop. */
export interface Holding {
  cancelRequested: boolean;
}

type AttemptKey = Pick<HeldAttempt, 'taskUid' | 'attempt'>;

/** `blobs`: those that nothing refers to any more; `exceeding`: see notePeak. */
export type Settled =
  | { outcome: 'settled'; blobs: string[]; exceeding: ExceedingVersion | undefined }
  | { outcome: 'cancel_requested' };

const claimed = transition('claimed');

export function createAttemptRepository(
  database: Database,
  {
    leaseMs,
    parkMs,
    maxAttempts,
    logger,
  }: { leaseMs: number; parkMs: number; maxAttempts: number; logger: Logger },
) {
  /**
   * The lease for so long from now on, or as long as it lasts anyway: a renewal that comes after the
   * parking takes nothing back. No lease lasts for longer than the longest that is given: what a clock
   * that ran ahead made of one is set right. Undefined: it is no longer this holder's.
   */
  async function extend(held: HeldAttempt, ms: number): Promise<Holding | undefined> {
    const extended = () =>
      database.query<Holding>(
        `UPDATE attempts
            SET lease_until = least(
                  greatest(lease_until, now() + $6 * interval '1 millisecond'),
                  now() + $7 * interval '1 millisecond')
          WHERE ${isCurrentLease}
         RETURNING (SELECT cancel_requested_at IS NOT NULL FROM tasks WHERE uid = $1)
                   AS "cancelRequested"`,
        [...leaseValues(held), ms, Math.max(leaseMs, parkMs)],
      );
    const [holding] = await extended();
    if (holding !== undefined) return holding;
    await resume(held);
    return (await extended())[0];
  }

  /**
   * Waits for whoever is at the attempt, and resumes it if it has lapsed. What has become of it is looked
   * at again after that: of two calls of one holder that come at once (a link that stood still lets all go
   * on) the other may have resumed it.
   */
  async function resume(held: HeldAttempt): Promise<void> {
    await database.transaction(async (tx) => {
      await lockTask(tx, held.taskUid);
      noted(held, await resumeOwn(tx, held));
    });
  }

  function noted({ taskUid, attempt }: AttemptKey, isResumed: boolean): boolean {
    if (isResumed) logger.debug({ taskUid, attempt }, 'a lapsed attempt is resumed');
    return isResumed;
  }

  return {
    /**
     * Hot. QUEUED → RUNNING with a first lease, for the process that speaks for the consumer that was
     * sent the ticket, unless it is drained; or the lease that this holder won so before, not one that
     * it has adopted: what runs under that is not to be staged again. Undefined: the ticket is stale.
     */
    async claim(claim: AttemptClaim): Promise<{ epoch: number } | undefined> {
      const { taskUid, attempt, consumerId, holder } = claim;
      const [won] = await database.query<{ epoch: number }>(
        `WITH task AS (
           UPDATE tasks SET state = ${claimed.to}
            WHERE uid = $1 AND attempt = $2 AND consumer_id = $3 AND state IN ${claimed.from}
              AND ${takesForConsumer}
           RETURNING uid, attempt, lenders, model_version_id
         )
         INSERT INTO attempts
           (task_uid, number, consumer_id, lenders, model_version_id, epoch, holder, lease_until)
         SELECT uid, attempt, $3, lenders, model_version_id, 1, $4, now() + $5 * interval '1 millisecond'
           FROM task
         RETURNING epoch`,
        [taskUid, attempt, consumerId, holder, leaseMs],
      );
      if (won !== undefined) return won;
      const before = await heldAlready(claim);
      if (before?.epoch === 1) logger.debug({ taskUid, attempt }, 'a claim is answered again');
      return before?.epoch === 1 ? before : undefined;
    },

    /**
     * The lease of an attempt of the consumer, under the next epoch, for the process that speaks for
     * the consumer now, be it the one that claimed; or the one that this process adopted before. Undefined: it is over. Throws
     * CONSUMER_EXISTS for any other process: what is over for that one may be its successor's.
     */
    async adopt(claim: AttemptClaim): Promise<{ epoch: number } | undefined> {
      const { taskUid, attempt, consumerId, holder } = claim;
      const adopted = await database.transaction(async (tx) => {
        await requireSpeaker(tx, claim);
        await lockTask(tx, taskUid);
        const take = () =>
          tx.query<{ epoch: number }>(
            `UPDATE attempts
                SET epoch = epoch + 1, holder = $4, lease_until = now() + $5 * interval '1 millisecond'
              WHERE task_uid = $1 AND number = $2 AND consumer_id = $3
                AND (holder <> $4 OR epoch = 1) AND ended_at IS NULL
             RETURNING epoch`,
            [taskUid, attempt, consumerId, holder, leaseMs],
          );
        const [taken] = await take();
        if (taken !== undefined) return taken;
        const lapsed = { condition: 'a.consumer_id = $3', values: [consumerId] };
        const isResumed = noted(claim, await resumeLapsed(tx, claim, lapsed));
        return isResumed ? (await take())[0] : undefined;
      });
      return adopted ?? (await heldAlready(claim));
    },

    /** The attempts that a consumer's processes hold, parked or not. */
    async heldBy(consumerId: string): Promise<{ taskUid: string; attempt: number }[]> {
      return database.query(
        `SELECT task_uid AS "taskUid", number AS attempt FROM attempts
          WHERE consumer_id = $1 AND ended_at IS NULL ORDER BY claimed_at`,
        [consumerId],
      );
    },

    /** What the attempts of a task work on. */
    async work(taskUid: string): Promise<WorkRow | undefined> {
      const [row] = await database.query<WorkRow>(
        `SELECT v.id AS "modelVersionId", v.human_readable_id AS "humanReadableId",
                v.container_tag AS "containerTag", v.pull_policy AS "pullPolicy",
                v.timeout_s AS "timeoutS", ${needsOf('v')} AS needs, v.rights, t.lenders,
                f.id AS "filesBlobId", f.sha256 AS "filesSha256",
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

    /** Hot. The lease anew from now; undefined: it is no longer this holder's. */
    renew: (held: HeldAttempt) => extend(held, leaseMs),

    /** What a run was seen to take of a GPU so far, see the function. */
    notePeak: (held: HeldAttempt, peakMib: number) => notePeak(database, held, peakMib),

    /** The lease for a longer while, in which a successor may come. */
    park: (held: HeldAttempt) => extend(held, parkMs),

    /** Whether the attempt is this holder's, or was until its lease lapsed and is again now. */
    async holding(held: HeldAttempt): Promise<Holding | undefined> {
      const look = () =>
        database.query<Holding>(
          `SELECT (SELECT cancel_requested_at IS NOT NULL FROM tasks WHERE uid = $1)
                  AS "cancelRequested"
             FROM attempts WHERE ${isCurrentLease}`,
          leaseValues(held),
        );
      const [holding] = await look();
      if (holding !== undefined) return holding;
      await resume(held);
      return (await look())[0];
    },

    /** Whether a later holder has taken this very attempt over, be it ended by now or not. */
    async wasAdopted({ taskUid, attempt, epoch, consumerId }: HeldAttempt): Promise<boolean> {
      const rows = await database.query(
        `SELECT 1 FROM attempts
          WHERE task_uid = $1 AND number = $2 AND epoch > $3 AND consumer_id = $4`,
        [taskUid, attempt, epoch, consumerId],
      );
      return rows.length > 0;
    },

    /** Whether this very holder has settled the attempt before (its answer was lost). */
    async wasSettled(held: HeldAttempt, outcome: AttemptEnd['outcome']): Promise<boolean> {
      const rows = await database.query(
        `SELECT number FROM attempts
          WHERE task_uid = $1 AND number = $2 AND epoch = $3 AND holder = $4 AND consumer_id = $5
            AND outcome = $6`,
        [...leaseValues(held), outcome],
      );
      const { taskUid, attempt } = held;
      if (rows.length > 0) logger.debug({ taskUid, attempt }, 'a settlement is answered again');
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
          `SELECT output_blob_id AS "blobId" FROM attempts WHERE ${isCurrentLease} FOR UPDATE`,
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
     * kept, FAILED, CANCELLED, or back to the backlog. A result that comes after a request to cancel
     * is not taken. All or nothing; undefined: the lease is not current, nothing was changed. Throws
     * CONFLICT when the kept output is another than the one meant, and for a cancel nobody asked for.
     */
    async settle(
      held: HeldAttempt,
      end: AttemptEnd,
      outputSha256: string | null,
    ): Promise<Settled | undefined> {
      return database.transaction(async (tx) => {
        const task = await lockTask(tx, held.taskUid);
        const cancelRequested = task?.cancelRequested ?? false;
        noted(held, await resumeOwn(tx, held));
        if (cancelRequested && (end.outcome === 'finished' || end.outcome === 'failed')) {
          return (await isCurrent(tx, held)) ? { outcome: 'cancel_requested' } : undefined;
        }
        if (end.outcome === 'cancelled' && !cancelRequested) {
          throw new AppError('CONFLICT', 'Nobody asked to cancel this task.');
        }
        if (!(await endHeld(tx, held, end))) return undefined;
        const peakMib = end.usage?.gpu_memory_peak_mib ?? null;
        const exceeding = peakMib === null ? undefined : await notePeak(tx, held, peakMib);
        const blobs = outputSha256 === null ? await moveOn(tx, held.taskUid, end, maxAttempts) : [];
        if (outputSha256 !== null) await finishTask(tx, held, outputSha256);
        await noteGpuUse(tx, held, end);
        return { outcome: 'settled', blobs, exceeding };
      });
    },

    /**
     * Ends attempts whose lease has lapsed; returns them. Each is ended only if still lapsed, and only
     * while `leader` leads, by the clock that the lease has lapsed by.
     */
    async endLapsed(leader: SteadyLeader): Promise<LapsedAttempt[]> {
      const lapsed = await database.query<Omit<LapsedAttempt, 'blobs'>>(
        `SELECT task_uid AS "taskUid", number AS attempt, consumer_id AS "consumerId" FROM attempts
          WHERE ${hasLapsed} AND ${leadsSteadily} ORDER BY lease_until LIMIT 100`,
        leaderValues(leader),
      );
      const ended = [];
      for (const attempt of lapsed) {
        const { taskUid, attempt: number } = attempt;
        const blobs = await endIfLapsed(database, taskUid, number, maxAttempts, leader);
        if (blobs !== undefined) ended.push({ ...attempt, blobs });
      }
      return ended;
    },
  };

  async function heldAlready(claim: AttemptClaim): Promise<{ epoch: number } | undefined> {
    const [held] = await database.query<{ epoch: number }>(
      `SELECT epoch FROM attempts
        WHERE task_uid = $1 AND number = $2 AND consumer_id = $3 AND holder = $4
          AND ended_at IS NULL`,
      [claim.taskUid, claim.attempt, claim.consumerId, claim.holder],
    );
    return held;
  }
}

/** It speaks for the consumer until the transaction ends. Throws CONSUMER_EXISTS. */
async function requireSpeaker(tx: Queryable, { consumerId, holder }: AttemptClaim): Promise<void> {
  const rows = await tx.query(`SELECT 1 FROM consumers WHERE id = $1 AND holder = $2 FOR SHARE`, [
    consumerId,
    holder,
  ]);
  if (rows.length > 0) return;
  throw new AppError('CONSUMER_EXISTS', `Another process is the consumer ${consumerId}.`);
}

async function isCurrent(tx: Queryable, held: HeldAttempt): Promise<boolean> {
  const rows = await tx.query(`SELECT 1 FROM attempts WHERE ${isCurrentLease}`, leaseValues(held));
  return rows.length > 0;
}

export interface LapsedAttempt {
  taskUid: string;
  attempt: number;
  consumerId: string;
  /** Those that nothing refers to any more. */
  blobs: string[];
}
