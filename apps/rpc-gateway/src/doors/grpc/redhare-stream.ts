import { setMaxListeners } from 'node:events';
import { AppError } from '@inference-server/errors';
import { GrpcError, type ByteBudget, type Method } from '@inference-server/grpc';
import { decodeStreamRequest, encodeStreamResponse } from '@inference-server/protos';
import { isLate } from '../../core/predict-call.js';
import type { Predictor } from '../../core/predictor.js';
import { createTurns } from '../../core/turns.js';
import type { Admitted, Callers } from '../callers.js';
import { answerInOrder } from '../in-order.js';
import type { ServingState } from './health.js';
import { answerDatum } from './redhare-datum.js';
import { asStreamStatus, outOfTurn, statusOfStream, unauthenticated } from './redhare-status.js';
import { createStreamPlaces } from './stream-places.js';
import { createStreamRoom } from './stream-room.js';

export interface StreamOptions {
  predictor: Predictor;
  callers: Callers;
  state: Pick<ServingState, 'isStopping' | 'onChange'>;
  budget: ByteBudget;
  /** Data of one stream that are unanswered at a time. */
  window: number;
  /** Of all streams at a model at a time. */
  maxAtModel: number;
  maxCallMs: number;
  maxJsonBytes: number;
}

/** Whose the stream is, and for which model. */
interface Opened {
  admitted: Admitted;
  model: string;
  end: () => void;
}

/** A token is shorter. */
const maxTokenMessageBytes = 4 * 1024;
/** A client sends its token with the head of the stream. */
const tokenWithinMs = 10_000;

/**
 * `stream_infer` of redhare.Inference: a token first, then data, each answered in its order. The stream lasts as
 * long as its token is good; another token for the same model renews it. A replica that is lost is replaced under
 * it: what it has not answered is sent again.
 */
export function streamInferMethod(options: StreamOptions): [path: string, method: Method] {
  const { callers, predictor, state, budget, window, maxCallMs } = options;
  // By model, so that streams leave room in its queue, and are made to wait where single calls are refused.
  const turns = createTurns(options.maxAtModel);
  const places = createStreamPlaces();

  const method: Method = (head) => {
    const place = places.take(head);
    const room = createStreamRoom(budget);
    const stopping = new AbortController();
    const over = new AbortController();
    // Of each of its data that is unanswered there are several.
    setMaxListeners(0, over.signal);
    let opened: Opened | undefined;
    const onAbort = () => over.abort(head.signal.reason);
    head.signal.addEventListener('abort', onAbort, { once: true });
    const noToken = () => head.cut(unauthenticated('No token came in time.'));
    const tokenless = setTimeout(noToken, tokenWithinMs);
    const stopListening = state.onChange(() => {
      if (state.isStopping()) stopping.abort(isStopping());
    });

    /** Lets the stream in; later on, a token that is good for longer takes the place of the one before it. */
    async function show(token: string): Promise<void> {
      clearTimeout(tokenless);
      place.hasToken();
      const admitted = await callers.admitBearer(head, token);
      const model = modelOf(admitted, opened);
      await predictor.modelFor({ name: model, version: undefined }, head.signal);
      // What begins after the end would never be ended.
      over.signal.throwIfAborted();
      if (opened === undefined) place.letIn();
      const { revoked, end } = callers.watch(admitted);
      const cut = () => head.cut(statusOfStream(revoked?.reason) as GrpcError);
      revoked?.addEventListener('abort', cut, { once: true });
      opened?.end();
      opened = { admitted, model, end };
    }

    async function* dataOf(messages: AsyncIterable<Buffer>, letIn: () => void) {
      for await (const message of messages) {
        const request = decodeStreamRequest(message);
        if (request === undefined || 'data' in request) {
          if (opened === undefined) throw tokenFirst();
          if (request === undefined) {
            throw new AppError('MALFORMED_REQUEST', 'A message has neither data nor a token.');
          }
          yield { data: request.data, opened };
        } else {
          await show(request.token);
          letIn();
        }
      }
      if (opened === undefined) throw tokenFirst();
    }

    async function answer({ data, opened }: { data: Buffer; opened: Opened }) {
      const { model, admitted } = opened;
      const latestAt = performance.now() + maxCallMs;
      const late = setTimeout(() => over.abort(isLate()), maxCallMs);
      const held = room.open();
      let leave: (() => void) | undefined;
      try {
        // While it waits for its turn, too.
        held.hold(data.length);
        leave = await turns.take(model, room, over.signal);
        return await answerDatum(data, {
          ...{ predictor, held, room, maxJsonBytes: options.maxJsonBytes },
          target: { name: model, version: undefined },
          caller: admitted.caller,
          deadlineAt: Math.min(head.deadlineAt ?? Infinity, latestAt),
          signal: over.signal,
        });
      } finally {
        clearTimeout(late);
        held.release();
        leave?.();
      }
    }

    return {
      opening: { maxBytes: maxTokenMessageBytes, tooLarge: tokenFirst },
      stream: (messages, write, letIn) =>
        asStreamStatus(async () => {
          if (state.isStopping()) throw isStopping();
          await answerInOrder(dataOf(messages, letIn), {
            ...{ window, isFull: room.isFull, answer, stopping: stopping.signal },
            write: async ({ content, release }) => {
              await write(encodeStreamResponse(content));
              release();
            },
          });
          return {};
        }),
      end: () => {
        clearTimeout(tokenless);
        stopListening();
        head.signal.removeEventListener('abort', onAbort);
        over.abort(new GrpcError('CANCELLED', 'The stream is over.'));
        opened?.end();
        place.leave();
        room.end();
      },
    };
  };
  return ['/redhare.Inference/stream_infer', method];
}

/** Of a token: the one that it opens, which is that of the token before it. */
function modelOf({ onlyModel, caller }: Admitted, before: Opened | undefined): string {
  if (onlyModel === null) {
    throw unauthenticated('The token is for no one model: redhare.Inference/auth gives one.');
  }
  if (before === undefined) return onlyModel;
  if (onlyModel === before.model && caller.owner === before.admitted.caller.owner) return onlyModel;
  throw outOfTurn('The token is for another stream: this one has its model and its owner.');
}

function tokenFirst(): GrpcError {
  return outOfTurn('A stream begins with the token of redhare.Inference/auth, and data follows.');
}

function isStopping(): GrpcError {
  return new GrpcError('UNAVAILABLE', 'The server is stopping.');
}
