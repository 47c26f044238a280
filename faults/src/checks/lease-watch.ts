import { setTimeout as sleep } from 'node:timers/promises';
import type { World } from '../world/world.js';

export interface LeaseWatch {
  /** The uids of those that were found. */
  readonly found: ReadonlySet<string>;
  /** How often the database could be asked: with 0 nothing was watched. */
  readonly looks: number;
  /**
   * Times (Unix, ms) between two answers in which nobody looked for longer than `longestS`, less what
   * `away` explains of them: the database stood still or was none. In words.
   */
  unwatched(away: readonly Span[]): string[];
  close(): Promise<void>;
}

interface Span {
  from: number;
  until: number;
}

/** Looks, all the time, for tasks that run although nobody has renewed their lease for a minute. */
export function watchLeases(
  { query }: Pick<World, 'query'>,
  { longestS = 60, everyMs = 2_000 } = {},
): LeaseWatch {
  const closing = new AbortController();
  const found = new Set<string>();
  const gaps: Span[] = [];
  let looks = 0;
  let answeredAt = Date.now();
  const noteGap = () => {
    const now = Date.now();
    if (now - answeredAt > longestS * 1000) gaps.push({ from: answeredAt, until: now });
    answeredAt = now;
  };
  const look = async () => {
    const rows = await query<{ uid: string }>(
      `SELECT uid FROM tasks t WHERE state = 'RUNNING' AND NOT EXISTS
         (SELECT FROM attempts a WHERE a.task_uid = t.uid AND a.number = t.attempt
             AND a.ended_at IS NULL AND a.lease_until > now() - $1 * interval '1 s')`,
      [longestS],
    );
    for (const { uid } of rows) found.add(uid);
    looks += 1;
    noteGap();
  };
  const watching = (async () => {
    while (!closing.signal.aborted) {
      // The database may be what is broken.
      await look().catch(() => undefined);
      await sleep(everyMs, undefined, { signal: closing.signal }).catch(() => undefined);
    }
    noteGap();
  })();
  return {
    found,
    get looks() {
      return looks;
    },
    unwatched: (away) =>
      gaps.flatMap((gap) => {
        const explained = away.reduce((sum, span) => sum + overlapMs(gap, span), 0);
        const unexplainedS = (gap.until - gap.from - explained) / 1000;
        if (unexplainedS <= longestS) return [];
        const since = new Date(gap.from).toISOString();
        return [`nobody looked for ${unexplainedS.toFixed(0)} s since ${since}`];
      }),
    async close() {
      closing.abort();
      await watching;
    },
  };
}

function overlapMs(one: Span, other: Span): number {
  const ms = Math.min(one.until, other.until) - Math.max(one.from, other.from);
  return Math.max(0, ms);
}
