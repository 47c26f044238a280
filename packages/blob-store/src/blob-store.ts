import type { Readable } from 'node:stream';
import { AppError } from '@inference-server/errors';

/** A file that was received whole, with what it holds. */
export interface ReceivedFile {
  path: string;
  bytes: number;
  /** Lower-case hexadecimal. */
  sha256: string;
}

/** Inclusive byte positions, counted from 0. */
export interface ByteRange {
  start: number;
  end: number;
}

export interface OpenBlob {
  /** The size of the whole blob, whatever range was asked for. */
  bytes: number;
  /** Read it to its end or destroy it: it holds the blob open. */
  stream: Readable;
}

/** A file as the store lists it. */
export interface ListedFile {
  /** The id of a blob; the file's name in the staging folder. */
  name: string;
  bytes: number;
  /** How long ago it was last written, by the store's own clock. */
  ageMs: number;
}

/**
 * Where zips are kept. An id is a lower-case UUID, anything else is VALIDATION_FAILED. A blob never
 * changes: it is there whole or not at all. Faults of the store are INTERNAL, a full one is
 * STORAGE_FULL, an aborted call throws the signal's reason.
 */
export interface BlobStore {
  /** Where uploads are received; on the store's own file system where it has one. */
  readonly stagingFolder: string;

  /**
   * Takes a received file over. Durable when it resolves, and the file is gone from its old place.
   * The same call again after a success does nothing.
   */
  put(id: string, file: ReceivedFile, signal: AbortSignal): Promise<void>;

  /**
   * Undefined when there is no such blob. A range may reach past the end; one that starts there is
   * VALIDATION_FAILED.
   */
  open(
    id: string,
    options: { signal: AbortSignal; range?: ByteRange },
  ): Promise<OpenBlob | undefined>;

  /** Resolves also when there is no such blob. */
  remove(id: string, signal: AbortSignal): Promise<void>;

  /** How large a blob is, without opening it; undefined when there is no such blob. */
  size(id: string, signal: AbortSignal): Promise<number | undefined>;

  /**
   * Every blob, in batches of at most 500 and in no order. What comes or goes meanwhile may be left
   * out; what is no blob is.
   */
  list(signal: AbortSignal): AsyncIterable<ListedFile[]>;

  /** The same for what lies in the staging folder. */
  listStaged(signal: AbortSignal): AsyncIterable<ListedFile[]>;

  /** Removes a file of the staging folder; resolves also when there is none of that name. */
  removeStaged(name: string, signal: AbortSignal): Promise<void>;

  /** Who has claimed the store; undefined: nobody yet. */
  owner(signal: AbortSignal): Promise<string | undefined>;

  /** Claims the store for good. The first claim stands: of a later one nothing is left. */
  claim(owner: string, signal: AbortSignal): Promise<void>;

  /** Throws SERVICE_UNAVAILABLE when the store cannot be written to, STORAGE_FULL when it is full. */
  check(signal: AbortSignal): Promise<void>;
}

/** Every adapter's guard: an id becomes part of a path or a key. */
export function assertBlobId(id: string): void {
  if (!isBlobId(id)) {
    throw new AppError('VALIDATION_FAILED', 'The id of a blob must be a lower-case UUID.');
  }
}

export function isBlobId(id: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id);
}

/** The same for the name of a staged file. */
export function assertStagedName(name: string): void {
  if (isStagedName(name)) return;
  throw new AppError('VALIDATION_FAILED', 'The name of a staged file is out of form.');
}

export function isStagedName(name: string): boolean {
  return /^[\w-][\w.-]*$/.test(name);
}
