import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '@inference-server/testing';
import { consumerToken, publicApiToken } from '@inference-server/service-kit';
import { deviceIsTaken } from '../src/modules/attempts/held-attempt.js';
import {
  contract,
  hostModel,
  playConsumer,
  playGateway,
  replicasOf,
  stateOfReplica,
  untilReplicaIs,
  type PlayedConsumer,
  type PlayedGateway,
} from './replica-players.js';
import { actingFor, runPrivateApi, type RunningPrivateApi } from './running-private-api.js';

let api: RunningPrivateApi;
let consumer: PlayedConsumer;
let gateway: PlayedGateway;
beforeEach(async () => {
  api = await runPrivateApi();
  consumer = playConsumer(api, 'c1');
  await consumer.register();
  gateway = playGateway(api);
});
const closed = new Set<RunningPrivateApi>();
const close = async () => {
  if (!closed.has(api)) await api.close();
  closed.add(api);
};
afterEach(close);

describe('the first call of a model', () => {
  it('has a replica started, which the gateway is told of when it serves', async () => {
    const version = await hostModel(api, 'iris', { needs: { memory_mib: 300 } });
    const news = await gateway.sync();
    expect(news).toMatchObject({
      replicas: [],
      models: [{ model_version_id: version, human_readable_id: 'iris', version: 1, contract }],
    });
    gateway.want(version, 1);
    await gateway.sync();
    const order = await consumer.nextOrder();
    expect(order).toEqual({
      ...{ id: order.id, wanted: 'run', model_version_id: version, human_readable_id: 'iris' },
      ...{ version: 1, container_tag: 'runtime:1', pull_policy: 'missing', lenders: [] },
      ...{ needs: needs({ memory_mib: 300 }), rights: order.rights, contract },
      ...{ model_files: null, has_contract_file: false, has_served: false },
    });
    await consumer.report([{ id: order.id, state: 'starting' }]);
    expect(await gateway.sync()).toMatchObject({ replicas: [], trouble: [] });
    await consumer.report([{ id: order.id, state: 'ready', address: '10.213.0.2:9090' }]);
    expect((await gateway.finds(order.id)).replicas).toEqual([
      { id: order.id, model_version_id: version, address: '10.213.0.2:9090' },
    ]);
    expect(await replicasOf(api, 'iris')).toMatchObject([
      { id: order.id, version: 1, consumer_id: 'c1', state: 'READY', in_flight: 0, log: null },
    ]);
  });

  it('is heard of by those who are held at once', async () => {
    const version = await hostModel(api, 'iris');
    const { revision, models_revision } = await gateway.sync();
    const empty = await consumer.report();
    const began = performance.now();
    const order = consumer.report([], empty.revision);
    gateway.want(version, 1);
    const news = gateway.sync({ revision, models_revision });
    const [first] = (await order).replicas;
    expect(performance.now() - began).toBeLessThan(2_000);
    await consumer.report([{ id: first?.id ?? '', state: 'ready', address: 'replica:9090' }]);
    expect(await news).toMatchObject({ replicas: [{ id: first?.id, address: 'replica:9090' }] });
    expect(performance.now() - began).toBeLessThan(3_000);
    expect((await news).models).toBeUndefined();
  });
});

