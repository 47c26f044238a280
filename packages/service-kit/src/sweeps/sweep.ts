/** How much there is of something. */
export interface Amount {
  count: number;
  /** Of what has a length that is known. */
  bytes: number;
}

/**
 * One rule about what goes. Two processes that sweep at once do no harm, and neither does an end in
 * the middle: the next pass goes on with what that leaves.
 */
export interface Sweep {
  name: string;
  /** What goes, for a person. */
  what: string;
  /** What would go now. Changes nothing. */
  look(signal: AbortSignal): Promise<Amount>;
  /** Takes some of it, in bounded memory; `more`: there is more to take at once. */
  take(signal: AbortSignal): Promise<Amount & { more: boolean }>;
}

export const nothing: Amount = { count: 0, bytes: 0 };
