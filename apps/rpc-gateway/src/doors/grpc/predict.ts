import { maxStoredInteger } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { GrpcError, type AnswerRoom, type Method } from '@inference-server/grpc';
import { outlinePredictRequest } from '@inference-server/protos';
import { isLate, noRoom } from '../../core/predict-call.js';
import { predictPath } from '../../core/replica-call.js';
import type { Predictor } from '../../core/predictor.js';
import type { Callers } from '../callers.js';
import { statusOfError } from './status-of-error.js';

/** Larger answers go on as they come: they are never held whole. */
const heldAnswerBytes = 256 * 1024;
/** Of these so much is here at a time: a replica sends no more ahead of what is read. */
const streamedBytes = 1024 ** 2;

/** `Predict` of all runtime models: `model_spec` says which, and nothing else of a message is changed. */
export function predictMethod({
  predictor,
  callers,
  maxCallMs,
}: {
  predictor: Predictor;
  callers: Callers;
  maxCallMs: number;
}): [path: string, method: Method] {
  const method: Method = async (head) => {
    const longestAt = performance.now() + maxCallMs;
    const deadlineAt = Math.min(head.deadlineAt ?? Infinity, longestAt);
    const cut = (error: AppError) => head.cut(statusOfError(error) as GrpcError);
    // A time that the caller gave is looked after already.
    const late = deadlineAt < longestAt ? undefined : setTimeout(() => cut(isLate()), maxCallMs);
    try {
      const admitted = await callers.admit(head);
      // Before the message is read: that may take as long as it likes.
      const { revoked, end } = callers.watch(admitted);
      revoked?.addEventListener('abort', () => cut(revoked.reason as AppError), { once: true });
      return {
        unary: (message, room) =>
          asStatus(async () => {
            const { modelSpec, inputs, hasMore, rest } = outlinePredictRequest(message);
            if (modelSpec.name === '') {
              throw new AppError('VALIDATION_FAILED', 'model_spec names no model.');
            }
            callers.requireModel(admitted, modelSpec.name);
            const { answer } = await predictor.predict({
              target: { name: modelSpec.name, version: versionOf(modelSpec.version) },
              caller: admitted.caller,
              ...{ signatureName: modelSpec.signatureName, inputs, hasMore, rest },
              ...{ deadlineAt, signal: head.signal },
              hold: (bytes) => hold(room, bytes),
              sinkFor: (bytes) => {
                if (bytes <= heldAnswerBytes) return undefined;
                hold(room, Math.min(bytes, streamedBytes));
                return room.open(bytes);
              },
            });
            const { status, statusMessage, trailers, message: held } = answer;
            if (status !== 'OK') throw new GrpcError(status, statusMessage, { trailers });
            return { message: held === undefined ? null : [held], trailers };
          }),
        end: () => {
          clearTimeout(late);
          end();
        },
      };
    } catch (error) {
      clearTimeout(late);
      throw statusOfError(error);
    }
  };
  return [predictPath, method];
}

function hold(room: AnswerRoom, bytes: number): void {
  if (!room.hold(bytes)) throw noRoom();
}

/** No model has a version beyond: -1 is nobody's. */
function versionOf(version: bigint | undefined): number | undefined {
  if (version === undefined) return undefined;
  return version <= BigInt(maxStoredInteger) ? Number(version) : -1;
}

async function asStatus<Result>(act: () => Promise<Result>): Promise<Result> {
  try {
    return await act();
  } catch (error) {
    throw statusOfError(error);
  }
}
