import {
  maxTaskWaitS,
  routes,
  type Invocation,
  type Model,
  type ModelContract,
  type QueryOf,
  type Readiness,
  type ReplicaDetails,
  type TaskStatus,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { FinishedTask, TaskAnswer } from './task-answer.js';
import { createTransport, type ClientOptions } from './transport.js';
import { waitUntilFinished } from './wait-until-finished.js';
import type { ZipSource } from './zip-upload.js';

export interface CallOptions {
  /** Ends the call; it then rejects with the signal's reason. */
  signal?: AbortSignal;
}

/**
 * The parameters of a registration, and the files for /model where it has some. A runtime model has `kind`
 * `runtime` and a `contract`, unless its zip has a contract.protobin.
 */
export type ModelRegistration = Omit<
  QueryOf<typeof routes.postModel>,
  'model_available' | 'contract'
> & {
  /** Or its JSON, as it stands in a file. */
  contract?: ModelContract | string;
  zip?: ZipSource;
};

export interface TaskPost {
  human_readable_id: string;
  zip: ZipSource;
  /** The same post under the same key, within 24 hours, makes no second task: for one sent again. */
  idempotency_key?: string;
}

/**
 * The server's API as functions. Each rejects with an AppError that carries the server's `code`,
 * `detail` and particulars; with SERVICE_UNAVAILABLE when the server cannot be reached.
 */
export interface Client {
  listModels(options?: CallOptions): Promise<Model[]>;
  /** `model_available` follows from whether a zip is given. MODEL_EXISTS: the id is taken, or one like it. */
  postModel(model: ModelRegistration, options?: CallOptions): Promise<Model>;
  /**
   * The same for a model that may be there already: it gets its next version, or keeps the one that
   * it has when that is the same. `version` of the answer tells.
   */
  putModel(model: ModelRegistration, options?: CallOptions): Promise<Model>;
  /** MODEL_NOT_FOUND: there is none of this id, or none any more. */
  getModel(humanReadableId: string, options?: CallOptions): Promise<Model>;
  /**
   * Asks a runtime model: inputs by name as plain values, or nested lists of them; outputs likewise. 64-bit
   * integers may be bigints; in an answer those beyond 2^53 are strings of digits. SERVICE_UNAVAILABLE: no
   * replica could be started in time; MODEL_ERROR: the model itself failed.
   */
  predict(
    humanReadableId: string,
    inputs: Record<string, unknown>,
    options?: CallOptions & { version?: number },
  ): Promise<Record<string, unknown>>;
  /** The replicas of a runtime model, the newest first: also the last that ended, with why. */
  listReplicas(humanReadableId: string, options?: CallOptions): Promise<ReplicaDetails[]>;
  /**
   * What was stored of the caller's last invocation with this id, an int32. INVOCATION_NOT_FOUND: none, or
   * the model failed.
   */
  invocation(id: number, options?: CallOptions): Promise<Invocation>;
  /** Nothing can be posted to it from then on; its tasks that wait or run go on to their end. */
  deleteModel(humanReadableId: string, options?: CallOptions): Promise<void>;
  /** Answers with the uid of the task, which from then on will run. */
  postTask(task: TaskPost, options?: CallOptions): Promise<string>;
  /**
   * The output, or that it is not there yet; held open for up to `waitS` (default 0, at most 60)
   * while the task has not ended. TASK_FAILED: the report stands in `error.extensions.task`.
   */
  getTask(uid: string, options?: CallOptions & { waitS?: number }): Promise<TaskAnswer>;
  /**
   * Waits for the end of the task, however long it takes (`signal` bounds it), and for a server
   * that is away for some minutes.
   */
  waitForTask(uid: string, options?: CallOptions): Promise<FinishedTask>;
  /** The task as it is now, with every attempt so far. */
  getTaskStatus(uid: string, options?: CallOptions): Promise<TaskStatus>;
  /**
   * Cancels a task; twice is fine. Held open for up to `waitS` (default 0, at most 60) until its
   * container is gone. TASK_ENDED: it has ended otherwise.
   */
  cancelTask(uid: string, options?: CallOptions & { waitS?: number }): Promise<TaskStatus>;
  /** The end of what the container wrote; empty until an attempt has ended. */
  getTaskLog(uid: string, options?: CallOptions): Promise<string>;
  deleteTask(uid: string, options?: CallOptions): Promise<void>;
  /** Also when it is `down`, which the server sends under 503. */
  getReadiness(options?: CallOptions): Promise<Readiness>;
}

export function createClient(options: ClientOptions): Client {
  const transport = createTransport(options);

  async function getTask(
    uid: string,
    { waitS = 0, signal }: CallOptions & { waitS?: number } = {},
  ): Promise<TaskAnswer> {
    try {
      const query = waitS > 0 ? { wait: waitS } : {};
      const answer = await transport.call(routes.getTask, { params: { uid }, query, signal });
      const length = answer.headers.get('content-length');
      return {
        state: 'finished',
        zip: answer.body ?? new Blob([]).stream(),
        bytes: length === null ? undefined : Number(length),
        sha256: /^"([0-9a-f]{64})"$/.exec(answer.headers.get('etag') ?? '')?.[1],
      };
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'TASK_PENDING') throw error;
      return {
        state: 'pending',
        task: error.extensions.task,
        retryAfterS: error.retryAfterS ?? 1,
      };
    }
  }

  return {
    getTask,
    listModels: ({ signal } = {}) => transport.callForJson(routes.listModels, { signal }),
    postModel: ({ zip, contract, ...parameters }, { signal } = {}) =>
      transport.callForJson(routes.postModel, {
        query: { ...parameters, model_available: zip !== undefined },
        text: textOf(contract),
        zip,
        signal,
      }),
    putModel: ({ zip, contract, human_readable_id, ...parameters }, { signal } = {}) =>
      transport.callForJson(routes.putModel, {
        params: { human_readable_id },
        query: { ...parameters, model_available: zip !== undefined },
        text: textOf(contract),
        zip,
        signal,
      }),
    predict: (human_readable_id, inputs, { version, signal } = {}) =>
      transport.callForJson(routes.predict, {
        params: { human_readable_id },
        query: version === undefined ? {} : { version },
        json: JSON.stringify(inputs, plainValue),
        signal,
      }),
    listReplicas: (human_readable_id, { signal } = {}) =>
      transport.callForJson(routes.listReplicas, { params: { human_readable_id }, signal }),
    invocation: (id, { signal } = {}) =>
      transport.callForJson(routes.getInvocation, { params: { id: String(id) }, signal }),
    getModel: (human_readable_id, { signal } = {}) =>
      transport.callForJson(routes.getModel, { params: { human_readable_id }, signal }),
    deleteModel: async (human_readable_id, { signal } = {}) => {
      await transport.callForJson(routes.deleteModel, { params: { human_readable_id }, signal });
    },
    postTask: ({ human_readable_id, zip, idempotency_key }, { signal } = {}) =>
      transport.callForJson(routes.postTask, {
        query: { human_readable_id },
        headers: idempotency_key === undefined ? {} : { 'idempotency-key': idempotency_key },
        zip,
        signal,
      }),
    waitForTask: (uid, { signal } = {}) =>
      waitUntilFinished(
        () => getTask(uid, { waitS: maxTaskWaitS, ...(signal && { signal }) }),
        signal,
      ),
    getTaskStatus: (uid, { signal } = {}) =>
      transport.callForJson(routes.getTaskStatus, { params: { uid }, signal }),
    cancelTask: (uid, { waitS = 0, signal } = {}) =>
      transport.callForJson(routes.cancelTask, {
        params: { uid },
        query: waitS > 0 ? { wait: waitS } : {},
        signal,
      }),
    getTaskLog: async (uid, { signal } = {}) => {
      const answer = await transport.call(routes.getTaskLog, { params: { uid }, signal });
      return answer.text();
    },
    deleteTask: async (uid, { signal } = {}) => {
      await transport.callForJson(routes.deleteTask, { params: { uid }, signal });
    },
    getReadiness: ({ signal } = {}) =>
      transport.callForJson(routes.getReadiness, { signal, alsoOk: 503 }),
  };
}

/** In a form, where it may be longer than an address. */
function textOf(
  contract: ModelContract | string | undefined,
): { name: string; value: string } | undefined {
  if (contract === undefined) return undefined;
  const value = typeof contract === 'string' ? contract : JSON.stringify(contract);
  return { name: 'contract', value };
}

/** What JSON has no number for goes as text. */
function plainValue(_name: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return value;
}
