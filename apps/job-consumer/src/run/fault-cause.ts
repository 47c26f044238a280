import { EngineError } from '@inference-server/container-engine';
import type { FaultCause } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';

/** Which kind of fault an error is that a phase of an attempt ended with: none is the model's doing. */
export function causeOf(error: unknown): FaultCause {
  if (!(error instanceof AppError)) return 'internal';
  if (error.code === 'STORAGE_FULL') return 'disk_full';
  if (error instanceof EngineError) return engineCause(error);
  // What is left that passes is the way to private-api.
  return error.retryable || fromPrivateApi.has(error.code) ? 'upload_failed' : 'internal';
}

function engineCause({ problem }: EngineError): FaultCause {
  switch (problem) {
    case 'unreachable':
    case 'overdue':
    case 'failed':
      return 'engine_away';
    case 'container_absent':
    case 'volume_absent':
      return 'interrupted';
    default:
      return 'internal';
  }
}

const fromPrivateApi = new Set<AppError['code']>(['MALFORMED_REQUEST', 'UPLOAD_TOO_SLOW']);
