import type { Readable } from 'node:stream';
import { discardFile, receiveFile, type ReceivedFile } from '@inference-server/blob-store';
import type { BlobReference } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { isPassing, retryPassing } from '../retry.js';

/**
 * Receives a zip into `<folder>/<name>.part` and holds it against its digest. A transfer that breaks
 * is begun again. The file is the caller's to remove; after a failure there is none.
 */
export async function fetchZip(
  open: () => Promise<Readable>,
  expected: BlobReference,
  { folder, name, signal }: { folder: string; name: string; signal: AbortSignal },
): Promise<ReceivedFile> {
  const fetch = async () => {
    const zip = await open();
    const file = await receiveFile(zip, { folder, name, maxBytes: expected.bytes, signal });
    if (file.sha256 === expected.sha256 && file.bytes === expected.bytes) return file;
    await discardFile(file);
    throw new AppError('INTERNAL', 'A zip came from private-api with another digest than stored.');
  };
  return retryPassing(fetch, { signal, forMs: retryForMs, passes: isBroken });
}

/** MALFORMED_REQUEST: what was received ended early. */
function isBroken(error: unknown): boolean {
  return isPassing(error) || (error instanceof AppError && error.code === 'MALFORMED_REQUEST');
}

const retryForMs = 15_000;
