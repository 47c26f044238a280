import { setTimeout as sleep } from 'node:timers/promises';
import type { BatchModel, CallerIdentity } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { ByteBudget } from '@inference-server/grpc';
import {
  batchInputOf,
  encodeOutputs,
  tensorsOfValues,
  valuesOfTensors,
} from '@inference-server/protos';
import type { TaskClient } from '../task-client.js';
import { inputZip, outputsIn, tooLarge } from './batch-zips.js';
import { noRoom, type PredictCall, type Prediction } from './predict-call.js';
import { endAfter, unlessAborted } from './unless-aborted.js';

/** What a batch model is asked. */
export interface BatchCall extends Pick<PredictCall, 'caller' | 'signal' | 'hold'> {
  values(): Record<string, unknown>;
}

export interface BatchCalls {
  /** The outputs by name. Throws AppError, or the signal's reason. */
  ask(model: BatchModel, call: BatchCall): Promise<Record<string, unknown>>;
  /** The same with tensors. */
  predict(model: BatchModel, call: PredictCall): Promise<Prediction>;
  /** Tasks that nobody waits for any more are cancelled, as far as that goes quickly. */
  close(): Promise<void>;
}

export interface BatchCallOptions {
  tasks: TaskClient;
  budget: ByteBudget;
  /** Calls of all batch models together. */
  maxWaiting: number;
  maxDocumentBytes: number;
  maxAnswerBytes: number;
  /** How long a post goes on while private-api is away. */
  patienceMs: number;
  newKey: () => string;
}

/** From the end of a call on: for the answer to its post, and for cancelling its task (ms). */
const lastWordMs = 10_000;
const cancelledWithinMs = 60_000;
/** When the gateway stops (ms). */
const farewellMs = 1_000;
const shortestPauseMs = 100;
const longestPauseMs = 2_000;
/** Of the end of a container's log, as letters. */
const maxWords = 1_000;

/**
 * Calls of batch models: each is a task of its caller. private-api may be away and come back: the post is made
 * again under its key, and the output asked for again. Who goes leaves no task behind: it is cancelled, even if
 * its post was not yet answered. Of a gateway that is killed the tasks stay; they end, as all do, by the time that
 * a task may wait and run.
 */
