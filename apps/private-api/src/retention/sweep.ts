/** How much there is of something. */
export interface Amount {
  count: number;
  bytes: number;
}

/**
 * One rule about what goes, and when. All its times are the database's, or the disk's. Every write is
 * conditional and leaves what the next pass can go on with: two processes that sweep at once do no
 * harm, and neither does an end in the middle.
 */
export interface Sweep {
  name: string;
  /** What goes, for a person. */
  what: string;
  everyMs: number;
  /** Not before this process has led for so long: whoever the database was away for comes back first. */
  afterLeadingMs?: number;
  /** What would go now. Changes nothing. */
  look(signal: AbortSignal): Promise<Amount>;
  /** Takes some of it, in bounded memory; `more`: there is more to take at once. */
  take(signal: AbortSignal): Promise<Amount & { more: boolean }>;
}

/** How many rows a statement takes. */
export const batchSize = 500;

export const nothing: Amount = { count: 0, bytes: 0 };
