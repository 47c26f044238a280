import type { Role, UserDetails } from '@inference-server/contracts';
import type { Database } from '../../database/database.js';
import { writeAudit, type Actor } from '../audit/repository.js';

export type UserRepository = ReturnType<typeof createUserRepository>;

/** Of a person who is let in. */
export interface LivingUser {
  passwordHash: string;
  role: Role;
  /** Since when it is the password, or the person was locked out (s since 1970, with a fraction). */
  passwordAt: number;
}

export function createUserRepository(database: Database) {
  return {
    /** Undefined, and nothing written, when nobody has the name and not all of it is given. */
    async put(
      userName: string,
      { passwordHash, role }: { passwordHash: string | null; role: Role | null },
      by: Actor,
    ): Promise<UserDetails | undefined> {
      return database.transaction(async (tx) => {
        const [row] = await tx.query<UserRow>(
          `WITH changed AS (
           UPDATE users
              SET password_hash = coalesce($2, password_hash), role = coalesce($3::access_role, role),
                  password_at = CASE WHEN $2::text IS NULL THEN password_at ELSE now() END,
                  locked_at = NULL
            WHERE user_name = $1 RETURNING ${columns}),
         made AS (
           INSERT INTO users (user_name, password_hash, role, created_by)
           SELECT $1, $2, $3::access_role, $4
            WHERE $2::text IS NOT NULL AND $3 IS NOT NULL AND NOT EXISTS (SELECT FROM changed)
           RETURNING ${columns})
         SELECT * FROM changed UNION ALL SELECT * FROM made`,
          [userName, passwordHash, role, by.credential],
        );
        if (row === undefined) return undefined;
        const details = { role: row.role, new_password: passwordHash !== null };
        await writeAudit(tx, {
          by,
          action: 'put_user',
          object: { kind: 'user', id: userName },
          details,
        });
        return toDetails(row);
      });
    },

    /** By name; of one that is not there, nobody is let in. */
    async findLiving(userNames: readonly string[]): Promise<Map<string, LivingUser>> {
      if (userNames.length === 0) return new Map();
      const rows = await database.query<LivingUser & { name: string }>(
        `SELECT user_name AS name, password_hash AS "passwordHash", role,
                extract(epoch FROM password_at)::float8 AS "passwordAt"
           FROM users WHERE user_name = ANY ($1::text[]) AND locked_at IS NULL`,
        [userNames],
      );
      return new Map(rows.map(({ name, ...user }) => [name, user]));
    },

    async exists(userName: string): Promise<boolean> {
      const rows = await database.query(`SELECT 1 FROM users WHERE user_name = $1`, [userName]);
      return rows.length > 0;
    },

    async noteLogin(userName: string): Promise<void> {
      await database.query(`UPDATE users SET last_login_at = now() WHERE user_name = $1`, [
        userName,
      ]);
    },

    async list(): Promise<UserDetails[]> {
      const rows = await database.query<UserRow>(`SELECT ${columns} FROM users ORDER BY user_name`);
      return rows.map(toDetails);
    },

    /** The same password under another hash; not where it was changed meanwhile. */
    async renewHash(userName: string, before: string, after: string): Promise<void> {
      await database.query(
        `UPDATE users SET password_hash = $3 WHERE user_name = $1 AND password_hash = $2`,
        [userName, before, after],
      );
    },

    /**
     * Undefined when there is nobody of that name. A second time changes nothing. Tokens of before end for
     * good: they are none of the password that the person has once let in again.
     */
    async lock(userName: string, by: Actor): Promise<UserDetails | undefined> {
      return database.transaction(async (tx) => {
        const [row] = await tx.query<UserRow>(
          `UPDATE users
              SET locked_at = coalesce(locked_at, now()),
                  password_at = CASE WHEN locked_at IS NULL THEN now() ELSE password_at END
            WHERE user_name = $1
         RETURNING ${columns}`,
          [userName],
        );
        if (row === undefined) return undefined;
        await writeAudit(tx, { by, action: 'lock_user', object: { kind: 'user', id: userName } });
        return toDetails(row);
      });
    },
  };
}

const columns = 'user_name, role, created_at, created_by, last_login_at, locked_at';

type UserRow = Omit<UserDetails, 'created_at' | 'last_login_at' | 'locked_at'> & {
  created_at: Date;
  last_login_at: Date | null;
  locked_at: Date | null;
};

function toDetails({ created_at, last_login_at, locked_at, ...row }: UserRow): UserDetails {
  return {
    ...row,
    created_at: created_at.toISOString(),
    last_login_at: last_login_at?.toISOString() ?? null,
    locked_at: locked_at?.toISOString() ?? null,
  };
}
