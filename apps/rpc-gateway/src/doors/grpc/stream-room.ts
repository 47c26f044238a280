import type { ByteBudget } from '@inference-server/grpc';
import { noRoom } from '../../core/predict-call.js';

/** While a stream holds more, nothing of it is read beside what is unanswered. */
const fullBytes = 16 * 1024 ** 2;

/** What one stream takes of the memory that all messages share. */
export interface StreamRoom {
  isFull(): boolean;
  /** For what goes together. */
  open(): RoomPart;
  /** The stream is over: all is given back. */
  end(): void;
}

export interface RoomPart {
  /** Throws TOO_MANY_REQUESTS. */
  hold(bytes: number): void;
  /** So much, with what is held. */
  holdInAll(bytes: number): void;
  release(): void;
}

export function createStreamRoom(budget: ByteBudget): StreamRoom {
  let held = 0;
  let isOver = false;

  function take(bytes: number): void {
    // Nobody waits for it any more: what is on its way ends by itself.
    if (isOver) return;
    if (!budget.take(bytes)) throw noRoom();
    held += bytes;
  }

  function give(bytes: number): void {
    if (isOver) return;
    budget.give(bytes);
    held -= bytes;
  }

  return {
    isFull: () => held > fullBytes,
    open() {
      let part = 0;
      const hold = (bytes: number) => {
        take(bytes);
        part += bytes;
      };
      return {
        hold,
        holdInAll: (bytes) => {
          if (bytes > part) hold(bytes - part);
        },
        release() {
          give(part);
          part = 0;
        },
      };
    },
    end() {
      give(held);
      isOver = true;
    },
  };
}
