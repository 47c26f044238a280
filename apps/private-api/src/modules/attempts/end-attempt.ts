import {
  backOffAfter,
  faultCauses,
  type FaultCause,
  type Usage,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Database, Queryable } from '../../database/database.js';
import { leaderValues, leadsSteadily, type SteadyLeader } from '../../database/leader.js';
import { markStored } from '../blobs/repository.js';
import { exceeds } from '../models/needs.js';
import { dropFilesOfDeleted } from '../tasks/dropped-files.js';
import { transition } from '../tasks/transitions.js';
import {
  hasLapsed,
  isCurrentLease,
  leaseValues,
  lockTask,
  type HeldAttempt,
} from './held-attempt.js';

/** What is kept of an attempt that ended. */
export interface AttemptEnd {
  outcome: 'finished' | 'failed' | 'fault' | 'released' | 'lost' | 'cancelled';
  /** Of a failure: the contract's reason; of a fault: its cause. */
  reason: string | null;
  detail: string;
  exitCode: number | null;
  log: string | null;
  usage: Usage | null;
}

/** Ends the attempt; false: the lease is not current, nothing was changed. */
export async function endHeld(tx: Queryable, held: HeldAttempt, end: AttemptEnd): Promise<boolean> {
  const rows = await tx.query(
    `UPDATE attempts
        SET ended_at = now(), outcome = $6::attempt_outcome, reason = $7, detail = $8,
            exit_code = $9, log = $10, usage = $11
      WHERE ${isCurrentLease}
     RETURNING number`,
    [...leaseValues(held), end.outcome, end.reason, end.detail, end.exitCode, end.log, end.usage],
  );
  return rows.length > 0;
}

/**
 * Keeps, of the model version of an attempt, the most that a run took of a GPU. Returns the
 * version when that is more than it says, and no run before has shown it.
 */
export async function notePeak(
  tx: Queryable,
  { taskUid }: Pick<HeldAttempt, 'taskUid'>,
  peakMib: number,
): Promise<ExceedingVersion | undefined> {
  const [noted] = await tx.query<Omit<ExceedingVersion, 'peakMib'> & { isNew: boolean }>(
    `UPDATE model_versions v SET gpu_memory_peak_mib = $2
       FROM tasks t, model_versions before
      WHERE t.uid = $1 AND v.id = t.model_version_id AND before.id = v.id
        AND $2 > coalesce(v.gpu_memory_peak_mib, 0)
     RETURNING v.human_readable_id AS model, v.number AS version, v.gpu_memory_mib AS "saidMib",
               ${exceeds('v')} AND NOT ${exceeds('before')} AS "isNew"`,
    [taskUid, peakMib],
  );
  if (noted?.isNew !== true) return undefined;
  const { model, version, saidMib } = noted;
  return { model, version, saidMib, peakMib };
}

export interface ExceedingVersion {
  model: string;
  version: number;
  saidMib: number;
  peakMib: number;
}

/** Throws CONFLICT when the attempt's stored output is another than the one meant. */
export async function finishTask(
  tx: Queryable,
  { taskUid, attempt }: HeldAttempt,
  sha256: string,
): Promise<void> {
  const [output] = await tx.query<{ id: string; bytes: string; owner: string }>(
    `SELECT b.id, b.bytes, t.owner
       FROM attempts a JOIN blobs b ON b.id = a.output_blob_id JOIN tasks t ON t.uid = a.task_uid
      WHERE a.task_uid = $1 AND a.number = $2 AND b.sha256 = $3`,
    [taskUid, attempt, sha256],
  );
  if (
    output === undefined ||
    !(await markStored(tx, { ...output, bytes: Number(output.bytes), sha256 }, output.owner))
  ) {
    throw new AppError('CONFLICT', 'The settlement names an output that is not stored.');
  }
  await tx.query(
    `UPDATE tasks SET state = ${accepted.to}, output_blob_id = $3, ended_at = now()
      WHERE uid = $1 AND attempt = $2 AND state IN ${accepted.from}`,
    [taskUid, attempt, output.id],
  );
}

const accepted = transition('output_accepted');

/**
 * Moves a task on whose attempt ended without a result. A cancel that was asked for comes true. A
 * fault or a lost lease gives the next attempt while fewer than `maxAttempts` of the task's attempts
 * ended so, after a pause; a model's own failure does while the model asks for retries; an attempt
 * that was given back does always, and counts towards nothing. The task is locked. Returns the
 * blobs that nothing refers to any more.
 */
export async function moveOn(
  tx: Queryable,
  uid: string,
  { outcome, reason }: Pick<AttemptEnd, 'outcome' | 'reason'>,
  maxAttempts: number,
): Promise<string[]> {
  const [past] = await tx.query<Past>(
    `SELECT t.cancel_requested_at IS NOT NULL AS "cancelRequested", v.retries,
            count(*) FILTER (WHERE a.outcome IN ('fault', 'lost'))::int AS faults,
            count(*) FILTER (WHERE a.outcome = 'failed')::int AS failures
       FROM tasks t
       JOIN model_versions v ON v.id = t.model_version_id
       JOIN attempts a ON a.task_uid = t.uid
      WHERE t.uid = $1 GROUP BY t.uid, v.retries`,
    [uid],
  );
  const { cancelRequested = false, faults = 0, failures = 0, retries = 0 } = past ?? {};
  const isFault = outcome === 'fault' || outcome === 'lost';
  const again =
    outcome === 'released' ||
    (isFault && faults < maxAttempts) ||
    (outcome === 'failed' && failures <= retries);
  const pauseS = isFault ? backOffAfter(causeOf(reason), faults) : 0;
  if (cancelRequested) await tx.query(cancelled, [uid]);
  else if (again) await tx.query(retried, [uid, pauseS]);
  else await tx.query(failed, [uid]);
  return dropFilesOfDeleted(tx, uid);
}

interface Past {
  cancelRequested: boolean;
  faults: number;
  failures: number;
  retries: number;
}

const retry = transition('attempt_retried');
const retried = `
  UPDATE tasks
     SET state = ${retry.to}, attempt = attempt + 1, not_before = now() + $2 * interval '1 second'
   WHERE uid = $1 AND state IN ${retry.from}`;

const failed = endBy('attempt_failed');
const cancelled = endBy('cancelled');

function endBy(event: 'attempt_failed' | 'cancelled'): string {
  const { from, to } = transition(event);
  return `UPDATE tasks SET state = ${to}, ended_at = now() WHERE uid = $1 AND state IN ${from}`;
}

/** Ends the attempt if its lease has still lapsed and `leader` leads; undefined when it did not. */
export async function endIfLapsed(
  database: Database,
  uid: string,
  number: number,
  maxAttempts: number,
  leader: SteadyLeader,
): Promise<string[] | undefined> {
  return database.transaction(async (tx) => {
    await lockTask(tx, uid);
    const rows = await tx.query(
      `UPDATE attempts SET ended_at = now(), outcome = 'lost', reason = 'lease_lost',
              detail = 'The consumer that ran the task was not heard of any more.'
        WHERE task_uid = $4 AND number = $5 AND ${hasLapsed} AND ${leadsSteadily}
       RETURNING number`,
      [...leaderValues(leader), uid, number],
    );
    if (rows.length === 0) return undefined;
    return moveOn(tx, uid, { outcome: 'lost', reason: 'lease_lost' }, maxAttempts);
  });
}

function causeOf(reason: string | null): FaultCause {
  return reason !== null && reason in faultCauses ? (reason as FaultCause) : 'internal';
}
