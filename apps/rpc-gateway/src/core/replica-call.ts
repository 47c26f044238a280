import { AppError } from '@inference-server/errors';
import { GrpcError, PeerError, type Answer, type MessageSink } from '@inference-server/grpc';
import { encodeModelSpec } from '@inference-server/protos';
import type { CallQueue, Patience, Placed, Target } from './call-queue.js';
import { isLate, type Prediction } from './predict-call.js';
import type { CallEnd, ReplicaSet } from './replica-set.js';

/** A call that so many replicas were lost with is what ends them. */
const mostLost = 3;

export const predictPath = '/tensorflow.serving.PredictionService/Predict';

/** One call as a replica gets it. */
export interface ReplicaCall {
  target: Target;
  /** Behind the model_spec, which is written for the replica. */
  rest: readonly Buffer[];
  /** See PredictCall. */
  isRepeatable?: boolean | undefined;
  signal: AbortSignal;
  deadlineAt: number;
  sinkFor?: ((messageBytes: number) => MessageSink | undefined) | undefined;
  /** See PredictCall. */
  hold(answerBytes: number): void;
  /** Looks at the call again where another version takes it. */
  requireContractOf(placed: Placed): void;
}

/**
 * Has a replica answer a call, waiting for one with room. Another is asked where the first never took the call;
 * one that was lost may have done something, and is its caller's to repeat where it is not said to be repeatable.
 */
export function createReplicaCalls({
  queue,
  replicas,
  maxAnswerBytes,
}: {
  queue: CallQueue;
  replicas: ReplicaSet;
  maxAnswerBytes: number;
}): (call: ReplicaCall) => Promise<Prediction> {
  async function ask(
    { model, replica }: Placed,
    call: ReplicaCall,
    onBegin: () => void,
  ): Promise<Answer> {
    // By itself it is the version that it has: ours is a number that it may not know it by.
    const spec = encodeModelSpec({
      name: model.human_readable_id,
      signatureName: model.contract.signature_name,
    });
    return replica.connection.call({
      path: predictPath,
      message: [spec, ...call.rest],
      deadlineAt: call.deadlineAt,
      signal: call.signal,
      maxAnswerBytes,
      sinkFor: (bytes) => {
        onBegin();
        const sink = call.sinkFor?.(bytes);
        if (sink === undefined) call.hold(bytes);
        return sink;
      },
    });
  }

  async function tryAt(placed: Placed, call: ReplicaCall): Promise<Tried> {
    let since: number | undefined;
    let hasBegun = false;
    try {
      call.signal.throwIfAborted();
      call.requireContractOf(placed);
      since = performance.now();
      const answer = await ask(placed, call, () => (hasBegun = true));
      return { end: { is: 'answered' }, answer };
    } catch (error) {
      if (since === undefined) return { end: { is: 'unasked' }, error };
      return { end: endOf(error, { since, hasBegun, signal: call.signal }), error };
    }
  }

  return async (call) => {
    const patience: Patience = { overdueAt: undefined };
    let lost = 0;
    for (let isAgain = false; ; isAgain = true) {
      const placed = await queue.place(call.target, { signal: call.signal, isAgain, patience });
      const { end, answer, error } = await tryAt(placed, call);
      replicas.give(placed.replica, end);
      queue.pump(call.target.name);
      if (answer !== undefined) return { model: placed.model, answer };
      if (end.is === 'unreached') continue;
      if (call.isRepeatable !== true || !(error instanceof PeerError)) throw errorOfCall(error);
      lost += 1;
      if (lost === mostLost) throw errorOfCall(error);
    }
  };
}

/** What came of a call at one replica: an answer, or an error. */
interface Tried {
  end: CallEnd;
  answer?: Answer;
  error?: unknown;
}

function endOf(
  error: unknown,
  { since, hasBegun, signal }: { since: number; hasBegun: boolean; signal: AbortSignal },
): CallEnd {
  if (error instanceof PeerError) {
    return error.neverTaken ? { is: 'unreached', failure: error } : { is: 'unanswered', since };
  }
  const isOver =
    signal.aborted || (error instanceof GrpcError && error.status === 'DEADLINE_EXCEEDED');
  // Otherwise it is the answer that is refused.
  return isOver && !hasBegun ? { is: 'unanswered', since } : { is: 'answered' };
}

function errorOfCall(error: unknown): unknown {
  if (!(error instanceof GrpcError)) return error;
  if (error instanceof PeerError) {
    return new AppError(
      'SERVICE_UNAVAILABLE',
      `The replica that had the call was lost: ${error.message}.`,
      { cause: error, retryAfterS: 1 },
    );
  }
  if (error.status === 'DEADLINE_EXCEEDED') return isLate();
  return new AppError('MODEL_ERROR', `The model's answer is none: ${error.message}`, {
    cause: error,
  });
}