describe('a report', () => {
  it('that brings nothing new is held, and let go when the server stops', async () => {
    const { revision } = await consumer.report();
    const began = performance.now();
    const held = consumer.report([], revision);
    await gateway.sync();
    const { revision: of, models_revision } = await gateway.sync();
    const sync = gateway.sync({ revision: of, models_revision });
    await expect.poll(() => performance.now() - began).toBeGreaterThan(500);
    await close();
    expect((await held).revision).toBe(revision);
    expect((await sync).revision).toBe(of);
    expect(performance.now() - began).toBeLessThan(4_500);
  });

  it('of a gateway that comes after a later one, or again, changes nothing', async () => {
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const replica = await consumer.serve('iris');
    await gateway.finds(replica);
    gateway.calls(replica, 1);
    await gateway.sync({ number: 1_000 });
    await api.database.query(`UPDATE replicas SET used_at = now() - interval '1 minute'`);
    const noted = () =>
      api.database.query(
        `SELECT g.reported_at, g.holds, g.demand, r.used_at FROM gateways g, replicas r`,
      );
    const before = await noted();
    const late = { holds: [], demand: [{ model_version_id: version, waiting: 7, in_flight: 7 }] };
    const idle = [{ replica_id: replica, in_flight: 0, idle_s: 0 }];
    await gateway.sync({ ...late, number: 999 });
    await gateway.sync({ ...late, holds: idle, number: 1_000 });
    expect(await noted()).toEqual(before);
    await gateway.sync({ ...late, number: 1_001 });
    expect(await noted()).toMatchObject([{ holds: [], demand: late.demand }]);
  });

  it('of a gateway from before a call ends no replica that has the call', async () => {
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const replica = await consumer.serve('iris');
    await gateway.finds(replica);
    gateway.calls(replica, 1);
    await gateway.sync({ number: 1_000 });
    await api.call('/api/models/iris', { method: 'DELETE' });
    await untilReplicaIs(api, replica, 'DRAINING');
    await gateway.sync({ number: 999, holds: [], demand: [] });
    expect(await stateOfReplica(api, replica)).toBe('DRAINING');
    await gateway.sync({ number: 1_001, holds: [], demand: [] });
    await untilReplicaIs(api, replica, 'STOPPING');
  });

  it('of another process than the consumer is refused, and changes nothing', async () => {
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const { id } = await consumer.nextOrder();
    const stranger = playConsumer(api, 'c1', 'another process');
    const { status, body } = await stranger.send();
    expect([status, body]).toMatchObject([409, { code: 'CONSUMER_EXISTS' }]);
    await stranger.end(id, 'exited').catch(() => undefined);
    expect(await stateOfReplica(api, id)).toBe('STARTING');
  });

  it('of a replica of another consumer says nothing of it', async () => {
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const { id } = await consumer.nextOrder();
    const other = playConsumer(api, 'c2');
    await other.register();
    const said = await other.report([{ id, state: 'ready', address: 'mine:1' }]);
    expect(said.replicas).toEqual([]);
    expect(await stateOfReplica(api, id)).toBe('STARTING');
  });

  it('of a successor adopts what is there, and what it starts anew is not ready meanwhile', async () => {
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const id = await consumer.serve();
    await consumer.signOff();
    const next = playConsumer(api, 'c1', 'next');
    await next.register();
    const orders = await next.report([{ id, state: 'ready', address: 'there:1' }]);
    expect(orders.replicas).toMatchObject([{ id, wanted: 'run' }]);
    expect((await gateway.finds(id)).replicas).toMatchObject([{ id, address: 'there:1' }]);
    expect(orders.replicas).toMatchObject([{ has_served: true }]);
    await next.report([{ id, state: 'starting' }]);
    // A third process that finds its container is not to take it for one that serves.
    const anew = await next.report([{ id, state: 'starting' }]);
    expect(anew.replicas).toMatchObject([{ id, has_served: false }]);
    expect((await gateway.loses(id)).replicas).toEqual([]);
    const again = await next.report([{ id, state: 'ready', address: 'there:2' }]);
    expect(again.replicas).toMatchObject([{ id, has_served: true }]);
    expect((await gateway.finds(id)).replicas).toMatchObject([{ id, address: 'there:2' }]);
  });

  it('of a replica that is ready, but nowhere, is that of one that starts', async () => {
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const { id } = await consumer.nextOrder();
    await consumer.report([{ id, state: 'ready' }]);
    expect(await replicasOf(api, 'iris')).toMatchObject([{ state: 'STARTING', ready_at: null }]);
  });

  it('of a gateway that leaves and holds nothing is its last: nobody waits for it', async () => {
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const replica = await consumer.serve('iris');
    await gateway.finds(replica);
    const leaving = playGateway(api);
    await leaving.finds(replica);
    leaving.calls(replica, 1);
    const gateways = async () => (await api.database.query(`SELECT FROM gateways`)).length;
    await leaving.sync({ number: 1_000, leaves: true });
    await leaving.sync({ number: 999, leaves: true, holds: [], demand: [] });
    expect(await gateways()).toBe(2);
    await api.call('/api/models/iris', { method: 'DELETE' });
    await untilReplicaIs(api, replica, 'DRAINING');
    await gateway.loses(replica);
    await gateway.sync();
    expect(await stateOfReplica(api, replica)).toBe('DRAINING');
    await leaving.sync({ number: 1_001, leaves: true, holds: [], demand: [] });
    expect(await gateways()).toBe(1);
    expect(await stateOfReplica(api, replica)).toBe('STOPPING');
  });

  it('of no gateway that left holds up what is let go later', async () => {
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const replica = await consumer.serve('iris');
    await gateway.finds(replica);
    const left = playGateway(api);
    await left.finds(replica);
    await left.sync({ leaves: true, holds: [], demand: [] });
    await api.call('/api/models/iris', { method: 'DELETE' });
    await untilReplicaIs(api, replica, 'DRAINING', 'STOPPING');
    await gateway.loses(replica);
    await gateway.sync();
    await untilReplicaIs(api, replica, 'STOPPING');
  });
});

