import { isDeepStrictEqual } from 'node:util';
import {
  usualRights,
  type AuditAction,
  type Model,
  type ModelContract,
  type ModelKind,
  type Needs,
  type PullPolicy,
  type Rights,
  type RuntimeSettings,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Database, Queryable } from '../../database/database.js';
import { writeAudit, type Actor } from '../audit/repository.js';
import { requireStored } from '../blobs/repository.js';
import type { PendingBlob } from '../blobs/service.js';
import { kindColumns, type KindOfModel } from './kinds.js';
import { lockQualifiedName, requireNoNamesake, requireOwner } from './names.js';
import { needsColumns, needsOf } from './needs.js';

export type ModelRepository = ReturnType<typeof createModelRepository>;

/** Who registers or changes a model. */
export interface Publisher {
  by: Actor;
  /** Whose models alone they may change; null: everybody's. */
  onlyOf: string | null;
}

export interface NewModel extends KindOfModel {
  /** Tells a write whose answer was lost from another's. */
  versionId: string;
  humanReadableId: string;
  /** Who registers it; of a new model: whose it is. */
  by: Actor;
  containerTag: string;
  description: string;
  needs: Needs;
  rights: Rights;
  pullPolicy: PullPolicy;
  timeoutS: number | null;
  retries: number;
  /** How long outputs, inputs and logs are kept at most (s). */
  retentionS: number | null;
  inputRetentionS: number | null;
  logRetentionS: number | null;
  files: PendingBlob | null;
}

interface ModelRow extends RuntimeSettings {
  kind: ModelKind;
  contract: ModelContract | null;
  human_readable_id: string;
  number: number;
  container_tag: string;
  description: string;
  files_sha256: string | null;
  needs: Needs;
  rights: Partial<Rights>;
  gpu_memory_peak_mib: number | null;
  pull_policy: PullPolicy;
  timeout_s: number | null;
  retries: number;
  retention_s: number | null;
  input_retention_s: number | null;
  log_retention_s: number | null;
  created_at: Date;
}

export function createModelRepository(database: Database) {
  return {
    /**
     * The model with its next version, and its files stored. Throws CONFLICT when it exists; not when
     * it is the one that was made with the same `versionId`. Throws FORBIDDEN for the name of a model that was
     * deleted and not of `onlyOf` (null: anybody's): who posts to it means that one's. Throws as
     * {@link requireNoNamesake} does.
     */
    async insert(model: NewModel, onlyOf: string | null): Promise<Model> {
      return database.transaction(async (tx) => {
        const { version, owner, current } = await lockName(tx, model.humanReadableId);
        const made = await findVersion(tx, model.versionId);
        if (made !== undefined) return toModel(made);
        if (current !== undefined) throw new AppError('CONFLICT', 'A model of that name exists.');
        if (version > 0) requireOwner(owner, onlyOf);
        await requireNoNamesake(tx, model.humanReadableId, onlyOf);
        await noteModel(tx, 'register_model', model);
        return addVersion(tx, model, version + 1);
      });
    },

    /**
     * The model as it is from now on: with its next version and its files stored, or, when nothing
     * but its description differs, at the version that it has, the files not taken. Asked again with
     * the same `versionId`, it makes no second version. Throws FORBIDDEN for a model that is there, or was,
     * and not of `onlyOf` (null: anybody's). Throws as {@link requireNoNamesake} does.
     */
    async put(
      model: NewModel,
      onlyOf: string | null,
    ): Promise<{ model: Model; isNewVersion: boolean }> {
      return database.transaction(async (tx) => {
        const { version, owner, current } = await lockName(tx, model.humanReadableId);
        if (version > 0) requireOwner(owner, onlyOf);
        const made = await findVersion(tx, model.versionId);
        if (made !== undefined) return { model: toModel(made), isNewVersion: true };
        await requireNoNamesake(tx, model.humanReadableId, onlyOf);
        await noteModel(tx, 'put_model', model);
        if (current === undefined || !runsAlike(current, model)) {
          return { model: await addVersion(tx, model, version + 1, current), isNewVersion: true };
        }
        await tx.query(`UPDATE models SET description = $2 WHERE human_readable_id = $1`, [
          model.humanReadableId,
          model.description,
        ]);
        return {
          model: toModel({ ...current, description: model.description }),
          isNewVersion: false,
        };
      });
    },

    /**
     * False when there is no such model. Waits for the tasks that are being bound to it. Throws FORBIDDEN
     * when it is not of `onlyOf` (null: anybody's).
     */
    async delete(humanReadableId: string, { by, onlyOf }: Publisher): Promise<boolean> {
      return database.transaction(async (tx) => {
        const [living] = await tx.query<{ owner: string }>(
          `SELECT owner FROM models WHERE human_readable_id = $1 AND deleted_at IS NULL FOR UPDATE`,
          [humanReadableId],
        );
        if (living === undefined) return false;
        requireOwner(living.owner, onlyOf);
        await noteModel(tx, 'delete_model', { by, humanReadableId });
        await tx.query(`UPDATE models SET deleted_at = now() WHERE human_readable_id = $1`, [
          humanReadableId,
        ]);
        return true;
      });
    },

    /** Throws FORBIDDEN when the model is there and not of `onlyOf` (null: anybody's). */
    async requireOwner(humanReadableId: string, onlyOf: string | null): Promise<void> {
      const [model] = await database.query<{ owner: string }>(
        `SELECT owner FROM models WHERE human_readable_id = $1 AND deleted_at IS NULL`,
        [humanReadableId],
      );
      if (model !== undefined) requireOwner(model.owner, onlyOf);
    },

    requireNoNamesake: (humanReadableId: string, onlyOf: string | null) =>
      requireNoNamesake(database, humanReadableId, onlyOf),

    /** The model at its current version; undefined when there is none, or none any more. */
    async find(humanReadableId: string): Promise<Model | undefined> {
      const row = await findCurrent(database, humanReadableId);
      return row && toModel(row);
    },

    /** Every model at its current version, by name. */
    async list(): Promise<Model[]> {
      const rows = await database.query<ModelRow>(
        `${currentVersions} ORDER BY m.human_readable_id`,
      );
      return rows.map(toModel);
    },

    /** Those of the versions that are of no use, or not known at all. */
    async unused(versionIds: readonly string[]): Promise<string[]> {
      const rows = await database.query<{ id: string }>(
        `SELECT asked.id FROM unnest($1::uuid[]) AS asked(id)
          WHERE NOT EXISTS (
            SELECT 1 FROM model_versions v JOIN models m USING (human_readable_id)
             WHERE v.id = asked.id AND ${isOfUse})`,
        [versionIds],
      );
      return rows.map(({ id }) => id);
    },
  };
}

