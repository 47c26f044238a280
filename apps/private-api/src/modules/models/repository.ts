import type { Model, PullPolicy } from '@inference-server/contracts';
import type { Database } from '../../database/database.js';
import { requireStored } from '../blobs/repository.js';
import type { PendingBlob } from '../blobs/service.js';

export type ModelRepository = ReturnType<typeof createModelRepository>;

export interface NewModel {
  versionId: string;
  humanReadableId: string;
  containerTag: string;
  description: string;
  useGpu: boolean;
  pullPolicy: PullPolicy;
  timeoutS: number | null;
  retentionS: number | null;
  files: PendingBlob | null;
}

interface ModelRow {
  human_readable_id: string;
  number: number;
  container_tag: string;
  description: string;
  files_blob_id: string | null;
  use_gpu: boolean;
  pull_policy: PullPolicy;
  timeout_s: number | null;
  retention_s: number | null;
  created_at: Date;
}

export function createModelRepository(database: Database) {
  return {
    async exists(humanReadableId: string): Promise<boolean> {
      const found = await database.prismaCall((prisma) =>
        prisma.model.findUnique({ where: { humanReadableId }, select: { humanReadableId: true } }),
      );
      return found !== null;
    },

    /** The model with its first version, and its files stored. Throws CONFLICT when it exists. */
    async insert(model: NewModel): Promise<Model> {
      return database.transaction(async (tx) => {
        await tx.query(
          `INSERT INTO models (human_readable_id, description, current_version) VALUES ($1, $2, 1)`,
          [model.humanReadableId, model.description],
        );
        if (model.files !== null) await requireStored(tx, model.files);
        const [row] = await tx.query<ModelRow>(
          `INSERT INTO model_versions
             (human_readable_id, number, container_tag, use_gpu, pull_policy, timeout_s, files_blob_id,
              retention_s, id)
           VALUES ($1, 1, $2, $3, $4::pull_policy, $5, $6, $8, $9)
           RETURNING *, $7::text AS description`,
          [
            model.humanReadableId,
            model.containerTag,
            model.useGpu,
            model.pullPolicy,
            model.timeoutS,
            model.files?.id ?? null,
            model.description,
            model.retentionS,
            model.versionId,
          ],
        );
        return toModel(row as ModelRow);
      });
    },

    /** The model whose first version has this id, if it is there. */
    async inserted(versionId: string): Promise<Model | undefined> {
      const [row] = await database.query<ModelRow>(
        `SELECT v.*, m.description, m.created_at
           FROM model_versions v JOIN models m ON m.human_readable_id = v.human_readable_id
          WHERE v.id = $1`,
        [versionId],
      );
      return row && toModel(row);
    },

    /** Every model at its current version, by name. */
    async list(): Promise<Model[]> {
      const rows = await database.query<ModelRow>(
        `SELECT v.*, m.description, m.created_at
           FROM models m
           JOIN model_versions v
             ON v.human_readable_id = m.human_readable_id AND v.number = m.current_version
          ORDER BY m.human_readable_id`,
      );
      return rows.map(toModel);
    },

    /** The current version of a model: what a new task is bound to. */
    async currentVersion(humanReadableId: string): Promise<{ id: string } | undefined> {
      const [row] = await database.query<{ id: string }>(
        `SELECT v.id
           FROM models m
           JOIN model_versions v
             ON v.human_readable_id = m.human_readable_id AND v.number = m.current_version
          WHERE m.human_readable_id = $1`,
        [humanReadableId],
      );
      return row;
    },
  };
}

function toModel(row: ModelRow): Model {
  return {
    human_readable_id: row.human_readable_id,
    version: row.number,
    container_tag: row.container_tag,
    description: row.description,
    model_available: row.files_blob_id !== null,
    use_gpu: row.use_gpu,
    pull_policy: row.pull_policy,
    timeout_s: row.timeout_s,
    retention_s: row.retention_s,
    created_at: row.created_at.toISOString(),
  };
}
