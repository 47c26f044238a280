import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { waitUntil } from '@inference-server/testing';
import {
  hostModel,
  playConsumer,
  playGateway,
  replicasOf,
  stateOfReplica,
  untilReplicaIs,
  type PlayedConsumer,
  type PlayedGateway,
} from '../replica-players.js';
import { gpu } from '../capacities.js';
import { ended, runPrivateApi, type RunningPrivateApi } from '../running-private-api.js';
import { stateOfTask } from '../task-helpers.js';

let api: RunningPrivateApi;
let consumer: PlayedConsumer;
let gateway: PlayedGateway;
beforeEach(async () => {
  api = await runPrivateApi();
  consumer = playConsumer(api, 'c1');
  gateway = playGateway(api);
});
afterEach(() => api.close());

const oneGpu = { device: gpu(1_000).device, slots: 4 };
const wholeGpu = { needs: { use_gpu: true } };
const halfGpu = { needs: { use_gpu: true, gpu_memory_mib: 500 } };
/** Some passes of the dispatcher later: each sync of a gateway is one. */
const passes = async (of = gateway) => {
  for (let n = 0; n < 5; n += 1) await of.sync();
  await api.call('/api/consumers');
};
const gatewaysLeft = async () => (await api.database.query('SELECT FROM gateways')).length;
const isQueued = (uid: string) =>
  waitUntil(async () => (await stateOfTask(api, uid))?.state === 'QUEUED', { timeoutMs: 15_000 });

async function served(model: string, of: Parameters<typeof hostModel>[2]) {
  const version = await hostModel(api, model, of);
  gateway.want(version, 1);
  await gateway.sync();
  const replica = await consumer.serve(model, `${model}:9090`);
  await gateway.finds(replica);
  gateway.want(version, 0);
  await gateway.sync();
  return { version, replica };
}

describe('a replica that is let go', () => {
  it('stops when no gateway has it any more, be there a call on it till then', async () => {
    await consumer.register();
    const { replica } = await served('iris', {});
    const other = playGateway(api);
    await other.finds(replica);
    gateway.calls(replica, 1);
    other.calls(replica, 1);
    await gateway.sync();
    await api.call('/api/models/iris', { method: 'DELETE' });
    await gateway.loses(replica);
    await other.loses(replica);
    await passes();
    await passes(other);
    expect(await stateOfReplica(api, replica)).toBe('DRAINING');
    expect((await consumer.report()).replicas).toMatchObject([{ id: replica, wanted: 'run' }]);
    expect(await replicasOf(api, 'iris').catch(() => 'none')).toBe('none');
    gateway.calls(replica, 0, 0);
    await passes();
    expect(await stateOfReplica(api, replica)).toBe('DRAINING');
    other.calls(replica, 0, 0);
    await passes(other);
    await consumer.stop(replica);
    expect(await stateOfReplica(api, replica)).toBe('ENDED');
  });

  it('is one whose consumer stops: no gateway finds it, and its calls end first', async () => {
    await consumer.register();
    const { replica } = await served('iris', {});
    gateway.calls(replica, 1);
    await gateway.sync();
    await consumer.report([{ id: replica, state: 'draining', address: 'iris:9090' }]);
    await gateway.loses(replica);
    await passes();
    expect(await stateOfReplica(api, replica)).toBe('DRAINING');
    gateway.calls(replica, 0, 0);
    await passes();
    await consumer.stop(replica);
    expect(await stateOfReplica(api, replica)).toBe('ENDED');
  });

  it('does not wait for a gateway that is not heard of any more by who leads steadily', async () => {
    await consumer.register();
    const { replica } = await served('iris', {});
    gateway.calls(replica, 1);
    await gateway.sync();
    await api.call('/api/models/iris', { method: 'DELETE' });
    await untilReplicaIs(api, replica, 'DRAINING');
    // As if a minute had gone by in which the leader led.
    await api.database.query(`UPDATE gateways SET reported_at = now() - interval '61 seconds'`);
    const ticked = async () => (await gatewaysLeft()) === 0;
    expect(await waitUntil(ticked, { timeoutMs: 1_500 })).toBe(false);
    expect(await stateOfReplica(api, replica)).toBe('DRAINING');
    await api.database.query(
      `UPDATE leaders SET steady_since = now() - interval '31 seconds' WHERE name = 'dispatcher'`,
    );
    await untilReplicaIs(api, replica, 'STOPPING');
    expect(await gatewaysLeft()).toBe(0);
  });

  it('stops when its longest call would be over', async () => {
    await consumer.register();
    const { replica } = await served('iris', {});
    gateway.calls(replica, 1);
    await gateway.sync();
    await api.call('/api/models/iris', { method: 'DELETE' });
    await untilReplicaIs(api, replica, 'DRAINING');
    await api.database.query(`UPDATE replicas SET drained_at = now() - interval '3601 seconds'`);
    await untilReplicaIs(api, replica, 'STOPPING');
  });

  it('is one that was idle for longer than its model has it', async () => {
    await consumer.register();
    const { replica } = await served('iris', { settings: { idle_timeout_s: 30 } });
    gateway.calls(replica, 0, 20);
    await passes();
    expect(await stateOfReplica(api, replica)).toBe('READY');
    gateway.calls(replica, 0, 40);
    await api.database.query(
      `UPDATE replicas SET used_at = now() - interval '31 seconds', ready_at = now() - interval '31 seconds',
              created_at = now() - interval '31 seconds'`,
    );
    await gateway.loses(replica);
    await passes();
    await consumer.stop(replica);
  });

  it('waits for a gateway that has not reported since, and may send a call there still', async () => {
    await consumer.register();
    const { replica } = await served('iris', {});
    // It has begun, and was told of all that serves; what it holds it has not said yet.
    const other = playGateway(api);
    await other.sync();
    await api.call('/api/models/iris', { method: 'DELETE' });
    await untilReplicaIs(api, replica, 'DRAINING');
    await gateway.loses(replica);
    await passes();
    expect(await stateOfReplica(api, replica)).toBe('DRAINING');
    await other.loses(replica);
    await passes(other);
    expect(await stateOfReplica(api, replica)).toBe('STOPPING');
  });
});

