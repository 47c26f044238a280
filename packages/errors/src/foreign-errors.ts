import { AppError } from './app-error.js';

/** The `code` of a system error (ENOSPC, ECONNREFUSED, …), wherever in the chain of causes. */
export function systemCode(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as { code?: unknown };
    if (typeof code === 'string' && /^(E[A-Z0-9_]+|UND_ERR_[A-Z_]+|ERR_[A-Z_]+)$/.test(code)) {
      return code;
    }
  }
  return undefined;
}

/** An AppError stays; a full disk becomes STORAGE_FULL; anything else INTERNAL with its cause. */
export function toAppError(error: unknown, doing: string): AppError {
  if (error instanceof AppError) return error;
  const code = systemCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new AppError('STORAGE_FULL', 'The storage of the server is full.', {
      cause: error,
      retryAfterS: 60,
    });
  }
  return new AppError('INTERNAL', `${doing}: ${messageOf(error)}`, { cause: error });
}

/** The text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
