import { createHmac } from 'node:crypto';
import { networkOf } from '@inference-server/service-kit';
import type { Database } from '../../database/database.js';

export type LoginFailures = ReturnType<typeof createLoginFailures>;

/** Who tries a name, from where. */
export interface Login {
  userName: string;
  address: string;
}

/** Failures count for so long after the last one (s). */
export const failuresCountS = 24 * 3600;

/**
 * Slows guessing down: after some wrong passwords the next one is looked at only after a while, twice as
 * long each time. Counted for a name from one address, for an address, and, so that many addresses help
 * little, for a name from everywhere; there it is never for long, or anybody could keep a person out. Where
 * the person has logged in from of late only their own name counts, from there: others may share the address.
 * Of IPv6 a whole network is one address.
 */
const limitsWith = ({ freeOfAddress }: { freeOfAddress: number }) => [
  {
    subject: ({ userName, address }: Login) => `user:${userName} from ${networkOf(address)}`,
    free: 5,
    maxS: 900,
  },
  { subject: ({ userName }: Login) => `user:${userName}`, free: 50, maxS: 10 },
  ...(freeOfAddress === 0
    ? []
    : [
        {
          subject: ({ address }: Login) => `address:${networkOf(address)}`,
          free: freeOfAddress,
          maxS: 900,
        },
      ]),
];

export function createLoginFailures(
  database: Database,
  places: { isKnown: (login: Login) => Promise<boolean> },
  {
    secret,
    freeOfAddress,
  }: {
    /** What a name was may be a password in the wrong field, and is kept as an HMAC with this alone. */
    secret: string;
    /** How many wrong passwords of one address keep it not waiting; 0: any number. */
    freeOfAddress: number;
  },
) {
  const limits = limitsWith({ freeOfAddress });
  const subjectsOf = (login: Login) =>
    limits.map(({ subject }) => keptSubject(secret, subject(login)));
  return {
    /** How long (s) no password is looked at; 0: now. */
    async blockedS(login: Login): Promise<number> {
      const rows = await database.query<{ subject: string; seconds: number }>(
        `SELECT subject, ceil(extract(epoch FROM blocked_until - now()))::int AS seconds
           FROM login_failures WHERE subject = ANY ($1::text[]) AND blocked_until > now()`,
        [subjectsOf(login)],
      );
      if (rows.length === 0) return 0;
      const isKnown = await places.isKnown(login);
      const [ofNameFromThere] = subjectsOf(login);
      const counted = rows.filter(({ subject }) => !isKnown || subject === ofNameFromThere);
      return Math.max(0, ...counted.map(({ seconds }) => seconds));
    },

    async note(login: Login): Promise<void> {
      await database.query(
        `INSERT INTO login_failures AS f (subject, failures, failed_at, blocked_until)
         SELECT subject, 1, now(), now() FROM unnest($1::text[], $2::int[], $3::int[]) AS l(subject, free, most)
          ORDER BY subject
         ON CONFLICT (subject) DO UPDATE
           SET failed_at = now(),
               failures = CASE WHEN f.failed_at < now() - $4 * interval '1 second' THEN 1
                               ELSE f.failures + 1 END,
               blocked_until = now() + (
                 SELECT CASE WHEN f.failures + 1 < free THEN 0
                             ELSE least(most, 2 ^ least(f.failures + 1 - free, 20)) END
                   FROM unnest($1::text[], $2::int[], $3::int[]) AS l(subject, free, most)
                  WHERE l.subject = excluded.subject) * interval '1 second'`,
        [
          subjectsOf(login),
          limits.map(({ free }) => free),
          limits.map(({ maxS }) => maxS),
          failuresCountS,
        ],
      );
    },

    /** The right password ends the count of its name from there; not that of the address. */
    async forget(login: Login): Promise<void> {
      const [ofNameFromThere] = subjectsOf(login);
      await database.query(`DELETE FROM login_failures WHERE subject = $1`, [ofNameFromThere]);
    },
  };
}

/** What stands in the table for `user:<name> from <network>`, `address:<network>` or `user:<name>`. */
export function keptSubject(secret: string, subject: string): string {
  return createHmac('sha256', secret).update(`login-failures ${subject}`).digest('base64url');
}