describe('room on a full GPU', () => {
  const restedSince = () =>
    api.database.query(
      `UPDATE replicas SET ready_at = ready_at - interval '1 minute', created_at = created_at - interval '1 minute',
              used_at = used_at - interval '1 minute' WHERE state = 'READY'`,
    );

  it('is made by the idle replica that was used least recently, not by a busy one', async () => {
    await consumer.register(oneGpu);
    const first = await served('first', halfGpu);
    const second = await served('second', halfGpu);
    await restedSince();
    gateway.calls(first.replica, 1);
    await gateway.sync();
    const third = await hostModel(api, 'third', halfGpu);
    gateway.want(third, 1);
    await gateway.loses(second.replica);
    await passes();
    await consumer.stop(second.replica);
    await gateway.finds(await consumer.serve('third'));
    expect(await stateOfReplica(api, first.replica)).toBe('READY');
  });

  it('is made for a batch task, which gets it, though calls come again', async () => {
    await consumer.register(oneGpu);
    const { version, replica } = await served('warm', wholeGpu);
    await api.postModel('batch', '&use_gpu=true');
    // However slow this is: one with a call stays.
    gateway.calls(replica, 1);
    await gateway.sync();
    const uid = await api.postTask('batch');
    await passes();
    expect(await stateOfReplica(api, replica)).toBe('READY');
    expect(await stateOfTask(api, uid)).toMatchObject({ state: 'PENDING' });
    gateway.calls(replica, 0, 60);
    await restedSince();
    await gateway.loses(replica);
    gateway.want(version, 1);
    await passes();
    await consumer.stop(replica);
    expect(await isQueued(uid)).toBe(true);
    expect(await consumer.claim(uid)).toMatchObject({ outcome: 'won' });
    const { trouble } = await gateway.until((news) => news.trouble.length > 0);
    expect(trouble).toEqual([
      { model_version_id: version, detail: 'There is no room for it now.' },
    ]);
    // What comes next waits for the model that waits.
    const next = await api.postTask('batch');
    await gateway.sync();
    await consumer.settle(uid, { kind: 'failed', reason: 'exit_code', ...ended });
    await consumer.serve('warm');
    expect(await stateOfTask(api, next)).toMatchObject({ state: 'PENDING' });
  });

  it('is not given to a task that a busy replica has', async () => {
    await consumer.register(oneGpu);
    const { version, replica } = await served('warm', wholeGpu);
    await api.postModel('batch', '&use_gpu=true');
    await restedSince();
    gateway.want(version, 0, 1);
    gateway.calls(replica, 1);
    await gateway.sync();
    const uid = await api.postTask('batch');
    await passes();
    expect(await stateOfTask(api, uid)).toMatchObject({ state: 'PENDING' });
    expect(await stateOfReplica(api, replica)).toBe('READY');
  });
});

describe('a next version of a model', () => {
  it('takes over when it serves, and the old one answers till then', async () => {
    await consumer.register();
    const old = await served('iris', { needs: { memory_mib: 100 } });
    const next = await hostModel(api, 'iris', { needs: { memory_mib: 100 } });
    const { models, replicas } = await gateway.until(({ models: all }) => all?.length === 2);
    expect(models).toMatchObject([
      { model_version_id: old.version, version: 1, is_current: false },
      { model_version_id: next, version: 2, is_current: true },
    ]);
    expect(replicas).toMatchObject([{ id: old.replica }]);
    const replica = await consumer.nextOrder();
    expect(replica).toMatchObject({ version: 2 });
    expect(await stateOfReplica(api, old.replica)).toBe('READY');
    await consumer.serve();
    await gateway.loses(old.replica);
    const news = await gateway.until(({ models: all }) => all?.length === 1);
    expect(news.replicas).toMatchObject([{ id: replica.id, model_version_id: next }]);
    expect(news.models).toMatchObject([{ model_version_id: next, is_current: true }]);
    await passes();
    await consumer.stop(old.replica);
  });
});

describe('a consumer that is drained', () => {
  it('keeps a busy replica until another serves elsewhere', async () => {
    await consumer.register();
    const { version, replica } = await served('iris', {});
    gateway.want(version, 0, 1);
    gateway.calls(replica, 1);
    await gateway.sync();
    const elsewhere = playConsumer(api, 'c2');
    await elsewhere.register();
    await api.call('/api/consumers/c1/drain', { method: 'POST' });
    const next = await elsewhere.serve('iris');
    await gateway.finds(next);
    await gateway.loses(replica);
    gateway.calls(replica, 0);
    gateway.want(version, 0);
    await passes();
    await consumer.stop(replica);
  });
});
