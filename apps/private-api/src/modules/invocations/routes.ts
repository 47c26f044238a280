import type { FastifyInstance } from 'fastify';
import {
  headedType,
  maxInvocationHeadBytes,
  readInvocationHead,
  routes,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { abortedByClient, cutWhenStalled, mountRoute } from '@inference-server/service-kit';
import { callerOf } from '../../http/authorization.js';
import { readHeadedBody } from './headed-body.js';
import { streamInvocation } from './invocation-json.js';
import { invocationNotFound, type InvocationService } from './service.js';

export function mountInvocationRoutes(app: FastifyInstance, invocations: InvocationService): void {
  app.addContentTypeParser(headedType, (_request, payload, done) => {
    done(null, payload);
  });

  mountRoute(app, routes.getInvocation, async ({ params, http }, reply) => {
    const id = Number(params.id);
    const signal = abortedByClient(reply);
    const found = await invocations.find({ owner: callerOf(http).owner, id }, signal);
    if (found === undefined) throw invocationNotFound();
    const { head, content } = found;
    reply.type('application/json; charset=utf-8');
    if (http.method === 'HEAD') {
      if (!Buffer.isBuffer(content)) content.destroy();
      return reply.send();
    }
    cutWhenStalled(reply);
    return reply.send(streamInvocation(id, head, Buffer.isBuffer(content) ? [content] : content));
  });

  mountRoute(app, routes.storeInvocation, async ({ http }, reply) => {
    const { owner } = callerOf(http);
    const signal = abortedByClient(reply);
    const body = await readHeadedBody(http.raw, maxInvocationHeadBytes);
    try {
      const head = readInvocationHead(body.head);
      if (head === undefined) throw headOutOfForm();
      const length = Number(http.headers['content-length'] ?? 0);
      const declaredBytes = Math.max(0, length - body.head.length);
      await invocations.put(owner, head, { content: body.content, declaredBytes, signal });
      return { id: head.id };
    } finally {
      // After a refusal the rest is read, so that its sender gets to read the answer.
      await body.close();
    }
  });
}

function headOutOfForm(): AppError {
  return new AppError('VALIDATION_FAILED', 'The head is out of form.', {
    extensions: { parameter: 'head' },
  });
}
