import { AppError } from '@inference-server/errors';
import { GrpcError } from '@inference-server/grpc';
import type { InvocationResponse } from '@inference-server/protos';

/**
 * What came of a call, as Invoke says it: whatever fails is an answer that says why. Only credentials that are
 * not good for the call are a status of gRPC, and a call that was cut has its status already: these are thrown.
 */
export async function answerInWords(
  act: () => Promise<void>,
  onFault: (error: unknown) => void,
): Promise<InvocationResponse> {
  try {
    await act();
    return { status: 'OK', message: '' };
  } catch (error) {
    if (error instanceof GrpcError || isOfCredentials(error)) throw error;
    const isFault = !(error instanceof AppError) || error.code === 'INTERNAL';
    if (isFault) onFault(error);
    return { status: 'ERROR', message: isFault ? 'The server failed.' : error.message };
  }
}

function isOfCredentials(error: unknown): boolean {
  return error instanceof AppError && (error.code === 'UNAUTHORIZED' || error.code === 'FORBIDDEN');
}
