import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { consumerToken } from '@inference-server/service-kit';
import { startApp, testFolder, testRedis } from '@inference-server/testing';
import type { ReplicaOrder } from '@inference-server/contracts';
import { openReplicaScene, type ReplicaScene } from '../replica-scene.js';

const consumer = 'killed';
let scene: ReplicaScene;
let settings: Record<string, string>;

beforeAll(async () => {
  scene = await openReplicaScene();
  const redis = await testRedis();
  settings = {
    PRIVATE_API_URL: scene.api.url,
    CONSUMER_TOKEN: consumerToken('an-operator-token-of-some-length', consumer),
    REDIS_URL: redis.url,
    QUEUE_PREFIX: redis.prefix,
    DOCKER_HOST: scene.own.dockerHost,
    WORK_DIR: await testFolder(),
    SWEEP_INTERVAL_S: '1',
  };
});

afterEach(() => scene.removeAll());

const start = (more: Record<string, string> = {}) => {
  const before = scene.registrationsOf(consumer).length;
  const ready = () => scene.registrationsOf(consumer).length > before;
  return startApp({ app: 'job-consumer', settings: { ...settings, ...more }, ready });
};

/** Stops it, and sees that nothing of it is left. */
async function expectRemoved(replica: ReplicaOrder): Promise<void> {
  scene.replicas.stop(consumer, replica.id);
  await scene.untilEnded(replica);
  const left = async () => (await scene.tracesOf()).filter((name) => name.includes(replica.id));
  await expect.poll(left).toEqual([]);
}

describe('a replica whose consumer is killed', () => {
  it.each([
    'replica_ordered',
    'replica_model_there',
    'replica_network_made',
    'replica_created',
    'replica_started',
    'replica_serves',
  ])('at %s, is brought up by the next process', async (point) => {
    const killed = await start({ CRASH_AT: point });
    const replica = scene.order(consumer);
    expect(await killed.ended).toMatchObject({ signal: 'SIGKILL' });
    await killed.kill();
    const startedBefore = (await scene.containerOf(consumer, replica))?.startedAt;
    const next = await start();
    const address = await scene.untilReady(replica);
    expect(await scene.statusOf(address)).toBe('12');
    // One that ran is the same one still.
    const startedAt = (await scene.containerOf(consumer, replica))?.startedAt;
    if (startedBefore !== undefined) expect(startedAt).toEqual(startedBefore);
    await expectRemoved(replica);
    await next.stop();
  });

  it.each(['replica_ended', 'replica_removed'])('at %s, has ended all the same', async (point) => {
    const killed = await start({ CRASH_AT: point });
    const before = `setTimeout(() => process.exit(5), 1_000);`;
    const replica = scene.order(consumer, { before });
    expect(await killed.ended).toMatchObject({ signal: 'SIGKILL' });
    await killed.kill();
    const next = await start();
    if (point === 'replica_ended') {
      const end = await scene.untilEnded(replica);
      expect(end).toMatchObject({ reason: 'exited', exit_code: 5, log: 'begins\n' });
    } else {
      // Nobody was told: it is brought up once more, as is ordered.
      await scene.untilSaid(replica, 'ready');
      expect(await scene.untilEnded(replica)).toMatchObject({ reason: 'exited', exit_code: 5 });
    }
    await next.stop();
  });

  it('is removed by the next process, when it is not ordered any more', async () => {
    const killed = await start();
    const replica = scene.order(consumer);
    await scene.untilReady(replica);
    await killed.kill();
    scene.replicas.stop(consumer, replica.id, 'forget');
    const next = await start();
    expect(await scene.untilEnded(replica)).toMatchObject({ reason: 'stopped' });
    const left = async () => (await scene.tracesOf()).filter((name) => name.includes(replica.id));
    await expect.poll(left).toEqual([]);
    await next.stop();
  });
});
