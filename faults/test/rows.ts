import { randomBytes, randomUUID } from 'node:crypto';
import { anonymousOwner, isEnded, type TaskState } from '@inference-server/contracts';
import { createTestDatabase } from '@inference-server/testing';
import type { World } from '../src/world/world.js';

export interface NewTask {
  state: TaskState;
  deleted?: boolean;
  /** Of its model, see {@link Rows.version}. */
  version?: string;
  /** The number of its attempt now. Default: of the last one that there is. */
  attempt?: number;
  attempts?: readonly NewAttempt[];
  inputBlobId?: string;
  outputBlobId?: string;
  /** Default: of the public door. */
  owner?: string;
  /** Unix time, ms. Default: now. */
  createdAt?: number;
  /** Undefined: never. */
  fetchedAt?: number;
}

export interface NewAttempt {
  /** Undefined: it has no end. */
  outcome?: 'finished' | 'failed' | 'fault' | 'released' | 'lost' | 'cancelled';
  reason?: string;
  exitCode?: number;
  /** Seconds from now on. */
  leaseForS?: number;
  /** Unix time, ms. Default: now. */
  from?: number;
  until?: number;
}

/** A migrated database whose rows are whatever a test says. */
export interface Rows extends Pick<World, 'query'> {
  /** Of a model of its own; answers with its id. */
  version(of?: { name?: string; retries?: number; filesBlobId?: string }): Promise<string>;
  /** Answers with its uid. */
  task(task: NewTask): Promise<string>;
  /** Answers with its id. */
  blob(blob: { state?: string; bytes?: number; sha256?: string }): Promise<string>;
  /** Removes all tasks and blobs. */
  clear(): Promise<void>;
}

export async function openRows(): Promise<Rows> {
  const database = await createTestDatabase();
  const query = async <Row extends object>(sql: string, values: readonly unknown[] = []) =>
    (await database.query(sql, values)) as Row[];

  const version: Rows['version'] = async ({
    name = randomUUID(),
    retries = 0,
    filesBlobId,
  } = {}) => {
    const id = randomUUID();
    await query(
      `INSERT INTO models (human_readable_id, description, current_version) VALUES ($1, '', 1)`,
      [name],
    );
    await query(
      `INSERT INTO model_versions
         (id, human_readable_id, number, container_tag, use_gpu, pull_policy, retries, files_blob_id)
       VALUES ($1, $2, 1, 'script:1', false, 'missing', $3, $4)`,
      [id, name, retries, filesBlobId],
    );
    return id;
  };
  const plain = await version();
  return {
    query,
    version,
    async task({ state, deleted = false, attempts = [], ...task }) {
      const uid = newUid();
      await query(
        `INSERT INTO tasks (uid, model_version_id, state, attempt, input_blob_id,
                            output_blob_id, ended_at, deleted_at, owner, created_at, fetched_at)
         VALUES ($1, $2, $3::task_state, $4, $5, $6,
                 CASE WHEN $7::boolean THEN now() END, CASE WHEN $8::boolean THEN now() END,
                 $9, $10, $11)`,
        [
          uid,
          task.version ?? plain,
          state,
          task.attempt ?? Math.max(1, attempts.length),
          task.inputBlobId,
          task.outputBlobId,
          isEnded(state),
          deleted,
          task.owner ?? anonymousOwner,
          new Date(task.createdAt ?? Date.now()),
          task.fetchedAt === undefined ? undefined : new Date(task.fetchedAt),
        ],
      );
      for (const [at, attempt] of attempts.entries()) {
        const {
          outcome,
          reason,
          exitCode,
          leaseForS = 30,
          from = Date.now(),
          until = from,
        } = attempt;
        const endedAt = outcome === undefined ? undefined : new Date(until);
        await query(
          `INSERT INTO attempts (task_uid, number, consumer_id, epoch, holder, lease_until,
                                 claimed_at, ended_at, outcome, reason, exit_code)
           VALUES ($1, $2, 'consumer', 1, 'holder', now() + $3 * interval '1 s', $4, $5,
                   $6::attempt_outcome, $7, $8)`,
          [uid, at + 1, leaseForS, new Date(from), endedAt, outcome, reason, exitCode],
        );
      }
      return uid;
    },
    async blob({ state = 'stored', bytes, sha256 }) {
      const id = randomUUID();
      await query(
        `INSERT INTO blobs (id, state, bytes, sha256) VALUES ($1, $2::blob_state, $3, $4)`,
        [id, state, bytes, sha256],
      );
      return id;
    },
    async clear() {
      await query(
        `DELETE FROM attempts; DELETE FROM tasks; UPDATE model_versions SET files_blob_id = NULL;
         DELETE FROM blobs`,
      );
    },
  };
}

export function newUid(): string {
  return randomBytes(32).toString('base64url');
}
