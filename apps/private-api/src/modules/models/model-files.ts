import type { StagingSpace } from '@inference-server/blob-store';
import { AppError } from '@inference-server/errors';
import type { FormText } from '../../http/form-text.js';
import type { ZipUploadReader } from '../../http/zip-upload.js';
import type { BlobService, ReceivedBlob } from '../blobs/service.js';
import type { Registration } from './kinds.js';
import { refused } from './refused.js';
import type { ModelSource } from './sources/model-source.js';

/** How the files of a model come: with the request, or from where its `model_url` says; through the same gate. */
export function createModelFiles(deps: {
  blobs: BlobService;
  sources: ModelSource;
  space: StagingSpace;
  maxBytes: number;
  /** Throws QUOTA_EXCEEDED when the owner may not store so many bytes more. */
  requireRoom: (owner: string, bytes: number) => Promise<void>;
}) {
  const { blobs, sources, space, maxBytes, requireRoom } = deps;

  /** Leaves nothing behind when it throws. */
  async function fetchFrom(url: string, owner: string, signal: AbortSignal): Promise<ReceivedBlob> {
    const { stream, bytes } = await sources.open(url, signal);
    try {
      if ((bytes ?? 0) > maxBytes) throw tooLarge();
      await requireRoom(owner, bytes ?? 0);
      const reserved = await space.reserve(bytes);
      try {
        return await blobs.receive({ stream, space: reserved }, { kind: 'model', signal });
      } finally {
        reserved.release();
      }
    } finally {
      stream.destroy();
    }
  }

  return {
    /**
     * Held against what the registration says; the `text` of a form is read on the way. Whether a zip that was
     * not announced is that of a runtime model, it says itself.
     */
    async receive(
      registration: Registration,
      owner: string,
      { upload, text, signal }: { upload: ZipUploadReader; text: FormText; signal: AbortSignal },
    ): Promise<ReceivedBlob | null> {
      const { model_available: announced = false, model_url, kind } = registration;
      const files = await upload.read(
        (zip) => {
          if (model_url !== undefined) throw refused('model_url', 'comes beside zip_file');
          if (!announced && kind === 'batch') throw unannounced();
          return blobs.receive(zip, { kind: 'model', signal });
        },
        (received) => blobs.abandon(received.id),
        text,
      );
      if (model_url !== undefined) return fetchFrom(model_url, owner, signal);
      if (files === undefined) {
        if (!announced) return null;
        throw new AppError('VALIDATION_FAILED', '`model_available` comes without `zip_file`.', {
          extensions: { parameter: 'zip_file' },
        });
      }
      if (announced || kind === 'runtime' || files.contractFile !== undefined) return files;
      await blobs.abandon(files.id);
      throw unannounced();
    },
  };
}

function unannounced(): AppError {
  return new AppError('VALIDATION_FAILED', '`zip_file` comes without `model_available`.', {
    extensions: { parameter: 'model_available' },
  });
}

function tooLarge(): AppError {
  return new AppError('PAYLOAD_TOO_LARGE', 'The file is larger than this server accepts.', {
    extensions: { parameter: 'model_url' },
  });
}
