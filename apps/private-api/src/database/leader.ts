import type { Logger } from '@inference-server/service-kit';
import type { Database } from './database.js';

/** Whether this process does the periodic work of one name now, by the database's clock. */
export interface Leadership {
  /** For statements that hold themselves to it: {@link leadsSteadily}. */
  readonly row: LeaderRow;
  /**
   * Takes the leadership or keeps it; asks the database only as often as it has to be renewed.
   * Answers since when it has been held without a gap (ms); undefined while another holds it.
   */
  lead(): Promise<{ steadyMs: number } | undefined>;
  /** Something went wrong: the next call of `lead` asks the database. */
  doubt(): void;
  /** Gives it up, so that another process need not wait for its end. Never throws. */
  resign(): Promise<void>;
}

export interface LeaderRow {
  /** The work. */
  name: string;
  holder: string;
}

/** Who has led for longer than `forMs` without a gap. */
export interface SteadyLeader extends LeaderRow {
  forMs: number;
}

/**
 * That $1 to $3, the {@link leaderValues}, lead now. For a write that must not happen too early: what
 * `lead` has answered may be older than a jump of the database's clock, by which the row has run out.
 */
export const leadsSteadily = `EXISTS (
  SELECT FROM leaders
   WHERE name = $1 AND holder = $2 AND leader_until > now()
     AND steady_since < now() - $3 * interval '1 millisecond')`;

export function leaderValues({ name, holder, forMs }: SteadyLeader): unknown[] {
  return [name, holder, forMs];
}

/** How long a leadership lasts that nobody renews, and how often it is renewed (ms). */
export const leaderMs = 10_000;
export const leaderRenewMs = 3_000;

/** The row of `name`, held by one of all processes. What its holder writes is conditional all the same. */
export function createLeadership(
  database: Database,
  name: string,
  holder: string,
  logger: Logger,
  lastsMs = leaderMs,
): Leadership {
  let leading: { steadyMs: number } | undefined;
  let askAgainAt = 0;

  return {
    row: { name, holder },

    async lead() {
      if (performance.now() < askAgainAt) return leading;
      const asked = performance.now();
      const wasLeading = leading !== undefined;
      leading = undefined;
      [leading] = await database.query<{ steadyMs: number }>(
        `INSERT INTO leaders (name, holder, leader_until, steady_since)
         VALUES ($1, $2, now() + $3 * interval '1 millisecond', now())
         ON CONFLICT (name) DO UPDATE
           SET holder = excluded.holder, leader_until = excluded.leader_until,
               steady_since = CASE
                 WHEN leaders.holder = excluded.holder AND leaders.leader_until > now()
                 THEN leaders.steady_since ELSE now() END
         WHERE leaders.holder = excluded.holder OR leaders.leader_until < now()
         RETURNING (extract(epoch FROM now() - steady_since) * 1000)::float8 AS "steadyMs"`,
        [name, holder, lastsMs],
      );
      // Since this very statement, or since one whose answer was lost.
      if (leading !== undefined && (leading.steadyMs === 0 || !wasLeading))
        logger.debug({ work: name }, 'leads from now on');
      askAgainAt = asked + (lastsMs * leaderRenewMs) / leaderMs;
      return leading;
    },

    doubt() {
      askAgainAt = 0;
    },

    async resign() {
      await database
        .query(`DELETE FROM leaders WHERE name = $1 AND holder = $2`, [name, holder])
        .catch(() => undefined);
      askAgainAt = 0;
    },
  };
}