/**
 * The number of the model's current version, which stays the current one until `tx` ends: a next
 * version and a deletion wait for it, other tasks do not. So none is bound to a version whose files
 * are about to go. Throws MODEL_NOT_FOUND.
 */
export async function requireCurrentVersion(
  tx: Queryable,
  humanReadableId: string,
): Promise<number> {
  const [model] = await tx.query<{ version: number }>(
    `SELECT current_version AS version FROM models
      WHERE human_readable_id = $1 AND deleted_at IS NULL FOR KEY SHARE`,
    [humanReadableId],
  );
  if (model === undefined) throw modelNotFound();
  return model.version;
}

type NoteOfModel = Pick<NewModel, 'by' | 'humanReadableId'> & { containerTag?: string };

function noteModel(
  tx: Queryable,
  action: AuditAction,
  { by, humanReadableId: id, containerTag }: NoteOfModel,
): Promise<void> {
  const details = containerTag === undefined ? {} : { container_tag: containerTag };
  return writeAudit(tx, { by, action, object: { kind: 'model', id }, details });
}

export function modelNotFound(): AppError {
  return new AppError('MODEL_NOT_FOUND', 'There is no model of this human_readable_id.', {
    extensions: { parameter: 'human_readable_id' },
  });
}

/** Of a post of a task. */
export function runsNoTasks(): AppError {
  return new AppError(
    'VALIDATION_FAILED',
    'The model is a runtime model, which answers calls and runs no tasks: POST /api/models/{human_readable_id}/predict.',
    { extensions: { parameter: 'human_readable_id' } },
  );
}

/**
 * Of a version `v` of the model `m`: new tasks get it, or a task or a replica that has not ended has it. The
 * smallest is asked for, since Postgres reads that from the index; for whether there is any it would
 * rather read the table, and all of it when there is none.
 */
export const isOfUse = `(
  m.deleted_at IS NULL AND m.current_version = v.number
  OR (SELECT min(t.seq) FROM tasks t
       WHERE t.model_version_id = v.id AND t.state IN ('PENDING', 'QUEUED', 'RUNNING')) IS NOT NULL
  OR (SELECT min(r.state) FROM replicas r
       WHERE r.model_version_id = v.id AND r.state < 'ENDED') IS NOT NULL)`;

const versions = `
  SELECT v.human_readable_id, v.number, v.kind, v.contract, v.min_replicas, v.max_replicas, v.idle_timeout_s,
         v.target_in_flight, v.max_batch_size, v.max_delay_ms, v.container_tag, ${needsOf('v')} AS needs, v.rights,
         v.pull_policy, v.timeout_s,
         v.retries, v.retention_s, v.input_retention_s, v.log_retention_s, v.gpu_memory_peak_mib,
         m.description, m.created_at,
         f.sha256 AS files_sha256
    FROM models m
    JOIN model_versions v ON v.human_readable_id = m.human_readable_id
    LEFT JOIN blobs f ON f.id = v.files_blob_id`;

const currentVersions = `${versions} WHERE v.number = m.current_version AND m.deleted_at IS NULL`;

/**
 * Makes the name one's own until `tx` ends: a new name too, as that of a model that is deleted and
 * had no version. `version` is the highest number so far, `current` that of a model that lives.
 */
