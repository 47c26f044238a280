import { AppError } from '@inference-server/errors';
import { anonymousOwner, routes, type CallerIdentity } from '@inference-server/contracts';
import { abortedByClient, mountRoute, networkOf, sendBlob } from '@inference-server/service-kit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { callerOf, ownerFilterOf } from '../../http/authorization.js';
import { declaredBytesOf, zipUploadOf } from '../../http/zip-upload.js';
import type { TaskOf } from './repository.js';
import type { TaskService } from './service.js';

export function mountTaskRoutes(app: FastifyInstance, tasks: TaskService): void {
  mountRoute(app, routes.postTask, ({ query, headers, http }, reply) => {
    const caller = callerOf(http);
    const key = headers['idempotency-key'];
    const post = {
      by: caller,
      humanReadableId: modelIdOf(query),
      idempotencyKey: key === undefined ? undefined : { owner: keyOwnerOf(caller), key },
      declaredBytes: declaredBytesOf(http),
    };
    return tasks.post(post, zipUploadOf(http), abortedByClient(reply));
  });

  mountRoute(app, routes.getTask, async ({ params, query, http }, reply) => {
    const output = await tasks.output(
      taskOf(params, http),
      waitMsOf(query),
      abortedByClient(reply),
    );
    return sendBlob(http, reply, output, {
      fileName: `${params.uid}.zip`,
      beforeFirstByte: () => tasks.noteRead(params.uid, callerOf(http), 'download_output'),
      onLastByte: () => void tasks.noteFetched(params.uid, callerOf(http).owner),
    });
  });

  mountRoute(app, routes.listTasks, ({ query, http }) => {
    const { state = null, human_readable_id: humanReadableId = null, before = null } = query;
    const limit = query.limit ?? 100;
    return tasks.list({ owner: listedOwner(query, http), state, humanReadableId, before, limit });
  });

  mountRoute(app, routes.getTaskStatus, ({ params, http }) => tasks.status(taskOf(params, http)));

  mountRoute(app, routes.cancelTask, ({ params, query, http }, reply) =>
    tasks.cancel(taskOf(params, http), callerOf(http), waitMsOf(query), abortedByClient(reply)),
  );

  mountRoute(app, routes.getTaskLog, async ({ params, http }, reply) => {
    const log = await tasks.log(taskOf(params, http));
    if (http.method !== 'HEAD') await tasks.noteRead(params.uid, callerOf(http), 'read_log');
    return reply.type('text/plain; charset=utf-8').send(log);
  });

  mountRoute(app, routes.deleteTask, async ({ params, http }) => {
    await tasks.delete(taskOf(params, http), callerOf(http));
    return { detail: 'The task is deleted.' };
  });
}

/** Callers without credentials are one owner; another of them must not learn a uid by a key of theirs. */
function keyOwnerOf({ owner, address }: CallerIdentity): string {
  return owner === anonymousOwner ? `${owner} from ${networkOf(address)}` : owner;
}

/** The task, as far as the caller may know of it. */
function taskOf({ uid }: { uid: string }, http: FastifyRequest): TaskOf {
  return { uid, owner: ownerFilterOf(http) };
}

/** Whose tasks are listed; null: everybody's. */
function listedOwner({ owner }: { owner?: string }, http: FastifyRequest): string | null {
  const own = ownerFilterOf(http);
  if (own === anonymousOwner) {
    throw new AppError('FORBIDDEN', 'Callers without credentials reach a task by its uid alone.');
  }
  if (own === null || owner === undefined || owner === own) return owner ?? own;
  throw new AppError('FORBIDDEN', "The tasks of others need the role 'operate'.");
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
