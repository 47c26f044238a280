import type { AppError } from '@inference-server/errors';
import type { AnswerRoom, GrpcError, Method, UnaryAnswer } from '@inference-server/grpc';
import { joinSignals } from '@inference-server/service-kit';
import { isLate, noRoom } from '../../core/predict-call.js';
import type { Admitted, Callers } from '../callers.js';
import { statusOfError } from './status-of-error.js';

/** A call with one message, of somebody who may call. */
export interface AdmittedCall {
  admitted: Admitted;
  message: Buffer;
  room: AnswerRoom;
  /** When the time of the call is over (performance.now()). */
  deadlineAt: number;
  /** Aborts with isLate then, and with a GrpcError when the call is cut or its caller gone. */
  signal: AbortSignal;
}

/**
 * A method that lets callers in before it reads their message. Its time counts from the head on, and what was
 * shown is watched until the end.
 */
export function admittedMethod(
  { callers, maxCallMs }: { callers: Callers; maxCallMs: number },
  answer: (call: AdmittedCall) => Promise<UnaryAnswer>,
): Method {
  return async (head) => {
    const longestAt = performance.now() + maxCallMs;
    const deadlineAt = Math.min(head.deadlineAt ?? Infinity, longestAt);
    const cut = (error: AppError) => head.cut(statusOfError(error) as GrpcError);
    const overdue = new AbortController();
    const { signal, release } = joinSignals(head.signal, overdue.signal);
    let isAsked = false;
    // Who is at it says so in its own words; nobody else is there while a message or an answer is on its way.
    const onLate = () => (isAsked ? overdue.abort(isLate()) : cut(isLate()));
    // A time that the caller gave is looked after already.
    const late = deadlineAt < longestAt ? undefined : setTimeout(onLate, maxCallMs);
    try {
      const admitted = await callers.admit(head);
      const { revoked, end } = callers.watch(admitted);
      revoked?.addEventListener('abort', () => cut(revoked.reason as AppError), { once: true });
      return {
        async unary(message, room) {
          isAsked = true;
          try {
            return await answer({ admitted, message, room, deadlineAt, signal });
          } catch (error) {
            throw statusOfError(error);
          } finally {
            isAsked = false;
          }
        },
        end: () => {
          clearTimeout(late);
          release();
          end();
        },
      };
    } catch (error) {
      clearTimeout(late);
      release();
      throw statusOfError(error);
    }
  };
}

/** Counts what an answer takes. Throws TOO_MANY_REQUESTS. */
export function holdIn(room: AnswerRoom, bytes: number): void {
  if (!room.hold(bytes)) throw noRoom();
}