async function lockName(
  tx: Queryable,
  humanReadableId: string,
): Promise<{ version: number; owner: string; current: ModelRow | undefined }> {
  await lockQualifiedName(tx, humanReadableId);
  await tx.query(
    `INSERT INTO models (human_readable_id, description, current_version, deleted_at)
     VALUES ($1, '', 0, now()) ON CONFLICT (human_readable_id) DO NOTHING`,
    [humanReadableId],
  );
  const [name] = await tx.query<{ version: number; owner: string }>(
    `SELECT current_version AS version, owner FROM models WHERE human_readable_id = $1 FOR UPDATE`,
    [humanReadableId],
  );
  if (name === undefined) throw new AppError('INTERNAL', 'a name that was locked has no row');
  return { ...name, current: await findCurrent(tx, humanReadableId) };
}

async function findCurrent(
  from: Queryable,
  humanReadableId: string,
): Promise<ModelRow | undefined> {
  const [row] = await from.query<ModelRow>(`${currentVersions} AND m.human_readable_id = $1`, [
    humanReadableId,
  ]);
  return row;
}

async function findVersion(from: Queryable, versionId: string): Promise<ModelRow | undefined> {
  const [row] = await from.query<ModelRow>(`${versions} WHERE v.id = $1`, [versionId]);
  return row;
}

/** Whether a task, or a replica, of the one runs as one of the other does. */
function runsAlike(row: ModelRow, model: NewModel): boolean {
  return (
    row.container_tag === model.containerTag &&
    row.kind === model.kind &&
    isDeepStrictEqual(row.contract, model.contract) &&
    isDeepStrictEqual(runtimeOf(row), model.runtime) &&
    isDeepStrictEqual({ ...row.needs, gpu_memory_exceeded: false }, model.needs) &&
    isDeepStrictEqual({ ...usualRights, ...row.rights }, model.rights) &&
    row.pull_policy === model.pullPolicy &&
    row.timeout_s === model.timeoutS &&
    row.retries === model.retries &&
    row.retention_s === model.retentionS &&
    row.input_retention_s === model.inputRetentionS &&
    row.log_retention_s === model.logRetentionS &&
    row.files_sha256 === (model.files?.sha256 ?? null)
  );
}

/**
 * What the runs of the version `before` it were seen to take counts for the same image. Who had the name
 * before, and was deleted, does not count for when the model was registered.
 */
async function addVersion(
  tx: Queryable,
  model: NewModel,
  number: number,
  before?: ModelRow,
): Promise<Model> {
  if (model.files !== null) await requireStored(tx, model.files, model.by.owner);
  await tx.query(
    `INSERT INTO model_versions
       (human_readable_id, number, container_tag, pull_policy, timeout_s, retries, files_blob_id,
        retention_s, input_retention_s, log_retention_s, id, gpu_memory_peak_mib, rights, ${needsColumns}, ${kindColumns})
     SELECT $1, $2, $3, $4::pull_policy, $5, $6, $7, $8, $9, $10, $11, $12, $14, ${needsColumns}, ${kindColumns}
       FROM jsonb_populate_record(NULL::model_versions, $13::jsonb)`,
    [
      model.humanReadableId,
      number,
      model.containerTag,
      model.pullPolicy,
      model.timeoutS,
      model.retries,
      model.files?.id ?? null,
      model.retentionS,
      model.inputRetentionS,
      model.logRetentionS,
      model.versionId,
      before?.container_tag === model.containerTag ? before.gpu_memory_peak_mib : null,
      JSON.stringify({
        ...{ ...model.needs, ...model.runtime, kind: model.kind, contract: model.contract },
        has_contract_file: model.hasContractFile,
      }),
      JSON.stringify(model.rights),
    ],
  );
  await tx.query(
    `UPDATE models
        SET current_version = $2, description = $3, deleted_at = NULL,
            owner = CASE WHEN deleted_at IS NULL THEN owner ELSE $4 END,
            created_at = CASE WHEN deleted_at IS NULL THEN created_at ELSE now() END
      WHERE human_readable_id = $1`,
    [model.humanReadableId, number, model.description, model.by.owner],
  );
  const row = await findCurrent(tx, model.humanReadableId);
  if (row === undefined) throw new AppError('INTERNAL', 'a version that was added is not current');
  return toModel(row);
}

function toModel(row: ModelRow): Model {
  return {
    human_readable_id: row.human_readable_id,
    version: row.number,
    kind: row.kind,
    contract: row.contract,
    ...runtimeOf(row),
    container_tag: row.container_tag,
    description: row.description,
    model_available: row.files_sha256 !== null,
    ...row.needs,
    ...usualRights,
    ...row.rights,
    gpu_memory_peak_mib: row.gpu_memory_peak_mib,
    pull_policy: row.pull_policy,
    timeout_s: row.timeout_s,
    retries: row.retries,
    retention_s: row.retention_s,
    input_retention_s: row.input_retention_s,
    log_retention_s: row.log_retention_s,
    created_at: row.created_at.toISOString(),
  };
}

function runtimeOf(row: ModelRow): RuntimeSettings {
  const { min_replicas, max_replicas, idle_timeout_s } = row;
  const { target_in_flight, max_batch_size, max_delay_ms } = row;
  return {
    ...{ min_replicas, max_replicas, idle_timeout_s },
    ...{ target_in_flight, max_batch_size, max_delay_ms },
  };
}
