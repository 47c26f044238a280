import type { BatchModel, ModelContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  contractOfInferRequest,
  encodeInputs,
  inferOutputsOf,
  outlinePredictRequest,
  tensorsOfInferRequest,
  type InferOutput,
  type InferRequest,
} from '@inference-server/protos';
import { isHosted, type AnyModel } from './hosted-models.js';
import { predictPlain } from './plain-call.js';
import type { PredictCall } from './predict-call.js';
import type { Predictor } from './predictor.js';

/** What a door of the Open Inference Protocol asks. */
export interface InferCall extends Pick<
  PredictCall,
  'target' | 'caller' | 'deadlineAt' | 'signal'
> {
  /** The request; read again for a version that wants other inputs. Throws AppError. */
  read(inputs: ModelContract['inputs']): InferRequest;
  /** Told of the tensors that are made of it, each time. Throws noRoom. */
  holdRequest(bytes: number): void;
  /** Told of the model's answer to it, before memory is taken for that. Throws noRoom. */
  holdAnswer(bytes: number, request: InferRequest): void;
}

export interface InferAnswer {
  head: { modelName: string; modelVersion: string; id: string };
  outputs: InferOutput[];
}

/**
 * `predict` for tensors of the Open Inference Protocol. Throws AppError: of a model that answered with an error
 * MODEL_ERROR, with the status as the GrpcError that is its cause.
 */
export async function infer(predictor: Predictor, call: InferCall): Promise<InferAnswer> {
  const model = await predictor.modelFor(call.target, call.signal);
  return isHosted(model)
    ? inferByContract(predictor, call)
    : inferByOwnTypes(predictor, call, model);
}

async function inferByContract(predictor: Predictor, call: InferCall): Promise<InferAnswer> {
  const { target, caller, deadlineAt, signal } = call;
  let request: InferRequest | undefined;
  const { model, message } = await predictPlain(predictor, {
    ...{ target, caller, deadlineAt, signal },
    encode(contract) {
      request = call.read(contract.inputs);
      return Buffer.concat(encodeInputs(tensorsOfInferRequest(contract, request)));
    },
    values: () => {
      throw hasChanged();
    },
    holdRequest: (bytes) => call.holdRequest(bytes),
    hold: (bytes) => {
      if (request !== undefined) call.holdAnswer(bytes, request);
    },
  });
  if (message === undefined || request === undefined) throw hasChanged();
  return answerOf(model, request, inferOutputsOf(model.contract, request, message));
}

/** Of a batch model, which says nothing of its inputs and outputs, each tensor is what it says itself. */
async function inferByOwnTypes(
  predictor: Predictor,
  call: InferCall,
  asked: BatchModel,
): Promise<InferAnswer> {
  const { target, caller, deadlineAt, signal } = call;
  const request = call.read(anyInputs);
  const tensors = tensorsOfInferRequest(contractOfInferRequest(request), request);
  const encoded = Buffer.concat(encodeInputs(tensors));
  call.holdRequest(encoded.byteLength);
  const { inputs, hasMore, rest } = outlinePredictRequest(encoded);
  const { answer } = await predictor.predict({
    ...{ target, caller, deadlineAt, signal, signatureName: '', inputs, hasMore, rest },
    hold: (bytes) => call.holdAnswer(bytes, request),
  });
  if (answer.message === undefined) throw hasChanged();
  return answerOf(asked, request, inferOutputsOf({ outputs: [] }, request, answer.message));
}

/** Whole numbers of 64 bits among them: as JSON they are read as such. */
const anyInputs: ModelContract['inputs'] = [{ name: '', dtype: 'DT_INT64' }];

function answerOf(
  { human_readable_id: modelName, version }: AnyModel,
  { id }: InferRequest,
  outputs: InferOutput[],
): InferAnswer {
  return { head: { modelName, modelVersion: String(version), id }, outputs };
}

/** One that had a contract, and has none any more, or the other way round. */
function hasChanged(): AppError {
  return new AppError('SERVICE_UNAVAILABLE', 'The model was replaced meanwhile.', {
    retryAfterS: 1,
  });
}
