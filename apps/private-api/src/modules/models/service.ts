import type { Model, QueryOf, routes } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { readAgain } from '../../database/read-again.js';
import type { ZipUploadReader } from '../../http/zip-upload.js';
import type { BlobService, PendingBlob } from '../blobs/service.js';
import type { ModelRepository, NewModel } from './repository.js';

export type ModelService = ReturnType<typeof createModelService>;

/** Registration: a name, an image, and the files for /model where the model has some. */
export function createModelService(deps: {
  models: ModelRepository;
  blobs: BlobService;
  newVersionId: () => string;
  /** What a model may ask for at most. */
  limits: { runTimeoutS: number; retentionS: number };
}) {
  const { models, blobs, limits } = deps;

  return {
    async register(
      query: QueryOf<typeof routes.postModel>,
      upload: ZipUploadReader,
      signal: AbortSignal,
    ): Promise<Model> {
      const { human_readable_id: humanReadableId, model_available: withFiles = false } = query;
      requireAtMost(query.timeout_s, limits.runTimeoutS, 'timeout_s', 'MAX_RUN_TIMEOUT_S');
      requireAtMost(query.retention_s, limits.retentionS, 'retention_s', 'OUTPUT_RETENTION_S');
      if (await models.exists(humanReadableId)) throw modelExists();
      const files = await receiveFiles(upload, withFiles, signal);
      const versionId = deps.newVersionId();
      try {
        const model: NewModel = {
          versionId,
          humanReadableId,
          containerTag: query.container_tag,
          description: query.description ?? '',
          useGpu: query.use_gpu ?? false,
          pullPolicy: query.pull_policy ?? 'missing',
          timeoutS: query.timeout_s ?? null,
          retentionS: query.retention_s ?? null,
          files,
        };
        return await models
          .insert(model)
          .catch((error: unknown) => readAgain(error, () => models.inserted(versionId)));
      } catch (error) {
        if (files !== null) await blobs.abandon(files.id);
        // Two registrations of one name at the same time: the database lets one in.
        throw error instanceof AppError && error.code === 'CONFLICT' ? modelExists() : error;
      }
    },

    list: () => models.list(),
  };

  /** The uploaded files, held against what `model_available` says. */
  async function receiveFiles(
    upload: ZipUploadReader,
    expected: boolean,
    signal: AbortSignal,
  ): Promise<PendingBlob | null> {
    const files = await upload.read(
      (zip) => {
        if (!expected) {
          throw new AppError('VALIDATION_FAILED', '`zip_file` comes without `model_available`.', {
            extensions: { parameter: 'model_available' },
          });
        }
        return blobs.receive(zip, { kind: 'upload', signal });
      },
      (files) => blobs.abandon(files.id),
    );
    if (expected && files === undefined) {
      throw new AppError('VALIDATION_FAILED', '`model_available` comes without `zip_file`.', {
        extensions: { parameter: 'zip_file' },
      });
    }
    return files ?? null;
  }
}

function modelExists(): AppError {
  return new AppError('MODEL_EXISTS', 'A model of this human_readable_id is registered already.', {
    extensions: { parameter: 'human_readable_id' },
  });
}

function requireAtMost(
  asked: number | undefined,
  most: number,
  parameter: string,
  setting: string,
): void {
  if ((asked ?? 0) <= most) return;
  throw new AppError('VALIDATION_FAILED', `${parameter} is more than ${most} (${setting}).`, {
    extensions: { parameter },
  });
}
