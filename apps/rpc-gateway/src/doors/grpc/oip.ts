import { AppError } from '@inference-server/errors';
import { GrpcError, type Method, type UnaryAnswer } from '@inference-server/grpc';
import {
  decodeInferRequest,
  decodeOipModelRequest,
  encodeInferResponse,
  encodeOipModelMetadata,
  encodeOipServerMetadata,
  encodeOipState,
} from '@inference-server/protos';
import type { AnyModel } from '../../core/hosted-models.js';
import { infer } from '../../core/infer-call.js';
import type { Target } from '../../core/call-queue.js';
import type { Predictor } from '../../core/predictor.js';
import type { Callers } from '../callers.js';
import { describeModel, oipServer } from '../oip-models.js';
import { admittedMethod, holdIn, type AdmittedCall } from './admitted-call.js';
import type { ServingState } from './health.js';

/** Of a message: its tensors, and the request that is made of them. An answer, and what is made of that. */
const timesHeld = 2;

/** `inference.GRPCInferenceService`: the Open Inference Protocol, version 2. */
export function oipMethods({
  predictor,
  callers,
  state,
  maxCallMs,
}: {
  predictor: Predictor;
  callers: Callers;
  state: ServingState;
  maxCallMs: number;
}): [path: string, method: Method][] {
  const admitted = (answer: (call: AdmittedCall) => Promise<UnaryAnswer>) =>
    admittedMethod({ callers, maxCallMs }, answer);
  const ofModel = (tell: (model: AnyModel) => Buffer) =>
    admitted(async ({ admitted: who, message, signal }) => {
      const { name, version } = decodeOipModelRequest(message);
      callers.requireModel(who, name);
      const model = await predictor.modelFor(targetOf(name, version), signal);
      return { message: [tell(model)] };
    });

  async function inferTensors({ admitted: who, message, room, deadlineAt, signal }: AdmittedCall) {
    const request = decodeInferRequest(message);
    const { modelName, modelVersion } = request;
    callers.requireModel(who, modelName);
    const { head, outputs } = await infer(predictor, {
      target: targetOf(modelName, modelVersion),
      ...{ caller: who.caller, deadlineAt, signal },
      read: () => request,
      holdRequest: (bytes) => holdIn(room, timesHeld * bytes),
      holdAnswer: (bytes) => holdIn(room, timesHeld * bytes),
    });
    return { message: encodeInferResponse(head, outputs) };
  }

  const methods: Record<string, Method> = {
    ServerLive: openToAll(() => true),
    ServerReady: openToAll(() => state.isServing()),
    ServerMetadata: admitted(async ({ admitted: who }) => {
      // A token for one model is for nothing else.
      callers.requireModel(who, '');
      return { message: [encodeOipServerMetadata(oipServer)] };
    }),
    ModelReady: ofModel(({ model_version_id: id }) =>
      encodeOipState(predictor.troubleOf(id) === undefined),
    ),
    ModelMetadata: ofModel((model) => encodeOipModelMetadata(describeModel(predictor, model))),
    ModelInfer: admitted(async (call) => {
      try {
        return await inferTensors(call);
      } catch (error) {
        throw asOfModel(error);
      }
    }),
  };
  return Object.entries(methods).map(([name, method]) => [
    `/inference.GRPCInferenceService/${name}`,
    method,
  ]);
}

/** As health is: it tells nothing but whether the door is open. */
function openToAll(isSo: () => boolean): Method {
  return () => ({
    isOpen: true,
    unary: async () => ({ message: [encodeOipState(isSo())] }),
  });
}

/** '' of a version is the newest one. */
function targetOf(name: string, version: string): Target {
  if (name === '') throw new AppError('VALIDATION_FAILED', 'The request names no model.');
  if (version === '') return { name, version: undefined };
  if (/^\d{1,15}$/.test(version)) return { name, version: Number(version) };
  throw new AppError('VALIDATION_FAILED', 'The version of a model is a number.');
}

/** What a model answers is passed on under its own status, as by Predict. */
function asOfModel(error: unknown): unknown {
  const isOfModel = error instanceof AppError && error.code === 'MODEL_ERROR';
  return isOfModel && error.cause instanceof GrpcError ? error.cause : error;
}
