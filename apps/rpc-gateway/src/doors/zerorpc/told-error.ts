import type { ErrorCode } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { ZeroRpcError } from '@inference-server/zerorpc';

/** Acts, and throws what a client of ZeroRPC gets for an error of ours. A fault of the server stays what it is. */
export async function asTold<Result>(act: () => Promise<Result>): Promise<Result> {
  try {
    return await act();
  } catch (error) {
    throw toldError(error);
  }
}

export function toldError(error: unknown): unknown {
  if (!(error instanceof AppError) || error.code === 'INTERNAL') return error;
  return new ZeroRpcError(names[error.code] ?? 'RuntimeError', error.message);
}

/** Those that Python has are called as there. */
const names: Partial<Record<ErrorCode, string>> = {
  DEADLINE_EXCEEDED: 'TimeoutError',
  FORBIDDEN: 'PermissionError',
  MALFORMED_REQUEST: 'MLModelSchemaValidationException',
  MODEL_ERROR: 'ModelError',
  MODEL_NOT_FOUND: 'NameError',
  PAYLOAD_TOO_LARGE: 'RequestTooLarge',
  QUOTA_EXCEEDED: 'QuotaExceeded',
  SERVICE_UNAVAILABLE: 'ServiceUnavailable',
  TOO_MANY_REQUESTS: 'ServerBusy',
  UNAUTHORIZED: 'AuthenticationError',
  VALIDATION_FAILED: 'MLModelSchemaValidationException',
};
