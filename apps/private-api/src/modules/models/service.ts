import type { Model, QueryOf, routes } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { ZipUploadReader } from '../../http/zip-upload.js';
import type { BlobService, PendingBlob } from '../blobs/service.js';
import type { ModelRepository } from './repository.js';

export type ModelService = ReturnType<typeof createModelService>;

/** Registration: a name, an image, and the files for /model where the model has some. */
export function createModelService(deps: { models: ModelRepository; blobs: BlobService }) {
  const { models, blobs } = deps;

  return {
    async register(
      query: QueryOf<typeof routes.postModel>,
      upload: ZipUploadReader,
      signal: AbortSignal,
    ): Promise<Model> {
      const { human_readable_id: humanReadableId, model_available: withFiles = false } = query;
      if (await models.exists(humanReadableId)) throw modelExists();
      const files = await receiveFiles(upload, withFiles, signal);
      try {
        return await models.insert({
          humanReadableId,
          containerTag: query.container_tag,
          description: query.description ?? '',
          useGpu: query.use_gpu ?? false,
          pullPolicy: query.pull_policy ?? 'missing',
          timeoutS: query.timeout_s ?? null,
          retries: query.retries ?? 0,
          files,
        });
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
