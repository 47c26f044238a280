import { maxStoredInteger } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { GrpcError, type Method } from '@inference-server/grpc';
import { outlinePredictRequest } from '@inference-server/protos';
import { predictPath } from '../../core/replica-call.js';
import type { Predictor } from '../../core/predictor.js';
import type { Callers } from '../callers.js';
import { admittedMethod, holdIn } from './admitted-call.js';

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
  const method = admittedMethod({ callers, maxCallMs }, async (call) => {
    const { admitted, message, room, deadlineAt, signal } = call;
    const { modelSpec, inputs, hasMore, rest } = outlinePredictRequest(message);
    if (modelSpec.name === '') {
      throw new AppError('VALIDATION_FAILED', 'model_spec names no model.');
    }
    callers.requireModel(admitted, modelSpec.name);
    const { answer } = await predictor.predict({
      target: { name: modelSpec.name, version: versionOf(modelSpec.version) },
      caller: admitted.caller,
      ...{ signatureName: modelSpec.signatureName, inputs, hasMore, rest },
      ...{ deadlineAt, signal },
      hold: (bytes) => holdIn(room, bytes),
      sinkFor: (bytes) => {
        if (bytes <= heldAnswerBytes) return undefined;
        holdIn(room, Math.min(bytes, streamedBytes));
        return room.open(bytes);
      },
    });
    const { status, statusMessage, trailers, message: held } = answer;
    if (status !== 'OK') throw new GrpcError(status, statusMessage, { trailers });
    return { message: held === undefined ? null : [held], trailers };
  });
  return [predictPath, method];
}

/** No model has a version beyond: -1 is nobody's. */
function versionOf(version: bigint | undefined): number | undefined {
  if (version === undefined) return undefined;
  return version <= BigInt(maxStoredInteger) ? Number(version) : -1;
}
