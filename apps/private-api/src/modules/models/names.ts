import { qualifiedNameOf } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Queryable } from '../../database/database.js';

/** Has names of one qualified name, new ones too, wait for each other until `tx` ends. */
export async function lockQualifiedName(tx: Queryable, humanReadableId: string): Promise<void> {
  const lock = `model ${qualifiedNameOf(humanReadableId)}`;
  await tx.query(`SELECT pg_advisory_xact_lock(hashtext($1))`, [lock]);
}

/**
 * Throws MODEL_EXISTS for a new model where one lives of the same qualified name: a door like that of ZeroRPC
 * could not tell them apart. Throws FORBIDDEN for a new name where one was deleted that is not of `onlyOf` (null:
 * anybody's): who calls it by that means theirs. Of a model that is there nothing is asked.
 */
export async function requireNoNamesake(
  from: Queryable,
  humanReadableId: string,
  onlyOf: string | null,
): Promise<void> {
  const qualified = qualifiedNameOf(humanReadableId);
  // As a pattern, in which each _ is any character, it finds a few more.
  const found = await from.query<{ id: string; owner: string; lives: boolean }>(
    `SELECT human_readable_id AS id, owner, deleted_at IS NULL AS lives FROM models
      WHERE human_readable_id LIKE $1 AND current_version > 0`,
    [qualified],
  );
  const alike = found.filter(({ id }) => qualifiedNameOf(id) === qualified);
  const own = alike.find(({ id }) => id === humanReadableId);
  if (own?.lives === true) return;
  if (alike.some(({ lives }) => lives)) throw namesakeExists();
  if (own === undefined) for (const { owner } of alike) requireOwner(owner, onlyOf);
}

/** Models are there for everyone; ownership limits who changes them. */
export function requireOwner(owner: string, onlyOf: string | null): void {
  if (onlyOf === null || owner === onlyOf) return;
  throw new AppError('FORBIDDEN', 'The model was registered by somebody else.');
}

function namesakeExists(): AppError {
  return new AppError(
    'MODEL_EXISTS',
    'A model is registered already whose id differs from this one only in characters for which ZeroRPC has _.',
    { extensions: { parameter: 'human_readable_id' } },
  );
}
