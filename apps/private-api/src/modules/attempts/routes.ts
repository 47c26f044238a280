import { routes, type AttemptParams, type Lease } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { abortedByClient, mountRoute, sendBlob } from '@inference-server/service-kit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { consumerIdOf } from '../../http/authorization.js';
import { zipUploadOf } from '../../http/zip-upload.js';
import type { HeldAttempt } from './held-attempt.js';
import type { AttemptService } from './service.js';

export function mountAttemptRoutes(app: FastifyInstance, attempts: AttemptService): void {
  mountRoute(app, routes.claimAttempt, ({ params, body, http }) =>
    attempts.claim({
      taskUid: params.task_uid,
      attempt: params.attempt,
      consumerId: consumerIdOf(http),
      holder: body.holder,
    }),
  );

  mountRoute(app, routes.adoptAttempt, ({ params, body, http }) =>
    attempts.adopt({
      taskUid: params.task_uid,
      attempt: params.attempt,
      consumerId: consumerIdOf(http),
      holder: body.holder,
    }),
  );

  mountRoute(app, routes.renewLease, ({ params, body, http }, reply) =>
    attempts.renew(heldBy(http, params, body), body, abortedByClient(reply)),
  );

  mountRoute(app, routes.parkLease, ({ params, body, http }) =>
    attempts.park(heldBy(http, params, body)),
  );

  mountRoute(app, routes.getAttemptInput, async ({ params, query, http }, reply) => {
    const input = await attempts.input(heldBy(http, params, query), abortedByClient(reply));
    return sendBlob(http, reply, input);
  });

  mountRoute(app, routes.getAttemptModelFiles, async ({ params, query, http }, reply) => {
    const files = await attempts.modelFiles(heldBy(http, params, query), abortedByClient(reply));
    return sendBlob(http, reply, files);
  });

  mountRoute(app, routes.putAttemptOutput, async ({ params, query, http }, reply) => {
    const stored = await zipUploadOf(http, 'output').read(
      (zip) => attempts.storeOutput(heldBy(http, params, query), zip, abortedByClient(reply)),
      () => Promise.resolve(),
    );
    if (stored === undefined) throw new AppError('MALFORMED_REQUEST', 'The output is missing.');
    return stored;
  });

  mountRoute(app, routes.settleAttempt, ({ params, body, http }) =>
    attempts.settle(heldBy(http, params, body.lease), body.result),
  );
}

function heldBy(
  http: FastifyRequest,
  { task_uid: taskUid, attempt }: AttemptParams,
  { epoch, holder }: Lease,
): HeldAttempt {
  return { taskUid, attempt, consumerId: consumerIdOf(http), epoch, holder };
}