describe('what is said of replicas', () => {
  it('before what is known already changes nothing, and is answered', async () => {
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const { id } = await consumer.nextOrder();
    await consumer.report([{ id, state: 'starting' }]);
    const before = consumer.lastNumber();
    await consumer.report([{ id, state: 'ready', address: 'there:1' }]);
    await consumer.report([{ id, state: 'starting' }], null, before);
    expect(await stateOfReplica(api, id)).toBe('READY');
    const { status, body } = await consumer.send(null, before);
    expect([status, body]).toMatchObject([200, { replicas: [{ id, has_served: true }] }]);
    await consumer.report();
    expect(await stateOfReplica(api, id)).toBe('STARTING');
  });

  it('for a consumer whose device is taken is answered so, until it has it again', async () => {
    await api.database.query(`UPDATE consumers SET state = 'gone', reason = $1`, [deviceIsTaken]);
    const { status, body } = await consumer.send();
    expect([status, body]).toMatchObject([409, { code: 'DEVICE_TAKEN' }]);
    await consumer.register();
    expect((await consumer.send()).status).toBe(200);
    await consumer.signOff();
    expect((await consumer.send()).body).toMatchObject({ code: 'CONSUMER_EXISTS' });
  });
});

describe('the files of its model', () => {
  it('are for the consumer that is to run it alone', async () => {
    const [blob] = await api.database.query<{ id: string }>(`SELECT gen_random_uuid()::text AS id`);
    expect(blob).toBeDefined();
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const { id } = await consumer.nextOrder();
    const files = (replica: string, holder: string, of = 'c1') =>
      api.call(
        `/internal/consumers/${of}/replicas/${replica}/model-files?holder=${holder}`,
        {},
        consumerToken(api.operatorToken, of),
      );
    const codeOf = async (answer: Response) => ((await answer.json()) as { code: string }).code;
    expect(await codeOf(await files(id, 'c1-process'))).toBe('OUTPUT_NOT_FOUND');
    expect(await codeOf(await files(id, 'another'))).toBe('CONFLICT');
    expect(await codeOf(await files(randomUUID(), 'c1-process'))).toBe('CONFLICT');
    await playConsumer(api, 'c2').register();
    expect(await codeOf(await files(id, 'c2-process', 'c2'))).toBe('CONFLICT');
  });
});

