import { leaseS } from '../world/apps.js';

export interface AttemptRow {
  uid: string;
  number: number;
  consumerId: string;
  outcome: string | null;
  reason: string | null;
  detail: string | null;
  exitCode: number | null;
  /** Unix time, ms. */
  from: number;
  until: number;
}

/** A time (Unix, ms) in which consumers, their engines or their containers were lost. */
export interface Excuse {
  /** By what. */
  fault: string;
  /** The names of their processes. */
  consumers: readonly string[];
  from: number;
  until: number;
  /**
   * Not of every end: of leases that lapsed, of those of attempts whose renewals failed, of ends with a code
   * that their engine does not know, of what an engine has not told of memory, or of containers that it
   * stopped as soon as they had started.
   */
  isOf?:
    'lapsed leases' | 'unrenewed leases' | 'forgotten ends' | 'untold memory' | 'stopped starts';
  /** Of unrenewed leases: which attempts, by uid and number. */
  attempts?: readonly string[];
}

/** A fault, and the time (Unix, ms) from its task's post until the server had recovered. */
export interface Span {
  fault: string;
  from: number;
  until: number;
}

/** Whether the excuse lasts for so long that a lease may have lapsed in it: it is renewed every second. */
function isLongerThanLease({ from, until }: Excuse): boolean {
  return until - from >= (leaseS - 1.5) * 1000;
}

/** Whether what the attempt has come to needs no other reason than this one for the next to be started. */
export function excusesRestart(excuse: Excuse, attempt: AttemptRow): boolean {
  if (!isOf(attempt, excuse)) return false;
  if (excuse.isOf === 'untold memory') return false;
  if (excuse.isOf === 'forgotten ends') return attempt.exitCode === forgotten;
  if (excuse.isOf === 'stopped starts') {
    const isInterrupted = attempt.exitCode === stopped && attempt.reason === 'interrupted';
    return isInterrupted && attempt.from >= excuse.from - startedWithinMs;
  }
  const isLapse = attempt.outcome === 'lost' && isLongerThanLease(excuse);
  if (excuse.isOf === 'unrenewed leases') {
    return isLapse && excuse.attempts?.includes(`${attempt.uid}.${attempt.number}`) === true;
  }
  return excuse.isOf !== 'lapsed leases' || isLapse;
}

/** What an engine says that was away when its container ended. */
export const forgotten = 255;

/** 128 and the number of SIGTERM. */
const stopped = 143;
/** From its claim until a container runs, with a little more. */
const startedWithinMs = 5_000;

/** Whether the excuse is one of the attempt's consumer, and of its time. */
export function isOf(attempt: AttemptRow, excuse: Excuse): boolean {
  return (
    excuse.consumers.some((name) => attempt.consumerId.startsWith(name)) &&
    isWithin(attempt, excuse)
  );
}

export function isWithin(
  attempt: Pick<AttemptRow, 'from' | 'until'>,
  { from, until }: Pick<Span, 'from' | 'until'>,
): boolean {
  return attempt.from <= until && attempt.until >= from;
}
