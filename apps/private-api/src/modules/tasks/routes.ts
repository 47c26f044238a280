import { AppError } from '@inference-server/errors';
import { routes } from '@inference-server/contracts';
import { abortedByClient, mountRoute, sendBlob } from '@inference-server/service-kit';
import type { FastifyInstance } from 'fastify';
import { ownerOf } from '../../http/authorization.js';
import { zipUploadOf } from '../../http/zip-upload.js';
import type { TaskService } from './service.js';

export function mountTaskRoutes(app: FastifyInstance, tasks: TaskService): void {
  mountRoute(app, routes.postTask, ({ query, headers, http }, reply) => {
    const post = {
      owner: ownerOf(http),
      humanReadableId: modelIdOf(query),
      idempotencyKey: headers['idempotency-key'],
    };
    return tasks.post(post, zipUploadOf(http), abortedByClient(reply));
  });

  mountRoute(app, routes.getTask, async ({ params, query, http }, reply) => {
    const output = await tasks.output(params.uid, waitMsOf(query), abortedByClient(reply));
    return sendBlob(http, reply, output, {
      fileName: `${params.uid}.zip`,
      onLastByte: () => void tasks.noteFetched(params.uid),
    });
  });

  mountRoute(app, routes.getTaskStatus, ({ params }) => tasks.status(params.uid));

  mountRoute(app, routes.cancelTask, ({ params, query }, reply) =>
    tasks.cancel(params.uid, waitMsOf(query), abortedByClient(reply)),
  );

  mountRoute(app, routes.getTaskLog, async ({ params }, reply) =>
    reply.type('text/plain; charset=utf-8').send(await tasks.log(params.uid)),
  );

  mountRoute(app, routes.deleteTask, async ({ params }) => {
    await tasks.delete(params.uid);
    return { detail: 'The task is deleted.' };
  });
}

/** Timers take whole milliseconds and nothing else. */
function waitMsOf({ wait = 0 }: { wait?: number }): number {
  return Math.ceil(wait * 1000);
}

/** `human_readable_id`, or its old name; both only when they agree. */
function modelIdOf(query: {
  human_readable_id?: string;
  model_human_readable_id?: string;
}): string {
  const { human_readable_id: id, model_human_readable_id: oldId } = query;
  if (id !== undefined && oldId !== undefined && id !== oldId) {
    throw new AppError('DUPLICATE_PARAMETER', 'The model is named twice, and differently.', {
      extensions: { parameter: 'model_human_readable_id' },
    });
  }
  const found = id ?? oldId;
  if (found === undefined) {
    throw new AppError('VALIDATION_FAILED', 'human_readable_id is missing.', {
      extensions: { parameter: 'human_readable_id' },
    });
  }
  return found;
}