describe('what a consumer says has failed', () => {
  it('is told with why, to its owner and to who waits, and tried again after a pause', async () => {
    const version = await hostModel(api, 'iris');
    gateway.want(version, 1);
    await gateway.sync();
    const { id } = await consumer.nextOrder();
    await consumer.end(id, 'start_failed');
    const { trouble } = await gateway.until((news) => news.trouble.length > 0);
    const detail = 'Its last replica failed (start_failed, exit code 3): It ended.';
    expect(trouble).toEqual([{ model_version_id: version, detail }]);
    const [failed] = await replicasOf(api, 'iris').then((all) => all.filter((r) => r.id === id));
    expect(failed).toMatchObject({
      ...{ state: 'ENDED', end_reason: 'start_failed', detail: 'It ended.', exit_code: 3 },
      ...{ out_of_memory: false, log: 'a\nb\n' },
    });
    // Every second: what is said longer ago does not count.
    const isAgain = () => gateway.sync().then(() => consumer.report());
    await expect
      .poll(
        async () => (await isAgain()).replicas.map((r) => r.id).filter((of) => of !== id).length,
        {
          timeout: 10_000,
        },
      )
      .toBe(1);
    const [again, first] = await api.database.query<{ at: Date; ended: Date | null }>(
      `SELECT created_at AS at, ended_at AS ended FROM replicas ORDER BY created_at DESC`,
    );
    expect(Number(again?.at) - Number(first?.ended)).toBeGreaterThanOrEqual(1_000);
    await consumer.serve();
    expect((await gateway.until((news) => news.replicas.length === 1)).trouble).toEqual([]);
  });

  it.each([
    [
      'nobody could host',
      { use_gpu: true },
      'No consumer that is there could host it: it needs a GPU alone.',
    ],
    ['there is no room for', { memory_mib: 8_192 }, 'There is no room for it now.'],
  ])('is told of what %s', async (_what, of, detail) => {
    await hostModel(api, 'other', { settings: { min_replicas: 1 } });
    await consumer.serve('other');
    const version = await hostModel(api, 'iris', { needs: of });
    gateway.want(version, 1);
    const { trouble } = await gateway.until((news) => news.trouble.length > 0);
    expect(trouble).toEqual([{ model_version_id: version, detail }]);
  });
});

describe('the list of replicas', () => {
  it('is for who registered the model, and for who operates', async () => {
    await hostModel(api, 'iris', { owner: 'key:a' });
    const list = async (owner: string, role: 'publish' | 'operate', model = 'iris') => {
      const headers = actingFor(owner, role);
      const token = publicApiToken(api.operatorToken);
      return (await api.call(`/api/models/${model}/replicas`, { headers }, token)).status;
    };
    expect(await list('key:a', 'publish')).toBe(200);
    expect(await list('key:b', 'operate')).toBe(200);
    expect(await list('key:b', 'publish')).toBe(403);
    expect(await list('key:a', 'publish', 'none')).toBe(550);
  });
});

it('keeps min_replicas of a model that nobody calls, and has them go with the model', async () => {
  await hostModel(api, 'iris', {
    needs: { memory_mib: 10 },
    settings: { min_replicas: 2, max_replicas: 2 },
  });
  const [first, second] = [await consumer.serve(), await consumer.serve()];
  await gateway.finds(first);
  await gateway.finds(second);
  await consumer.end(first, 'exited');
  const third = await consumer.serve();
  await gateway.finds(third);
  const deleted = await api.call('/api/models/iris', { method: 'DELETE' });
  expect(deleted.status).toBe(200);
  await gateway.until(({ models, replicas }) => models?.length === 0 && replicas.length === 0);
  await gateway.sync();
  for (const id of [second, third]) await consumer.stop(id);
  for (const id of [second, third]) await untilReplicaIs(api, id, 'ENDED');
});
