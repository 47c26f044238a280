import { AppError } from '@inference-server/errors';
import { GrpcError, type CallHead } from '@inference-server/grpc';

/** Streams at a time: what their callers send ahead of what is read is in nobody's budget. */
const mostOpen = 2_000;
/** Streams that have shown no token yet. */
const mostTokenless = 1_000;

/** How many streams there are, from their heads on. */
export interface StreamPlaces {
  take(head: CallHead): StreamPlace;
}

export interface StreamPlace {
  /** A token has come. */
  hasToken(): void;
  /** It is good. Throws TOO_MANY_REQUESTS where there are too many streams. */
  letIn(): void;
  leave(): void;
}

/**
 * Anybody may begin a stream, and most show a token at once: where there are too many without, the one that has
 * waited longest is cut.
 */
export function createStreamPlaces(): StreamPlaces {
  const tokenless = new Set<CallHead>();
  let open = 0;
  return {
    take(head) {
      let isOpen = false;
      tokenless.add(head);
      const [oldest] = tokenless;
      if (tokenless.size > mostTokenless && oldest !== undefined) {
        // Before it has ended others may come.
        tokenless.delete(oldest);
        oldest.cut(new GrpcError('UNAVAILABLE', 'Too many streams have shown no token yet.'));
      }
      return {
        hasToken: () => void tokenless.delete(head),
        letIn() {
          if (open >= mostOpen) {
            throw new AppError('TOO_MANY_REQUESTS', 'Too many streams are open.', {
              retryAfterS: 1,
            });
          }
          isOpen = true;
          open += 1;
        },
        leave() {
          tokenless.delete(head);
          if (isOpen) open -= 1;
          isOpen = false;
        },
      };
    },
  };
}
