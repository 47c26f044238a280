import { AppError, messageOf, systemCode } from '@inference-server/errors';

/**
 * What a failed statement means: the database is away or shutting down, or others were at the same rows
 * (503, try again), a row of that name exists (409), or a fault of ours.
 */
export function toDatabaseError(error: unknown): AppError {
  if (error instanceof AppError) return error;
  const code = codeOf(error);
  if (code !== undefined && uniqueViolations.has(code)) {
    return new AppError('CONFLICT', 'A row of that name exists.', { cause: error });
  }
  if (code === untranslatable) {
    return new AppError('VALIDATION_FAILED', 'A text has a character that cannot be stored.', {
      cause: error,
    });
  }
  if (isAway(error, code)) {
    return new AppError('SERVICE_UNAVAILABLE', 'The database is away.', {
      cause: error,
      retryAfterS: 2,
    });
  }
  if (code !== undefined && lostRaces.has(code)) {
    return new AppError('SERVICE_UNAVAILABLE', 'Others were at the same rows.', {
      cause: error,
      retryAfterS: 1,
    });
  }
  return new AppError('INTERNAL', `the database refused a statement: ${messageOf(error)}`, {
    cause: error,
  });
}

/** Postgres's SQLSTATE or Prisma's code, wherever in the chain of causes. */
function codeOf(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as { code?: unknown };
    if (typeof code === 'string') return code;
  }
  return undefined;
}

/** A NUL, which Postgres takes in no text. */
const untranslatable = '22021';

const uniqueViolations = new Set(['23505', 'P2002']);

/** Connection failures (08), shutdown (57P), too many connections (53300), read-only (25006). */
const awayCodes = /^(08...|57P0.|57014|53300|25006|25P03|P1001|P1002|P1008|P1017|P2024|P2028)$/;

/** Deadlock, serialization failure, a lock that was not to be had in time: nothing was changed. */
const lostRaces = new Set(['40P01', '40001', '55P03']);

/** What pg says when a connection is lost or not had; it gives these no code. */
const awayMessages =
  /connection terminated|timeout exceeded when trying to connect|query read timeout|client has encountered a connection error|connection ended/i;

function isAway(error: unknown, code: string | undefined): boolean {
  if (code !== undefined && awayCodes.test(code)) return true;
  return systemCode(error) !== undefined || awayMessages.test(messageOf(error));
}
