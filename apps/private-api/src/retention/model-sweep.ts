import type { Logger } from '@inference-server/service-kit';
import type { BlobService } from '../modules/blobs/service.js';
import type { ModelRepository } from '../modules/models/repository.js';

/**
 * Removes the files of model versions that are of no use any more: the model was deleted, or has a
 * next version, and the last of the tasks with this one has ended. Returns how many. Two that sweep
 * at once share the work; a crash leaves blobs marked for removal.
 */
export async function sweepModels({
  models,
  blobs,
  logger,
}: {
  models: Pick<ModelRepository, 'releaseFiles'>;
  blobs: Pick<BlobService, 'removeMarked'>;
  logger: Logger;
}): Promise<number> {
  for (let removed = 0; ;) {
    const released = await models.releaseFiles(batchSize);
    await blobs.removeMarked(released.map(({ blobId }) => blobId));
    for (const { humanReadableId, version, bytes } of released) {
      logger.info({ model: humanReadableId, version, bytes }, 'removed the files of a model');
    }
    removed += released.length;
    if (released.length < batchSize) return removed;
  }
}

const batchSize = 100;