export function createBatchCalls(options: BatchCallOptions): BatchCalls {
  const { tasks, budget, maxWaiting, maxDocumentBytes, maxAnswerBytes } = options;
  let isClosed = false;
  /** Each until it is known that no task is left of it. */
  const underWay = new Set<Promise<void>>();

  /** Asks again while private-api is away. */
  async function untilAnswered<Answer>(
    ask: () => Promise<Answer>,
    { signal, overdueAt }: { signal: AbortSignal; overdueAt: number },
  ): Promise<Answer> {
    for (let pauseMs = shortestPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      try {
        return await ask();
      } catch (error) {
        const isPassing = error instanceof AppError && error.code === 'SERVICE_UNAVAILABLE';
        const isOver = signal.aborted || isClosed || performance.now() > overdueAt;
        if (!isPassing || isOver) throw error;
      }
      await pause(pauseMs, signal);
    }
  }

  /** Goes on after the call is over: whether there is a task is then known. */
  async function post(model: BatchModel, call: BatchCall): Promise<string> {
    const { caller, signal } = call;
    const room = roomIn(budget);
    const last = endAfter(lastWordMs, signal);
    try {
      const input = batchInputOf(call.values(), maxAnswerBytes);
      room.take(input.document.byteLength);
      for (const bytes of input.files.values()) room.take(bytes.byteLength);
      const task = { model: model.human_readable_id, key: options.newKey(), caller };
      const overdueAt = performance.now() + options.patienceMs;
      return await untilAnswered(
        () => tasks.post({ ...task, zip: () => inputZip(input) }, last.signal),
        { signal: last.signal, overdueAt },
      );
    } finally {
      last.release();
      room.giveBack();
    }
  }

  async function outputs(
    uid: string,
    { caller, signal, hold }: BatchCall,
    areTensors: boolean,
  ): Promise<Record<string, unknown>> {
    const room = roomIn(budget);
    const holdZip = (bytes: number) => {
      room.giveBack();
      if (bytes > maxAnswerBytes) throw tooLarge();
      room.take(bytes);
    };
    const asking = () => tasks.output({ uid, caller, hold: holdZip }, signal);
    try {
      let zip: Buffer | undefined;
      while (zip === undefined) {
        const began = performance.now();
        zip = await untilAnswered(asking, { signal, overdueAt: Infinity });
        // One that stops lets go of all at once.
        const leftMs = began + shortestPauseMs - performance.now();
        if (zip === undefined && leftMs > 0) await pause(leftMs, signal);
      }
      const bounds = { maxDocumentBytes, maxBytes: maxAnswerBytes, hold, signal };
      return await outputsIn(zip, { ...bounds, areTensors });
    } finally {
      room.giveBack();
    }
  }

  async function forsake(posted: Promise<string>, caller: CallerIdentity): Promise<void> {
    const uid = await posted.catch(() => undefined);
    if (uid === undefined) return;
    const { signal, release } = endAfter(cancelledWithinMs);
    try {
      const cancel = () => tasks.cancel({ uid, caller }, signal);
      await untilAnswered(cancel, { signal, overdueAt: Infinity });
    } catch {
      // It has ended, or is deleted; or private-api is away for too long.
    } finally {
      release();
    }
  }

  async function answered(
    posted: Promise<string>,
    call: BatchCall,
    areTensors: boolean,
  ): Promise<Record<string, unknown>> {
    try {
      return await outputs(await unlessAborted(posted, call.signal), call, areTensors);
    } catch (error) {
      throw error instanceof AppError && error.code === 'TASK_FAILED' ? failureOf(error) : error;
    }
  }

  async function ask(
    model: BatchModel,
    call: BatchCall,
    areTensors: boolean,
  ): Promise<Record<string, unknown>> {
    call.signal.throwIfAborted();
    if (underWay.size >= maxWaiting) throw tooMany();
    const posted = post(model, call);
    const answer = answered(posted, call, areTensors);
    const over: Promise<void> = answer
      .then(
        () => undefined,
        (error: unknown) => (hasEnded(error) ? undefined : forsake(posted, call.caller)),
      )
      .finally(() => underWay.delete(over));
    underWay.add(over);
    return answer;
  }

  return {
    ask: (model, call) => ask(model, call, false),

    async predict(model, call) {
      const { caller, signal, hold, inputs } = call;
      const values = () => valuesOfTensors(inputs);
      const asked = { caller, signal, hold, values };
      const tensors = encodeOutputs(tensorsOfValues(await ask(model, asked, true)));
      const bytes = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
      if (bytes > maxAnswerBytes) throw tooLarge();
      hold(bytes);
      const message = Buffer.concat(tensors, bytes);
      return { model, answer: { status: 'OK', statusMessage: '', trailers: {}, message } };
    },

    async close() {
      const over = Promise.all(underWay);
      await Promise.race([over, sleep(farewellMs, undefined, { ref: false })]);
      isClosed = true;
    },
  };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}

/** Whether the model has had its say: there is no task any more to be cancelled. */
function hasEnded(error: unknown): boolean {
  return error instanceof AppError && error.code === 'MODEL_ERROR';
}

/** What a task has ended with, in its own words. */
function failureOf(error: AppError): AppError {
  const { task } = error.extensions;
  if (task?.state === 'EXPIRED') {
    return new AppError('SERVICE_UNAVAILABLE', error.message, { cause: error });
  }
  const log = task?.log_tail?.join('\n').slice(-maxWords) ?? '';
  const words = log === '' ? error.message : `${error.message} Its last words:\n${log}`;
  return new AppError('MODEL_ERROR', words, { cause: error });
}

function roomIn(budget: ByteBudget): { take(bytes: number): void; giveBack(): void } {
  let held = 0;
  return {
    take(bytes) {
      if (!budget.take(bytes)) throw noRoom();
      held += bytes;
    },
    giveBack() {
      budget.give(held);
      held = 0;
    },
  };
}

function tooMany(): AppError {
  return new AppError('TOO_MANY_REQUESTS', 'Too many calls wait for batch models.', {
    retryAfterS: 1,
  });
}
