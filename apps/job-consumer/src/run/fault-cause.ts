import {
  EngineError,
  isEngineProblem,
  type EngineProblem,
} from '@inference-server/container-engine';
import type { FaultCause } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import { PrivateApiError } from '../private-api-call.js';
import { failed, fault, type Outcome } from './outcome.js';

// What the errors of engine, registry, disk and private-api mean for an attempt: all of it stands here,
// what follows from a cause in the contract (`faultCauses`). A start that fails is judged in start.ts.

/** Which kind of fault an error is that a phase of an attempt ended with: none is the model's doing. */
export function causeOf(error: unknown): FaultCause {
  if (error instanceof EngineError) return causes[error.problem];
  if (error instanceof PrivateApiError) {
    return ownMistakes.has(error.code) ? 'internal' : 'upload_failed';
  }
  if (!(error instanceof AppError)) return 'internal';
  if (error.code === 'STORAGE_FULL') return 'disk_full';
  return ofTransfers.has(error.code) ? 'upload_failed' : 'internal';
}

/** A pull that failed: a registry that has no such image, or not for us, will say so again. */
export function outcomeOfPull(reference: string, error: unknown): Outcome {
  if (isEngineProblem(error, 'image_absent')) return unavailable(reference, messageOf(error));
  return fault('registry_away', `The image ${reference} cannot be had now: ${messageOf(error)}`);
}

export function unavailable(reference: string, why: string): Outcome {
  return failed('image_unavailable', `The image ${reference} cannot be had: ${why}`);
}

/**
 * An output of which no zip can be made, or that is too large to be stored: the model's doing.
 * Undefined for any other error.
 */
export function outcomeOfOutput(error: unknown): Outcome | undefined {
  if (!(error instanceof AppError)) return undefined;
  if (error.code === 'ZIP_REFUSED') return failed('bad_output', error.message, 0);
  if (error.code !== 'PAYLOAD_TOO_LARGE') return undefined;
  return failed('bad_output', 'The output, zipped, is too large to be stored.', 0);
}

/**
 * Whether an upload failed for the way to private-api, not for the engine, and so may be repeated for
 * as long as the attempt is ours. A CONFLICT says that it is not, now: the next renewal takes the lease
 * up again, or tells that the attempt is another's.
 */
export function isOnTheWay(error: unknown): boolean {
  if (!(error instanceof AppError) || error instanceof EngineError) return false;
  return error.retryable || error.code === 'UPLOAD_TOO_SLOW' || error.code === 'CONFLICT';
}

const causes: Record<EngineProblem, FaultCause> = {
  unreachable: 'engine_away',
  overdue: 'engine_away',
  failed: 'engine_away',
  disk_full: 'disk_full',
  container_absent: 'interrupted',
  volume_absent: 'interrupted',
  image_absent: 'interrupted',
  network_absent: 'interrupted',
  path_absent: 'internal',
  name_in_use: 'internal',
  in_use: 'internal',
  refused: 'internal',
};

/** What is received from private-api ends early, or is more than it said. */
const ofTransfers = new Set<AppError['code']>(['MALFORMED_REQUEST', 'PAYLOAD_TOO_LARGE']);

/** What private-api says to a consumer that is set up wrongly, or that it does not understand. */
const ownMistakes = new Set<AppError['code']>(['FORBIDDEN', 'UNAUTHORIZED', 'VALIDATION_FAILED']);
