import type { Readable } from 'node:stream';
import { discardFile, receiveFile, type ReceivedFile } from '@inference-server/blob-store';
import type { BlobReference } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { PrivateApiError } from '../private-api-call.js';
import { isPassing, retryPassing } from '../retry.js';

/**
 * Receives a zip into `<folder>/<name>.part` and holds it against its digest. A transfer that breaks
 * is begun again, for 15 s; while private-api or its blob store is away for as long as `signal` lets
 * it: another attempt would find them away as well. The file is the caller's to remove; after a
 * failure there is none.
 */
export async function fetchZip(
  open: () => Promise<Readable>,
  expected: BlobReference,
  options: {
    folder: string;
    name: string;
    signal: AbortSignal;
    onRetry: (error: unknown) => void;
  },
): Promise<ReceivedFile> {
  const { folder, name, signal, onRetry } = options;
  const fetch = async () => {
    const zip = await open();
    const file = await receiveFile(zip, { folder, name, maxBytes: expected.bytes, signal }).finally(
      // What was not read would keep its connection.
      () => zip.destroy(),
    );
    if (file.sha256 === expected.sha256 && file.bytes === expected.bytes) return file;
    await discardFile(file);
    const detail = 'A zip came from private-api with another digest than stored.';
    throw new PrivateApiError('INTERNAL', detail);
  };
  const untilItIsThere = () =>
    retryPassing(fetch, { signal, forMs: Number.POSITIVE_INFINITY, passes: isAway, onRetry });
  return retryPassing(untilItIsThere, { signal, forMs: retryForMs, passes: isBroken, onRetry });
}

function isAway(error: unknown): boolean {
  return error instanceof AppError && error.code === 'SERVICE_UNAVAILABLE';
}

/** MALFORMED_REQUEST: what was received ended early. */
function isBroken(error: unknown): boolean {
  return isPassing(error) || (error instanceof AppError && error.code === 'MALFORMED_REQUEST');
}

const retryForMs = 15_000;
