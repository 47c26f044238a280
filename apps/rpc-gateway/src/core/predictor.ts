import type {
  BatchModel,
  GatewayNews,
  GatewayReport,
  HostedModel,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { ByteBudget } from '@inference-server/grpc';
import { createBatcher } from './batcher.js';
import { createCallQueue, versionFor, type Target } from './call-queue.js';
import { createHostedModels } from './hosted-models.js';
import { requireContract, type PredictCall, type Prediction } from './predict-call.js';
import { createReplicaCalls } from './replica-call.js';
import { createReplicaSet } from './replica-set.js';

/** One `predict` behind all doors, and what private-api is told of it. */
export interface Predictor {
  /** Throws AppError; what the model itself answers, be it an error, is a prediction. */
  predict(call: PredictCall): Promise<Prediction>;
  /** The version that would answer now. Throws AppError, or the signal's reason. */
  modelFor(target: Target, signal: AbortSignal): Promise<HostedModel>;
  /** The current versions of all models, by name: the same list as long as they are the same. */
  models(): readonly (HostedModel | BatchModel)[];
  /** Has private-api asked for all that there is now. Throws SERVICE_UNAVAILABLE, or the signal's reason. */
  refresh(signal: AbortSignal): Promise<void>;
  apply(news: GatewayNews): void;
  report(): Pick<GatewayReport, 'holds' | 'demand'>;
  isReady(): boolean;
  close(): void;
}

export interface PredictorOptions {
  maxQueuePerModel: number;
  maxAnswerBytes: number;
  budget: ByteBudget;
  startTimeoutMs: number;
  /** Called when private-api should hear at once: a model is waited for, a replica is let go of. */
  onNews: () => void;
  /** Asks private-api for all that there is, because somebody names a model that is not known. */
  refresh: () => Promise<boolean>;
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
  const lastDemand = new Map<string, number>();

  async function modelFor(target: Target, signal: AbortSignal): Promise<HostedModel> {
    try {
      if (models.isKnown()) return versionFor(target, models, replicas);
    } catch {
      // It may have been registered a moment ago.
    }
    await refresh(signal);
    return versionFor(target, models, replicas);
  }

  async function refresh(signal: AbortSignal): Promise<void> {
    if (await unlessAborted(options.refresh(), signal)) return;
    throw new AppError('SERVICE_UNAVAILABLE', 'The model is not known at the moment.', {
      retryAfterS: 2,
    });
  }

  return {
    modelFor,
    models: () => models.current(),
    refresh,

    async predict(call) {
      const { target, rest, signal, deadlineAt, sinkFor, hold } = call;
      const model = await modelFor(target, signal);
      signal.throwIfAborted();
      requireContract(model, call);
      const joined = batcher.join(model, call);
      if (joined !== undefined) return joined;
      return send({
        ...{ target, rest, signal, deadlineAt, sinkFor, hold },
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

    isReady: () => models.isKnown(),
    close: () => replicas.close(),
  };
}

/** Many may wait for one answer: who goes no longer does, and the others do. */
function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    const leave = () => signal.removeEventListener('abort', onAbort);
    promise.finally(leave).then(resolve, reject);
  });
}
