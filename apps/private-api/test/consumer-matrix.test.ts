import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { allRoutes, type RouteContract } from '@inference-server/contracts';
import { plenty } from './capacities.js';
import { ended, runPrivateApi, zipOf, type RunningPrivateApi } from './running-private-api.js';

/** The same for whoever asks: who holds a lease is no secret to somebody who has seen a ticket or a log. */
const holder = 'the-process';
const lease = { epoch: 1, holder };
const ofLease = `?epoch=1&holder=${holder}`;

interface Call {
  query?: string;
  body?: object;
  /** What is answered of one's own; of another's, and of what is not there. */
  own: string;
  other: string;
}

/** Every route of a consumer, with a request that is right, and what it is answered: status and outcome. */
const calls: Record<string, Call> = {
  registerConsumer: {
    body: { holder, version: '0', state: 'ready', reason: null, ...plenty, slots: 1000 },
    ...{ own: '200', other: '403' },
  },
  signOffConsumer: { query: `?holder=${holder}`, own: '200', other: '403' },
  listHeldAttempts: { own: '200', other: '403' },
  findUnusedModelVersions: { body: { model_version_ids: [] }, own: '200', other: '403' },
  findGoneConsumers: { body: { consumer_ids: [] }, own: '200', other: '403' },
  claimAttempt: { body: { holder }, own: '200 won', other: '200 refused' },
  adoptAttempt: { body: { holder }, own: '200 won', other: '200 superseded' },
  parkLease: { body: lease, own: '200 parked', other: '200 superseded' },
  renewLease: {
    body: { ...lease, knows_of_cancel: false },
    ...{ own: '200 renewed', other: '200 superseded' },
  },
  reportReplicas: {
    body: { holder, number: 1, replicas: [], revision: null },
    ...{ own: '200', other: '403' },
  },
  getReplicaModelFiles: { query: `?holder=${holder}`, own: '200', other: '403' },
  getAttemptInput: { query: ofLease, own: '200', other: '409' },
  getAttemptModelFiles: { query: ofLease, own: '200', other: '409' },
  putAttemptOutput: { query: ofLease, own: '200', other: '409' },
  settleAttempt: {
    body: { lease, result: { kind: 'failed', reason: 'exit_code', ...ended } },
    ...{ own: '200 settled', other: '200 superseded' },
  },
};

let api: RunningPrivateApi;
beforeAll(async () => {
  // A renewal is held open for a sixth of it.
  api = await runPrivateApi({ LEASE_S: 1 });
  const model = await api.call(
    '/api/models/?container_tag=busybox:1&human_readable_id=copy&model_available=true',
    { method: 'POST', body: zip, headers: ofZip },
  );
  expect(model.status).toBe(200);
  for (const id of ['owner', 'another']) await api.consumer(id, holder).register({ slots: 1000 });
  await api.database.query(
    `INSERT INTO replicas (id, model_version_id, consumer_id, lease_until)
     SELECT $1, id, 'owner', now() + interval '1 hour' FROM model_versions`,
    [replica],
  );
  // Whatever is posted is the owner's.
  await api.database.query(`UPDATE consumers SET draining = true WHERE id = 'another'`);
});
afterAll(() => api.close());

const ofConsumers = allRoutes.filter(({ callers }) => callers.includes('consumer'));
const replica = randomUUID();
const zip = zipOf({ a: 'b' });
const ofZip = { 'content-type': 'application/zip' };

it('every route of a consumer is called here', () => {
  expect(ofConsumers.map(({ operationId }) => operationId).toSorted()).toEqual(
    Object.keys(calls).toSorted(),
  );
});

describe.each(ofConsumers.map((route) => [route.operationId, route] as const))(
  'the consumer’s route %s',
  (operationId, route) => {
    const { own, other } = calls[operationId] ?? expect.fail(operationId);

    it('is for what is one’s own, not for another’s that is there, nor for what is not', async () => {
      const uid = await runningTask();
      const before = await stateOf(uid);
      expect(await answerTo(route, 'another', uid)).toBe(other);
      expect(await stateOf(uid)).toEqual(before);
      if (route.object === 'attempt') {
        const missing = randomBytes(32).toString('base64url');
        expect(await answerTo(route, 'owner', missing)).toBe(other);
      }
      expect(await answerTo(route, 'owner', uid)).toBe(own);
    });
  },
);

async function answerTo(route: RouteContract, as: string, uid: string): Promise<string> {
  const { query = '', body } = calls[route.operationId] ?? {};
  const named: Record<string, string> = {
    ...{ consumer_id: 'owner', task_uid: uid, attempt: '1', replica_id: replica },
  };
  const path = route.path.replace(/:(\w+)/g, (_match, name: string) => named[name] ?? '');
  const sent =
    route.body?.kind === 'zip-upload'
      ? { body: zip, headers: ofZip }
      : body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
  const { token } = api.consumer(as);
  const answer = await api.call(path + query, { method: route.method, ...sent }, token);
  const text = await answer.text();
  const { outcome } = (
    answer.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : {}
  ) as { outcome?: string };
  return [answer.status, ...(outcome === undefined ? [] : [outcome])].join(' ');
}

/** All that another could change about it. */
async function stateOf(uid: string): Promise<unknown> {
  return api.database.query(
    `SELECT t.state, t.consumer_id, a.epoch, a.holder, a.outcome, a.output_blob_id,
            (SELECT holder FROM consumers WHERE id = 'owner') AS process,
            (SELECT state FROM consumers WHERE id = 'owner') AS consumer
       FROM tasks t JOIN attempts a ON a.task_uid = t.uid WHERE t.uid = $1`,
    [uid],
  );
}

async function runningTask(): Promise<string> {
  const owner = api.consumer('owner', holder);
  await owner.register({ slots: 1000 });
  const uid = await api.postTask('copy');
  await expect.poll(async () => (await owner.claim(uid)).outcome, { timeout: 10_000 }).toBe('won');
  return uid;
}
