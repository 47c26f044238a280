import { fileURLToPath } from 'node:url';
import { AppError } from '@inference-server/errors';
import type { BlobStore } from './blob-store.js';
import { createDiskBlobStore } from './disk-blob-store.js';

/**
 * The store that STORAGE_URL names: a path or `file:///absolute/path` is a folder on disk, made
 * when absent. Anything else is VALIDATION_FAILED.
 */
export async function openBlobStore(url: string): Promise<BlobStore> {
  return createDiskBlobStore({ root: folderOf(url) });
}

function folderOf(url: string): string {
  // Only the scheme is repeated in a message: the rest may hold credentials.
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(url)?.[1]?.toLowerCase();
  if (url === '') throw invalid('it is empty');
  if (scheme === undefined) return url;
  if (scheme !== 'file') throw invalid(`the scheme ${scheme}: is not supported`);
  try {
    return fileURLToPath(url);
  } catch (error) {
    throw invalid('it is not a local file: URL', error);
  }
}

function invalid(what: string, cause?: unknown): AppError {
  return new AppError(
    'VALIDATION_FAILED',
    `STORAGE_URL: ${what}. Give a path or file:///absolute/path.`,
    { cause, extensions: { parameter: 'STORAGE_URL' } },
  );
}
