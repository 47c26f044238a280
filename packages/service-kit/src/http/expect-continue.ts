import type { IncomingMessage } from 'node:http';
import type { FastifyInstance } from 'fastify';

/** Requests whose sender waits for a 100 before it sends the body. */
const waiting = new WeakSet<IncomingMessage>();

/**
 * Answers `Expect: 100-continue` with the 100 when somebody begins to read the body, and not at all
 * when the request is refused before: then its body is never sent, and the connection is closed.
 * Other expectations go to the app like any request; {@link faultOfHead} refuses them.
 */
export function continueWhenRead({ server }: FastifyInstance): void {
  server.on('checkContinue', (request, response) => {
    waiting.add(request);
    // An answer without a 100 is the last one: whether the body follows all the same, nobody knows.
    const { shouldKeepAlive } = response;
    response.shouldKeepAlive = false;
    const continueIfRead = (event: string | symbol): void => {
      // Both ways to take bytes off a stream; `resume` alone throws them away.
      if (event !== 'data' && event !== 'readable') return;
      request.off('newListener', continueIfRead);
      waiting.delete(request);
      if (response.headersSent) return;
      response.shouldKeepAlive = shouldKeepAlive;
      response.writeContinue();
    };
    request.on('newListener', continueIfRead);
    server.emit('request', request, response);
  });
  server.on('checkExpectation', (request, response) => {
    server.emit('request', request, response);
  });
}

/** Whether the sender has not been asked for the body yet. */
export function awaitsContinue(message: IncomingMessage): boolean {
  return waiting.has(message);
}
