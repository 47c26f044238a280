import type { ErrorCode } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { GrpcError, type StatusName } from '@inference-server/grpc';

/** What a caller of gRPC gets for an error of ours. A fault of the server stays what it is: it is logged. */
export function statusOfError(error: unknown): unknown {
  if (!(error instanceof AppError) || error.code === 'INTERNAL') return error;
  const { retryAfterS } = error;
  const trailers = retryAfterS === undefined ? {} : { 'retry-after': String(retryAfterS) };
  const status = statuses[error.code] ?? 'UNKNOWN';
  return new GrpcError(status, error.message, { cause: error, trailers });
}

const statuses: Partial<Record<ErrorCode, StatusName>> = {
  DEADLINE_EXCEEDED: 'DEADLINE_EXCEEDED',
  FORBIDDEN: 'PERMISSION_DENIED',
  LOGIN_FAILED: 'UNAUTHENTICATED',
  MALFORMED_REQUEST: 'INVALID_ARGUMENT',
  MODEL_ERROR: 'INTERNAL',
  MODEL_NOT_FOUND: 'NOT_FOUND',
  PAYLOAD_TOO_LARGE: 'RESOURCE_EXHAUSTED',
  QUOTA_EXCEEDED: 'RESOURCE_EXHAUSTED',
  SERVICE_UNAVAILABLE: 'UNAVAILABLE',
  STORAGE_FULL: 'UNAVAILABLE',
  TOO_MANY_REQUESTS: 'RESOURCE_EXHAUSTED',
  UNAUTHORIZED: 'UNAUTHENTICATED',
  VALIDATION_FAILED: 'INVALID_ARGUMENT',
  ZIP_REFUSED: 'INVALID_ARGUMENT',
};
