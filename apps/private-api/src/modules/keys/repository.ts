import type { KeyDetails, NewKey, Role } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Database, Queryable } from '../../database/database.js';
import { atTheStart, writeAudit, type Actor } from '../audit/repository.js';
import type { MadeKey } from './key-text.js';

export type KeyRepository = ReturnType<typeof createKeyRepository>;

/** Of a key that opens something now. */
export interface LivingKey {
  secretSha256: Buffer;
  /** Of a person's key at most what that person may do now. */
  role: Role;
  owner: string;
}

export function createKeyRepository(database: Database) {
  return {
    /** Throws VALIDATION_FAILED when nobody is `owner`. The same key again changes nothing. */
    async insert(made: MadeKey, key: NewKey, by: Actor): Promise<KeyDetails> {
      return database.transaction(async (tx) => {
        const owner = key.owner ?? ownOf(made.id);
        if (owner !== ownOf(made.id)) await requireOwner(tx, owner);
        return insertKey(tx, made, { ...key, owner }, by);
      });
    },

    /**
     * The first key of all, made once, whoever asks at once: before its row is there, `keep` has stored
     * it. False: there are keys.
     */
    async insertFirst(made: MadeKey, key: NewKey, keep: () => Promise<void>): Promise<boolean> {
      if (await hasKeys(database)) return false;
      return database.transaction(async (tx) => {
        await tx.query(`LOCK TABLE keys IN SHARE ROW EXCLUSIVE MODE`);
        if (await hasKeys(tx)) return false;
        await keep();
        await insertKey(tx, made, { ...key, owner: ownOf(made.id) }, atTheStart);
        return true;
      });
    },

    /** Whether there was ever one. */
    hasKeys: () => hasKeys(database),

    /** Hot. By id; of one that is not there, none opens anything now. */
    async findLiving(ids: readonly string[]): Promise<Map<string, LivingKey>> {
      if (ids.length === 0) return new Map();
      const rows = await database.query<LivingKey & { id: string }>(
        `SELECT k.id, k.secret_sha256 AS "secretSha256", least(k.role, u.role) AS role, k.owner
           FROM keys k LEFT JOIN users u ON k.owner = 'user:' || u.user_name
          WHERE k.id = ANY ($1::text[]) AND k.revoked_at IS NULL AND u.locked_at IS NULL
            AND (k.expires_at IS NULL OR k.expires_at > now())`,
        [ids],
      );
      return new Map(rows.map(({ id, ...key }) => [id, key]));
    },

    /** Notes that they were used, to the minute. Whoever has one at the moment notes the same. */
    async noteUse(ids: readonly string[]): Promise<void> {
      if (ids.length === 0) return;
      await database.query(
        `UPDATE keys SET last_used_at = now() WHERE id IN (
           SELECT id FROM keys
            WHERE id = ANY ($1::text[])
              AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
              FOR UPDATE SKIP LOCKED)`,
        [ids],
      );
    },

    async list(): Promise<KeyDetails[]> {
      const rows = await database.query<KeyRow>(
        `SELECT ${columns} FROM keys ORDER BY created_at, id`,
      );
      return rows.map(toDetails);
    },

    /** Undefined when there is none. A second time changes nothing. */
    async revoke(id: string, by: Actor): Promise<KeyDetails | undefined> {
      return database.transaction(async (tx) => {
        const [row] = await tx.query<KeyRow>(
          `UPDATE keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1
           RETURNING ${columns}`,
          [id],
        );
        if (row === undefined) return undefined;
        await writeAudit(tx, { by, action: 'revoke_key', object: { kind: 'key', id } });
        return toDetails(row);
      });
    },
  };
}

const columns =
  'id, name, role, owner, created_at, created_by, expires_at, last_used_at, revoked_at';

type KeyRow = Omit<KeyDetails, 'created_at' | 'expires_at' | 'last_used_at' | 'revoked_at'> & {
  created_at: Date;
  expires_at: Date | null;
  last_used_at: Date | null;
  revoked_at: Date | null;
};

function ownOf(id: string): string {
  return `key:${id}`;
}

async function hasKeys(on: Queryable): Promise<boolean> {
  return (await on.query(`SELECT 1 FROM keys LIMIT 1`)).length > 0;
}

async function requireOwner(tx: Queryable, owner: string): Promise<void> {
  const found = await tx.query(
    `SELECT 1 FROM keys WHERE owner = $1
     UNION ALL SELECT 1 FROM users WHERE 'user:' || user_name = $1 LIMIT 1`,
    [owner],
  );
  if (found.length > 0) return;
  throw new AppError('VALIDATION_FAILED', 'owner names no key and no person.', {
    extensions: { parameter: 'owner' },
  });
}

async function insertKey(
  tx: Queryable,
  { id, secretSha256 }: MadeKey,
  { name, role, owner, expires_in_s }: NewKey & { owner: string },
  by: Actor,
): Promise<KeyDetails> {
  const object = { kind: 'key', id } as const;
  await writeAudit(tx, { by, action: 'create_key', object, details: { role, owner } });
  const [row] = await tx.query<KeyRow>(
    `INSERT INTO keys (id, secret_sha256, name, role, owner, created_by, expires_at)
     VALUES ($1, $2, $3, $4::access_role, $5, $6, now() + $7 * interval '1 second')
     RETURNING ${columns}`,
    [id, secretSha256, name, role, owner, by.credential, expires_in_s ?? null],
  );
  if (row === undefined) throw new AppError('INTERNAL', 'a key that was inserted has no row');
  return toDetails(row);
}

function toDetails({ created_at, expires_at, last_used_at, revoked_at, ...row }: KeyRow) {
  return {
    ...row,
    created_at: created_at.toISOString(),
    expires_at: expires_at?.toISOString() ?? null,
    last_used_at: last_used_at?.toISOString() ?? null,
    revoked_at: revoked_at?.toISOString() ?? null,
  };
}
