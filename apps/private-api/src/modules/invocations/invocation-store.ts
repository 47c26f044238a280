/** Whose invocation, and which: the ids of two owners have nothing to do with each other. */
export interface InvocationKey {
  owner: string;
  /** An int32. */
  id: number;
}

export interface InvocationRecord {
  /** What stands beside the content, as JSON. */
  head: string;
  /** The bytes themselves, or the id of the blob that has them. */
  content: Buffer | { blobId: string };
}

export interface OldInvocations {
  count: number;
  /** Of the heads, and of the contents that are no blobs. */
  bytes: number;
}

/**
 * Where invocations are kept. A record is there whole or not at all; of two that are put at once one wins.
 * All times are the store's own. Throws SERVICE_UNAVAILABLE while the store is away, within seconds, and
 * STORAGE_FULL when it has no room; what was put then may be there all the same.
 */
export interface InvocationStore {
  /**
   * Puts the record in the place of the one that is there, and tells the blob of that one, if it had one.
   * `keepS`: it is old after so long, however long others are kept.
   */
  put(
    key: InvocationKey,
    record: InvocationRecord,
    options?: { keepS?: number | undefined },
  ): Promise<string | undefined>;

  find(key: InvocationKey): Promise<InvocationRecord | undefined>;

  /** What an owner has stored: heads, and contents that are no blobs. */
  bytesOf(owner: string): Promise<number>;

  /** Of each key the blob that its record names now. */
  blobsOf(keys: readonly InvocationKey[]): Promise<(string | undefined)[]>;

  /** Of what was put at least so long ago, and of what is old by its own `keepS`. */
  countOld(ageS: number): Promise<OldInvocations>;

  /** Removes at most `limit` of those. */
  removeOld(ageS: number, limit: number): Promise<OldInvocations & { blobIds: string[] }>;

  close(): void;
}

/** What a record counts for: that of a blob is counted with the blobs. */
export function bytesOfRecord({ head, content }: InvocationRecord): number {
  return Buffer.byteLength(head) + (Buffer.isBuffer(content) ? content.length : 0);
}
