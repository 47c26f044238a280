import type { BatchModel, GatewayNews, GatewayReport } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { ByteBudget } from '@inference-server/grpc';
import type { TaskClient } from '../task-client.js';
import { createBatchCalls, type BatchCall } from './batch-calls.js';
import { createBatcher } from './batcher.js';
import { createCallQueue, versionFor, type Target } from './call-queue.js';
import { createHostedModels, isHosted, type AnyModel } from './hosted-models.js';
import { requireContract, type PredictCall, type Prediction } from './predict-call.js';
import { createReplicaCalls } from './replica-call.js';
import { createReplicaSet } from './replica-set.js';
import { unlessAborted } from './unless-aborted.js';

/** One `predict` behind all doors, and what private-api is told of it. */
export interface Predictor {
  /** Throws AppError; what the model itself answers, be it an error, is a prediction. */
  predict(call: PredictCall): Promise<Prediction>;
  /** The version that would answer now. Throws AppError, or the signal's reason. */
  modelFor(target: Target, signal: AbortSignal): Promise<AnyModel>;
  /** Outputs by name of a batch model, which has no tensors. Throws AppError. */
  askBatch(model: BatchModel, call: BatchCall): Promise<Record<string, unknown>>;
  /** The current versions of all models, by name: the same list as long as they are the same. */
  models(): readonly AnyModel[];
  /** Has private-api asked for all that there is now. Throws SERVICE_UNAVAILABLE, or the signal's reason. */
  refresh(signal: AbortSignal): Promise<void>;
  apply(news: GatewayNews): void;
  report(): Pick<GatewayReport, 'holds' | 'demand'>;
  /** Those of a runtime model that can be asked for by their numbers, the newest first. */
  versionsOf(name: string): number[];
  /** Why a model has no replica, where none could be started; undefined: it has one, or gets it when it is asked. */
  troubleOf(modelVersionId: string): string | undefined;
  isReady(): boolean;
  close(): Promise<void>;
}

export interface PredictorOptions {
  maxQueuePerModel: number;
  maxAnswerBytes: number;
  /** Of one document in JSON. */
  maxJsonBytes: number;
  budget: ByteBudget;
  startTimeoutMs: number;
  /** Called when private-api should hear at once: a model is waited for, a replica is let go of. */
  onNews: () => void;
  /** Asks private-api for all that there is, because somebody names a model that is not known. */
  refresh: () => Promise<boolean>;
  /** By which batch models are asked. */
  tasks: TaskClient;
  newKey: () => string;
}

/** A model that was asked so long ago is told of with its zeros, which end its demand (ms). */
const toldOfMs = 15_000;

export function createPredictor(options: PredictorOptions): Predictor {
  const models = createHostedModels();
  const replicas = createReplicaSet((isNews) => {
    queue.pump();
    if (isNews) options.onNews();
  });
  const queue = createCallQueue({
    ...{ models, replicas },
    maxPerModel: options.maxQueuePerModel,
    startTimeoutMs: options.startTimeoutMs,
    onWaiting: options.onNews,
  });
  const { maxAnswerBytes } = options;
  const send = createReplicaCalls({ queue, replicas, maxAnswerBytes });
  const batcher = createBatcher({
    ...{ send, budget: options.budget },
    // One that has replicas is asked in a moment, and told of then.
    onWaiting: ({ model_version_id: id }) => {
      if (!replicas.hasAny(id)) options.onNews();
    },
  });
  const batchCalls = createBatchCalls({
    ...{ tasks: options.tasks, newKey: options.newKey, budget: options.budget, maxAnswerBytes },
    maxWaiting: options.maxQueuePerModel,
    maxDocumentBytes: options.maxJsonBytes,
    patienceMs: options.startTimeoutMs,
  });
  const lastDemand = new Map<string, number>();

  function modelNow(target: Target): AnyModel {
    const batch = models.batchModel(target.name);
    const isAsked = batch !== undefined && (target.version ?? batch.version) === batch.version;
    return isAsked ? batch : versionFor(target, models, replicas);
  }

  async function modelFor(target: Target, signal: AbortSignal): Promise<AnyModel> {
    try {
      if (models.isKnown()) return modelNow(target);
    } catch {
      // It may have been registered a moment ago.
    }
    await refresh(signal);
    return modelNow(target);
  }

  async function refresh(signal: AbortSignal): Promise<void> {
    if (await unlessAborted(options.refresh(), signal)) return;
    throw new AppError('SERVICE_UNAVAILABLE', 'The model is not known at the moment.', {
      retryAfterS: 2,
    });
  }

  return {
    modelFor,
    askBatch: (model, call) => batchCalls.ask(model, call),
    models: () => models.current(),
    refresh,

    async predict(call) {
      const { target, rest, isRepeatable, signal, deadlineAt, sinkFor, hold } = call;
      const model = await modelFor(target, signal);
      signal.throwIfAborted();
      if (!isHosted(model)) return batchCalls.predict(model, call);
      requireContract(model, call);
      const joined = batcher.join(model, call);
      if (joined !== undefined) return joined;
      return send({
        ...{ target, rest, isRepeatable, signal, deadlineAt, sinkFor, hold },
        requireContractOf: (placed) => {
          if (placed.model !== model) requireContract(placed.model, call);
        },
      });
    },

    apply(news) {
      models.apply(news);
      replicas.apply(news);
      queue.pump();
    },

    report() {
      const now = performance.now();
      const waiting = new Map(queue.waitingOf());
      for (const [id, calls] of batcher.waitingOf()) {
        waiting.set(id, (waiting.get(id) ?? 0) + calls);
      }
      const inFlight = replicas.inFlightOf();
      for (const id of [...waiting.keys(), ...inFlight.keys()]) {
        if ((waiting.get(id) ?? 0) + (inFlight.get(id) ?? 0) > 0) lastDemand.set(id, now);
      }
      for (const [id, at] of lastDemand) if (now - at > toldOfMs) lastDemand.delete(id);
      const demand = [...lastDemand.keys()].map((id) => ({
        model_version_id: id,
        waiting: waiting.get(id) ?? 0,
        in_flight: inFlight.get(id) ?? 0,
      }));
      return { holds: replicas.holds(), demand };
    },

    versionsOf: (name) =>
      models
        .versionsOf(name)
        .filter(
          ({ is_current: isCurrent, model_version_id: id }) => isCurrent || replicas.hasAny(id),
        )
        .map(({ version }) => version),
    troubleOf: (id) => (replicas.hasAny(id) ? undefined : models.troubleOf(id)),
    isReady: () => models.isKnown(),
    async close() {
      await batchCalls.close();
      replicas.close();
    },
  };
}
