import type { BatchModel, HostedModel, ModelContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { GrpcError, type StatusName } from '@inference-server/grpc';
import { outlinePredictRequest, plainOutputs } from '@inference-server/protos';
import { isHosted } from './hosted-models.js';
import type { PredictCall } from './predict-call.js';
import type { Predictor } from './predictor.js';

/** What a door asks whose callers have values by name, in a form of its own, and no tensors. */
export interface PlainCall extends Pick<
  PredictCall,
  'target' | 'caller' | 'isRepeatable' | 'deadlineAt' | 'signal' | 'hold'
> {
  /** A PredictRequest without model_spec with these inputs; made again for a version that wants others. */
  encode(contract: ModelContract): Buffer;
  /** The same for a batch model: what JSON has, Uint8Arrays where bytes are, bigints beyond 2^53. */
  values(): Record<string, unknown>;
  /** Told of the request as it goes out, each time it is made. Throws noRoom. */
  holdRequest(bytes: number): void;
}

/** Of a runtime model a PredictResponse with outputs, of a batch model its outputs by name. */
export type PlainAnswer =
  | { model: HostedModel; message: Buffer; outputs?: undefined }
  | { model: BatchModel; outputs: Record<string, unknown>; message?: undefined };

/**
 * `predict` for plain values. Throws AppError: of a model that answered with an error MODEL_ERROR, with the status
 * as the GrpcError that is its cause.
 */
export async function predictPlain(predictor: Predictor, call: PlainCall): Promise<PlainAnswer> {
  const { target, caller, isRepeatable, deadlineAt, signal, hold } = call;
  let model = await predictor.modelFor(target, signal);
  for (let isAgain = false; ; isAgain = true) {
    if (!isHosted(model)) {
      const asked = { caller, signal, hold, values: () => call.values() };
      return { model, outputs: await predictor.askBatch(model, asked) };
    }
    const request = call.encode(model.contract);
    call.holdRequest(request.byteLength);
    const { inputs, hasMore, rest } = outlinePredictRequest(request);
    try {
      const { model: by, answer } = await predictor.predict({
        ...{ target, caller, signatureName: '', inputs, hasMore, rest },
        ...{ isRepeatable, deadlineAt, signal, hold },
      });
      const { status, statusMessage, message } = answer;
      if (status !== 'OK' || message === undefined) throw modelError(status, statusMessage);
      if (isHosted(by)) return { model: by, message };
      // It has become one meanwhile, and was asked by the tensors.
      return { model: by, outputs: plainOutputs({ outputs: [] }, message) };
    } catch (error) {
      const isRefused = error instanceof AppError && error.code === 'VALIDATION_FAILED';
      if (isAgain || !isRefused) throw error;
      // While it waited, a version may have taken its place that wants other tensors for the same values.
      const next = await predictor.modelFor(target, signal);
      if (next.model_version_id === model.model_version_id) throw error;
      model = next;
    }
  }
}

/** What a model says of its failure is its own word, and shown as such. */
function modelError(status: StatusName, message: string): AppError {
  const text = message === '' ? '' : `: ${message.slice(0, 1_000)}`;
  const cause = status === 'OK' ? undefined : new GrpcError(status, message);
  return new AppError('MODEL_ERROR', `The model answered ${status}${text}`, { cause });
}
