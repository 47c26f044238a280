import { AppError } from '@inference-server/errors';
import { encodeInputs, plainOutputs, tensorsOfPlain } from '@inference-server/protos';
import { joinSignals } from '@inference-server/service-kit';
import type { ZeroRpcCall } from '@inference-server/zerorpc';
import type { AnyModel } from '../../core/hosted-models.js';
import { predictPlain } from '../../core/plain-call.js';
import { noRoom } from '../../core/predict-call.js';
import type { Predictor } from '../../core/predictor.js';
import type { Admitted, Callers } from '../callers.js';

/** The tensors of an answer, their values and the bytes that are made of these. */
const answerTimesHeld = 8;

export interface PredictOptions {
  predictor: Predictor;
  callers: Pick<Callers, 'watch'>;
  maxQueuedBytes: number;
}

/** `predict` of plain values, until the call is over, or what its client showed is good no more. */
export async function predictOnce(
  { human_readable_id: name }: AnyModel,
  data: unknown,
  { signal, deadlineAt, take }: Pick<ZeroRpcCall, 'signal' | 'deadlineAt' | 'take'>,
  admitted: Admitted,
  { predictor, callers, maxQueuedBytes }: PredictOptions,
): Promise<Record<string, unknown>> {
  const { revoked, end } = callers.watch(admitted);
  const joined = revoked && joinSignals(signal, revoked);
  const hold = (bytes: number, tooLarge: () => AppError) => {
    if (bytes > maxQueuedBytes) throw tooLarge();
    if (!take(bytes)) throw noRoom();
  };
  try {
    const { model, message, outputs } = await predictPlain(predictor, {
      ...{ target: { name, version: undefined }, caller: admitted.caller },
      ...{ deadlineAt, signal: joined?.signal ?? signal },
      encode: ({ inputs }) => Buffer.concat(encodeInputs(tensorsOfPlain(inputs, data))),
      values: () => objectOf(data),
      holdRequest: (bytes) => hold(bytes, requestTooLarge),
      hold: (bytes) => hold(answerTimesHeld * bytes, answerTooLarge),
    });
    return outputs ?? plainOutputs(model.contract, message);
  } finally {
    joined?.release();
    end();
  }
}

function objectOf(data: unknown): Record<string, unknown> {
  const isMap = typeof data === 'object' && data !== null && !Array.isArray(data);
  if (isMap && !(data instanceof Uint8Array)) return data as Record<string, unknown>;
  throw new AppError('VALIDATION_FAILED', 'The inputs must be an object with each by its name.');
}

function requestTooLarge(): AppError {
  return new AppError('PAYLOAD_TOO_LARGE', 'The request is larger than the server ever holds.');
}

function answerTooLarge(): AppError {
  return new AppError('MODEL_ERROR', "The model's answer is larger than the server ever holds.");
}
