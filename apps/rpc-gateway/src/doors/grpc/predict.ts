import { maxStoredInteger } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { GrpcError, type Method } from '@inference-server/grpc';
import { outlinePredictRequest } from '@inference-server/protos';
import { joinSignals } from '@inference-server/service-kit';
import { noRoom } from '../../core/predict-call.js';
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
}: {
  predictor: Predictor;
  callers: Callers;
}): [path: string, method: Method] {
  const method: Method = async (head) => {
    const admitted = await asStatus(() => callers.admit(head));
    return {
      unary: async (message, room) => {
        const { revoked, end } = callers.watch(admitted);
        const over =
          revoked === undefined
            ? { signal: head.signal, release: () => undefined }
            : joinSignals(head.signal, revoked);
        const hold = (bytes: number) => {
          if (!room.hold(bytes)) throw noRoom();
        };
        try {
          return await asStatus(async () => {
            const { modelSpec, inputs, rest } = outlinePredictRequest(message);
            if (modelSpec.name === '') {
              throw new AppError('VALIDATION_FAILED', 'model_spec names no model.');
            }
            callers.requireModel(admitted, modelSpec.name);
            const { answer } = await predictor.predict({
              target: { name: modelSpec.name, version: versionOf(modelSpec.version) },
              ...{ signatureName: modelSpec.signatureName, inputs, rest },
              ...{ deadlineAt: head.deadlineAt, signal: over.signal },
              hold,
              sinkFor: (bytes) => {
                if (bytes <= heldAnswerBytes) return undefined;
                hold(Math.min(bytes, streamedBytes));
                return room.open(bytes);
              },
            });
            const { status, statusMessage, trailers, message: held } = answer;
            if (status !== 'OK') throw new GrpcError(status, statusMessage, { trailers });
            return { message: held === undefined ? null : [held], trailers };
          });
        } finally {
          over.release();
          end();
        }
      },
    };
  };
  return [predictPath, method];
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
