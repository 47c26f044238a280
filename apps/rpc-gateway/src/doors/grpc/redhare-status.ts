import { AppError } from '@inference-server/errors';
import { GrpcError, type StatusName } from '@inference-server/grpc';
import { statusOfError } from './status-of-error.js';

/** What a model answers to what it does not take. */
const rejections: readonly StatusName[] = [
  'INVALID_ARGUMENT',
  'OUT_OF_RANGE',
  'FAILED_PRECONDITION',
];

/** Errors in the words of redhare.Inference: of a model's own statuses none is taken for one of the server's. */
export async function asStreamStatus<Result>(act: () => Promise<Result>): Promise<Result> {
  try {
    return await act();
  } catch (error) {
    throw statusOfStream(error);
  }
}

export function statusOfStream(error: unknown): unknown {
  const isOfModel = error instanceof AppError && error.code === 'MODEL_ERROR';
  if (isOfModel && error.cause instanceof GrpcError && rejections.includes(error.cause.status)) {
    return new GrpcError('INVALID_ARGUMENT', error.message, { cause: error });
  }
  return statusOfError(error);
}

export function unauthenticated(text: string): GrpcError {
  return new GrpcError('UNAUTHENTICATED', text);
}

export function outOfTurn(text: string): GrpcError {
  return new GrpcError('FAILED_PRECONDITION', text);
}
